//! One question over a connection of its own, as `curfew status`, a scraper, or a client that looks in asks it.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};

/// Asks for a path and returns the body of the answer, which has to be 200.
pub fn get(mut stream: impl Read + Write, path: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}\n{body}");
    Ok(body.to_owned())
}
