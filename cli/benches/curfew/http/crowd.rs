//! An open loop of clients that come, ask one thing and go: a new connection for each request, begun by the clock
//! whatever the server does. Time counts from when a request was due until its answer is whole.
//!
//! Invariant: each request that came due is in the tally exactly once: answered, refused, reset, wrong or never
//! answered. Nothing is tried again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::libc::EINPROGRESS;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::prctl::set_timerslack;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use super::schedule::{PATIENCE, Schedule, quantile, warm};
use super::settings;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
/// How the only right answer begins, and how it ends.
const RIGHT: (&[u8], &[u8]) = (b"HTTP/1.1 200 ", b"\r\n\r\nHello");
/// How many connections are looked at in one go.
const EVENTS: usize = 256;

/// What became of the requests of one turn, and what they took, in milliseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    pub answered: u32,
    /// There was nobody to connect to.
    pub refused: u32,
    /// The connection broke before the answer was whole, or instead of a close.
    pub reset: u32,
    /// A whole answer, but not the right one.
    pub wrong: u32,
    pub unanswered: u32,
    pub p50: f64,
    pub p99: f64,
    pub worst: f64,
    /// How late the client itself came to its requests: what it adds to the others.
    pub late_p99: f64,
}

/// Begins to load a server from a process of its own. It ends by itself.
pub fn begin(address: SocketAddr, rate: f64, turn: Duration) -> Result<Child> {
    let mut command = settings::crowd()?;
    command.args([address.to_string(), rate.to_string(), turn.as_secs_f64().to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("the crowd")
}

/// Waits until all are gone.
pub fn end(crowd: Child) -> Result<Seen> {
    let output = crowd.wait_with_output()?;
    ensure!(output.status.success(), "crowd: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Is that process: `ADDRESS RATE SECONDS`. The times of the first tenth of the requests do not count.
pub fn run(args: &[String]) -> Result<()> {
    let [address, rate, seconds] = args else { bail!("ADDRESS RATE SECONDS") };
    let turn = Duration::from_secs_f64(seconds.parse()?);
    let mut schedule = Schedule::new(rate.parse()?, turn);
    let mut crowd = Crowd::new(address.parse()?)?;
    // The kernel may otherwise be 50 us late with each wait.
    set_timerslack(1)?;
    crowd.run(&mut schedule)?;
    let (took, late) = (warm(&crowd.took), warm(&schedule.late));
    let mut seen = crowd.seen;
    (seen.p50, seen.p99) = (quantile(took, 0.5), quantile(took, 0.99));
    (seen.worst, seen.late_p99) = (quantile(took, 1.0), quantile(late, 0.99));
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// One of the crowd.
struct Client {
    stream: TcpStream,
    due: Duration,
    asked: bool,
    /// How long it took until its answer was whole.
    took: Option<Duration>,
    answer: Vec<u8>,
}

/// What becomes of one.
enum Fate {
    Waits,
    Answered(Duration),
    Wrong,
    Broken(ErrorKind),
}

struct Crowd {
    address: SocketAddr,
    epoll: Epoll,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    took: Vec<Duration>,
    seen: Seen,
}

impl Crowd {
    fn new(address: SocketAddr) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let (clients, free, took) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { address, epoll, clients, free, took, seen: Seen::default() })
    }

    /// Sends all requests and waits for all answers.
    fn run(&mut self, schedule: &mut Schedule) -> Result<()> {
        schedule.start = std::time::Instant::now();
        loop {
            let now = schedule.advance();
            while let Some(due) = schedule.waiting.pop_front() {
                self.come(due, schedule)?;
            }
            let left = self.clients.len() - self.free.len();
            let enough = now >= schedule.end && (left == 0 || now >= schedule.end + PATIENCE);
            if enough {
                self.seen.unanswered += u32::try_from(left)?;
                return Ok(());
            }
            self.wait(schedule.pause(now), schedule)?;
        }
    }

    /// Sends another client, who asks at once where the connection is there at once.
    fn come(&mut self, due: Duration, schedule: &Schedule) -> Result<()> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM.nonblocking(), None)?;
        if let Err(error) = socket.connect(&self.address.into())
            && error.raw_os_error() != Some(EINPROGRESS)
        {
            self.broken(error.kind());
            return Ok(());
        }
        let mut client = Client { stream: socket.into(), due, asked: false, took: None, answer: Vec::new() };
        match client.look(schedule) {
            Fate::Waits => {}
            fate => {
                self.count(fate);
                return Ok(());
            }
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        flags.set(EpollFlags::EPOLLOUT, !client.asked);
        self.epoll.add(client.stream.as_fd(), EpollEvent::new(flags, at as u64))?;
        *self.clients.get_mut(at).context("no such client")? = Some(client);
        Ok(())
    }

    /// Lets those go on to whom something happened.
    fn wait(&mut self, pause: Duration, schedule: &Schedule) -> Result<()> {
        // The wait of epoll itself counts in milliseconds.
        let mut polled = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        ppoll(&mut polled, Some(pause.into()), None)?;
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in events.iter().take(count) {
            let at = usize::try_from(event.data())?;
            let place = self.clients.get_mut(at).context("no such client")?;
            let fate = place.as_mut().context("this client is gone")?.look(schedule);
            if !matches!(fate, Fate::Waits) {
                // To close it is to forget it.
                *place = None;
                self.free.push(at);
                self.count(fate);
            }
        }
        Ok(())
    }

    fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Waits => {}
            Fate::Answered(took) => {
                self.seen.answered += 1;
                self.took.push(took);
            }
            Fate::Wrong => self.seen.wrong += 1,
            Fate::Broken(kind) => self.broken(kind),
        }
    }

    fn broken(&mut self, kind: ErrorKind) {
        match kind {
            ErrorKind::ConnectionRefused => self.seen.refused += 1,
            _ => self.seen.reset += 1,
        }
    }
}

impl Client {
    /// Goes as far as it can without waiting.
    fn look(&mut self, schedule: &Schedule) -> Fate {
        match self.go_on(schedule) {
            Ok(fate) => fate,
            // The second: its connection is not there yet.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                Fate::Waits
            }
            Err(error) => Fate::Broken(error.kind()),
        }
    }

    fn go_on(&mut self, schedule: &Schedule) -> std::io::Result<Fate> {
        if !self.asked {
            // So little always fits.
            self.stream.write_all(REQUEST)?;
            self.asked = true;
        }
        let mut piece = [0; 4096];
        loop {
            let length = self.stream.read(&mut piece)?;
            if length == 0 {
                return Ok(match self.took {
                    Some(took) => Fate::Answered(took),
                    None if self.answer.is_empty() => Fate::Broken(ErrorKind::UnexpectedEof),
                    None => Fate::Wrong,
                });
            }
            self.answer.extend(piece.get(..length).unwrap_or_default());
            let right = self.answer.starts_with(RIGHT.0) && self.answer.ends_with(RIGHT.1);
            self.took = right.then(|| schedule.start.elapsed().saturating_sub(self.due));
        }
    }
}
