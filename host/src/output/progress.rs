//! The progress line on a terminal: `compiling 3/5 web`.
//!
//! Invariant: nothing at all unless stderr is a terminal; one line that each log line wipes and the next step draws
//! again; gone at the end. Drawn only when something changes: there is no ticking thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::fd::Channel;
use super::writer::Output;

/// A progress line; dropping it clears it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None` without a terminal.
    output: Option<Output>,
    total: u64,
    done: AtomicU64,
}

impl Progress {
    /// A line for `total` steps; silent unless `is_terminal`.
    pub(crate) fn new(output: &Output, total: u64, is_terminal: bool) -> Progress {
        let output = is_terminal.then(|| output.clone());
        output.iter().for_each(|output| output.show_progress(true));
        Progress { output, total, done: AtomicU64::new(0) }
    }

    /// Draws the next step, with the name of its subject.
    pub(crate) fn step(&self, name: &str) {
        let done = self.done.fetch_add(1, Relaxed) + 1;
        self.draw(&format!("compiling {done}/{} {name}", self.total));
    }

    fn draw(&self, text: &str) {
        if let Some(output) = &self.output {
            // No wrapping, and the cursor stays in front, where a log line wipes the text. One piece: nothing comes between.
            let line = format!("\x1b[?7l\r\x1b[2K{text}\x1b[K\x1b[?7h\r");
            output.host(Channel::Stderr).push(line.into_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.draw("");
        self.output.iter().for_each(|output| output.show_progress(false));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{over_pipes, stderr_of};
    use super::*;

    #[test]
    fn nothing_without_a_terminal() {
        let (output, pipes) = over_pipes();
        let progress = Progress::new(&output, 2, false);
        progress.step("web");
        drop(progress);
        assert_eq!(stderr_of(output, pipes), "");
    }

    #[test]
    fn each_step_is_drawn_and_the_end_clears() {
        let (output, pipes) = over_pipes();
        let progress = Progress::new(&output, 2, true);
        progress.step("web");
        progress.step("queue");
        assert_eq!(output.line_start(), b"\r\x1b[2K");
        drop(progress);
        assert_eq!(output.line_start(), b"");
        let text = stderr_of(output, pipes);
        assert!(text.contains("compiling 1/2 web\x1b[K"), "{text:?}");
        assert!(text.contains("compiling 2/2 queue\x1b[K"), "{text:?}");
        assert!(text.ends_with("\r\x1b[2K\x1b[K\x1b[?7h\r"), "{text:?}");
    }
}
