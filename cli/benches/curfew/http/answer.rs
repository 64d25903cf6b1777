//! Just enough of HTTP/1.1 to know where an answer ends; one that is not 200 is an error.

use std::str::from_utf8;

use anyhow::{Context, Result, bail, ensure};

const CHUNKS_END: &[u8] = b"\r\n0\r\n\r\n";

/// An answer that is being received.
#[derive(Debug, Default)]
pub struct Answer {
    head: Vec<u8>,
    body: Option<Body>,
    /// How many bytes came after the head.
    pub received: usize,
    /// The last bytes of them.
    tail: Vec<u8>,
}

#[derive(Debug)]
enum Body {
    Length(usize),
    Chunks,
}

impl Answer {
    /// Takes what came, and returns whether the answer ends with it.
    pub fn take(&mut self, piece: &[u8]) -> Result<bool> {
        let mut piece = piece;
        let rest;
        if self.body.is_none() {
            self.head.extend(piece);
            let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(false);
            };
            rest = self.head.split_off(end + 4);
            self.body = Some(body(from_utf8(&self.head)?)?);
            piece = &rest;
        }
        self.received += piece.len();
        self.tail.extend(piece.get(piece.len().saturating_sub(CHUNKS_END.len())..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(CHUNKS_END.len()));
        match self.body {
            Some(Body::Length(length)) => Ok(self.received >= length),
            _ => Ok(self.tail == CHUNKS_END),
        }
    }
}

fn body(head: &str) -> Result<Body> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200 "), "the answer is {status:?}");
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Body::Length(value.trim().parse().context("content-length")?));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Body::Chunks);
        }
    }
    bail!("an answer without an end")
}
