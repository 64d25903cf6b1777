//! An `Output` over pipes, and the reading ends, for the tests of this folder.
//!
//! Invariant: the writing ends live in the `Output` alone, so that a reader sees the end when it is gone.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use super::writer::{OnWriterDeath, Output};

pub(super) struct Pipes {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

pub(super) fn silent() -> OnWriterDeath {
    Box::new(|_| {})
}

pub(super) fn pipes() -> ((OwnedFd, OwnedFd), Pipes) {
    let (out_reader, out_writer) = std::io::pipe().unwrap();
    let (err_reader, err_writer) = std::io::pipe().unwrap();
    let pipes = Pipes { stdout: out_reader.into(), stderr: err_reader.into() };
    ((out_writer.into(), err_writer.into()), pipes)
}

pub(super) fn over_pipes() -> (Output, Pipes) {
    let (ours, pipes) = pipes();
    (Output::over(ours.0, ours.1, silent()).unwrap(), pipes)
}

pub(super) fn read_to_end(fd: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Returns all that the output wrote to stderr until its end.
pub(super) fn stderr_of(output: Output, pipes: Pipes) -> String {
    drop(output);
    String::from_utf8(read_to_end(pipes.stderr)).unwrap()
}
