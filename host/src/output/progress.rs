//! The progress line on a terminal: `compiling 3/5 web`.
//!
//! Invariant: nothing at all unless stderr is a terminal; one line that each log line wipes and the next step draws
//! again; gone at the end. Drawn only when something changes: there is no ticking thread.

use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::fd::Channel;
use super::writer::Output;

/// The width that the bar is laid out for. The real one does not matter: wrapping is off while the line is drawn.
const WIDTH: u16 = 200;

/// A progress line; dropping it clears it.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    output: Output,
}

impl Progress {
    /// A line for `total` steps; silent unless `is_terminal`.
    pub fn new(output: &Output, total: u64, is_terminal: bool) -> Progress {
        let target = if is_terminal {
            output.show_progress(true);
            let screen = Screen { output: output.clone(), drawn: Mutex::default() };
            // No refresh rate: without a ticker a step that was skipped would stay unseen.
            ProgressDrawTarget::term_like(Box::new(screen))
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template("compiling {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Progress { bar, output: output.clone() }
    }

    pub fn step(&self, name: &str) {
        // Position first: each change draws, and only the last drawing has both.
        self.bar.inc(1);
        self.bar.set_message(name.to_owned());
    }

    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.output.show_progress(false);
    }
}

/// One line of the terminal, written through the host's source.
#[derive(Debug)]
struct Screen {
    output: Output,
    /// Drawn since the last flush: it goes out as one piece.
    drawn: Mutex<Vec<u8>>,
}

impl Screen {
    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        WIDTH
    }

    // One line only, so the cursor never goes anywhere else.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        // Indicatif pads to the width with spaces; the end of the line is erased in `flush` instead.
        if text.chars().all(|c| c == ' ') { Ok(()) } else { self.draw(text) }
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        if !drawn.is_empty() {
            // No wrapping, erase the rest, and leave the cursor in front, where a log line wipes what is there.
            let line = [b"\x1b[?7l", drawn.as_slice(), b"\x1b[K\x1b[?7h\r"].concat();
            self.output.host(Channel::Stderr).push(line);
        }
        Ok(())
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
        progress.finish();
        assert_eq!(stderr_of(output, pipes), "");
    }

    #[test]
    fn each_step_is_drawn_and_the_end_clears() {
        let (output, pipes) = over_pipes();
        let progress = Progress::new(&output, 2, true);
        progress.step("web");
        progress.step("queue");
        assert_eq!(output.line_start(), b"\r\x1b[2K");
        progress.finish();
        assert_eq!(output.line_start(), b"");
        let text = stderr_of(output, pipes);
        assert!(text.contains("compiling 1/2 web\x1b[K"), "{text:?}");
        assert!(text.contains("compiling 2/2 queue\x1b[K"), "{text:?}");
        assert!(text.ends_with("\r\x1b[2K\x1b[K\x1b[?7h\r"), "{text:?}");
    }
}
