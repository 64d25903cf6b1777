//! An open loop: requests are due at fixed times, whatever the server does, and the time that one takes counts
//! from when it was due. A server that stops for a while is charged for all that came due meanwhile, which wrk,
//! waiting for it, would not have sent.
//!
//! Invariant: a request that is never answered fails the bench.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::schedule::{PATIENCE, Schedule, quantile, warm};
use super::settings;

const CONNECTIONS: usize = 32;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// What the requests of one turn took, in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seen {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// How late the client itself came to its requests: what it adds to the others.
    pub late_p99: f64,
}

/// Loads a server from a process of its own.
pub fn load(address: SocketAddr, rate: f64, turn: Duration) -> Result<Seen> {
    let mut command = settings::open_loop()?;
    command.args([address.to_string(), rate.to_string(), turn.as_secs_f64().to_string()]);
    let output = command.output()?;
    ensure!(output.status.success(), "open loop: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Is that process: `ADDRESS RATE SECONDS`. The first tenth of the requests does not count.
pub fn run(args: &[String]) -> Result<()> {
    let [address, rate, seconds] = args else { bail!("ADDRESS RATE SECONDS") };
    let turn = Duration::from_secs_f64(seconds.parse()?);
    let mut schedule = Schedule::new(rate.parse()?, turn);
    let mut client = Client::connect(address.parse()?)?;
    // The kernel may otherwise be 50 us late with each wait.
    set_timerslack(1)?;
    client.run(&mut schedule)?;
    let took = warm(&client.took);
    let late = warm(&schedule.late);
    let seen = Seen {
        p50: quantile(took, 0.5),
        p99: quantile(took, 0.99),
        p999: quantile(took, 0.999),
        late_p99: quantile(late, 0.99),
    };
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// When the request that is under way was due.
    due: Option<Duration>,
    answer: Answer,
}

struct Client {
    connections: Vec<Connection>,
    /// Those without a request; the one that has waited for the longest is taken, so that all are used.
    free: VecDeque<usize>,
    took: Vec<Duration>,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            connections.push(Connection { stream, due: None, answer: Answer::default() });
        }
        Ok(Self { connections, free: (0..CONNECTIONS).collect(), took: Vec::new() })
    }

    /// Sends all requests and waits for all answers.
    fn run(&mut self, schedule: &mut Schedule) -> Result<()> {
        schedule.start = Instant::now();
        loop {
            let now = schedule.advance();
            self.send(&mut schedule.waiting)?;
            if now >= schedule.end && schedule.waiting.is_empty() && self.free.len() == CONNECTIONS {
                return Ok(());
            }
            ensure!(now < schedule.end + PATIENCE, "{} are not answered", CONNECTIONS - self.free.len());
            for at in self.wait(schedule.pause(now))? {
                self.receive(at, schedule.start)?;
            }
        }
    }

    fn send(&mut self, waiting: &mut VecDeque<Duration>) -> Result<()> {
        while let (Some(due), Some(at)) = (waiting.front(), self.free.front()) {
            let connection = self.connections.get_mut(*at).context("no such connection")?;
            // So little always fits: nothing else is under way on it.
            connection.stream.write_all(REQUEST)?;
            connection.due = Some(*due);
            waiting.pop_front();
            self.free.pop_front();
        }
        Ok(())
    }

    /// Waits for answers, and returns where there are some.
    fn wait(&self, pause: Duration) -> Result<Vec<usize>> {
        let files = self.connections.iter().map(|connection| connection.stream.as_fd());
        let mut polled: Vec<_> = files.map(|file| PollFd::new(file, PollFlags::POLLIN)).collect();
        ppoll(&mut polled, Some(pause.into()), None)?;
        let ready = polled.iter().enumerate().filter(|(_, polled)| polled.any().unwrap_or(true));
        Ok(ready.map(|(at, _)| at).collect())
    }

    fn receive(&mut self, at: usize, start: Instant) -> Result<()> {
        let connection = self.connections.get_mut(at).context("no such connection")?;
        let mut piece = [0; 4096];
        let length = match connection.stream.read(&mut piece) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if connection.answer.take(piece.get(..length).unwrap_or_default())? {
            let due = connection.due.take().context("an answer to no request")?;
            self.took.push(start.elapsed().saturating_sub(due));
            self.free.push_back(at);
            connection.answer = Answer::default();
        }
        Ok(())
    }
}
