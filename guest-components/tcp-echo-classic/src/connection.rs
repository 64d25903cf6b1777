//! One client as a state machine: `advance` does all that can be done without waiting.

use crate::count;
use crate::wasi::io::poll::Pollable;
use crate::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::wasi::sockets::tcp::{ShutdownType, TcpSocket};

const BUFFER: usize = 16 * 1024;
/// A client that sends faster than it reads is not read any further beyond this.
const FULL: usize = 64 * 1024;
/// How long a client may take to close after the half-close.
const DRAIN_NS: u64 = 500_000_000;

// The streams are children of the socket: the order of the fields makes them go first.
pub struct Connection {
    input: InputStream,
    output: OutputStream,
    socket: TcpSocket,
    delay_ns: u64,
    received: Vec<u8>,
    answers: Vec<u8>,
    /// When the line in hand has been processed.
    due: Option<u64>,
    /// No more lines are taken: the client has ended, or the server must.
    closing: bool,
    client_ended: bool,
    drained_by: Option<u64>,
    last_bytes: usize,
}

impl Connection {
    pub fn new(socket: TcpSocket, input: InputStream, output: OutputStream, delay_ns: u64) -> Self {
        Connection {
            input,
            output,
            socket,
            delay_ns,
            received: Vec::new(),
            answers: Vec::new(),
            due: None,
            closing: false,
            client_ended: false,
            drained_by: None,
            last_bytes: FULL,
        }
    }

    /// What this client waits for.
    pub fn subscribe(&self) -> Vec<Pollable> {
        let reads = !self.client_ended && (self.drained_by.is_some() || (!self.closing && !self.is_full()));
        let writes =
            self.drained_by.is_none() && (!self.answers.is_empty() || (self.closing && self.due.is_none()));
        let mut pollables = Vec::new();
        if reads {
            pollables.push(self.input.subscribe());
        }
        if writes {
            pollables.push(self.output.subscribe());
        }
        pollables
    }

    /// The time at which it wants to be called in any case.
    pub fn due(&self) -> Option<u64> {
        self.drained_by.or(self.due)
    }

    /// Reads, answers and closes as far as it goes; false when it is over.
    pub fn advance(&mut self, now: u64, stopping: bool) -> bool {
        self.step(now, stopping).unwrap_or(false)
    }

    fn step(&mut self, now: u64, stopping: bool) -> Result<bool, StreamError> {
        if let Some(end) = self.drained_by {
            while self.read()?.is_some() {}
            return Ok(!self.client_ended && now < end);
        }
        while !self.closing && !self.is_full() {
            let Some(bytes) = self.read()? else {
                // What had arrived before the notice has been read, so this was the last of it.
                self.closing = stopping || self.client_ended;
                break;
            };
            if stopping {
                self.last_bytes = self.last_bytes.saturating_sub(bytes.len());
                self.closing = self.last_bytes == 0;
            }
            self.received.extend(bytes);
        }
        self.process(now);
        let sent = self.send()?;
        let in_hand = self.due.is_some() || self.received.contains(&b'\n');
        if self.closing && !in_hand && sent {
            self.half_close(now);
        }
        Ok(self.drained_by.is_none() || !self.client_ended)
    }

    fn is_full(&self) -> bool {
        self.answers.len() >= FULL || (self.due.is_some() && self.received.len() >= FULL)
    }

    /// The bytes that are here, `None` when there are none now.
    fn read(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        if self.client_ended {
            return Ok(None);
        }
        match self.input.read(BUFFER as u64) {
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => Ok(Some(bytes)),
            Err(StreamError::Closed) => {
                self.client_ended = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Turns the lines whose time has come into answers.
    fn process(&mut self, now: u64) {
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let due = *self.due.get_or_insert(now + self.delay_ns);
            if now < due {
                return;
            }
            self.due = None;
            self.answers.extend(self.received.drain(..=end));
            count(0, 1);
        }
    }

    /// True when all answers are with the kernel.
    fn send(&mut self) -> Result<bool, StreamError> {
        while !self.answers.is_empty() {
            let room = self.output.check_write()? as usize;
            if room == 0 {
                return Ok(false);
            }
            let part: Vec<u8> = self.answers.drain(..room.min(self.answers.len())).collect();
            self.output.write(&part)?;
            self.output.flush()?;
        }
        Ok(self.output.check_write()? > 0)
    }

    /// The client sees the end of the answers, after the last of them. Closing at once would reset the
    /// connection if bytes of the client were unread, and could destroy the last answer on its way.
    fn half_close(&mut self, now: u64) {
        let done = self.socket.shutdown(ShutdownType::Send);
        self.drained_by = Some(if done.is_ok() { now + DRAIN_NS } else { now });
    }
}
