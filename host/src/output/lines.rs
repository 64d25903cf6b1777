//! A component's bytes made into prefixed lines.
//!
//! Invariant: what is pushed is always one whole line of bounded length behind its component's name; feeding never
//! waits and never fails. Bytes stay as they are (colours, tabs, invalid UTF-8), except that `\r\n` ends a line as `\n`.

use super::queue::Source;

/// Longer lines are cut here and go on as a next line: one without an end must not be kept in memory for ever.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// The most that an empty line buffer keeps allocated.
const KEPT_BYTES: usize = 4 * 1024;

pub(super) struct Lines {
    source: Source,
    prefix: Vec<u8>,
    partial: Vec<u8>,
    /// Lines dropped since the last one that found room.
    lost: u64,
}

impl Lines {
    pub(super) fn new(source: Source, name: &str) -> Lines {
        Lines { source, prefix: format!("{name} | ").into_bytes(), partial: Vec::new(), lost: 0 }
    }

    /// Takes all of `bytes`; whole lines go out at once.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', text)) => {
                    self.extend(text);
                    if self.partial.last() == Some(&b'\r') {
                        self.partial.pop();
                    }
                    self.end_line();
                }
                _ => self.extend(piece),
            }
        }
    }

    /// Sends out a line that has no newline yet, and reports losses since the last line.
    pub(super) fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
        if self.lost > 0 && self.source.offer(self.loss_line()) {
            self.lost = 0;
        }
    }

    fn extend(&mut self, mut text: &[u8]) {
        // Cut only when more text is there: a line of just the limit gets no empty line after it.
        while self.partial.len() + text.len() > MAX_LINE_BYTES {
            let (head, tail) = text.split_at(MAX_LINE_BYTES - self.partial.len());
            self.partial.extend_from_slice(head);
            let rest = self.partial.split_off(whole_characters(&self.partial));
            self.end_line();
            self.partial.extend_from_slice(&rest);
            text = tail;
        }
        self.partial.extend_from_slice(text);
    }

    fn end_line(&mut self) {
        let mut line = if self.lost > 0 { self.loss_line() } else { Vec::new() };
        line.reserve_exact(self.prefix.len() + self.partial.len() + 1);
        line.extend_from_slice(&self.prefix);
        line.extend_from_slice(&self.partial);
        line.push(b'\n');
        self.lost = if self.source.push(line) { 0 } else { self.lost + 1 };
        self.partial.clear();
        self.partial.shrink_to(KEPT_BYTES);
    }

    fn loss_line(&self) -> Vec<u8> {
        let mut line = self.prefix.clone();
        line.extend_from_slice(
            format!("[curfew: {} lines dropped: nobody read them]\n", self.lost).as_bytes(),
        );
        line
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // An instance whose end was never told still gets its last words out.
        self.finish();
    }
}

/// Returns how much of a full buffer can go out without cutting a UTF-8 character in two.
fn whole_characters(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(4).enumerate() {
        let len = match byte {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            _ => 1,
        };
        return if back + 1 < len { bytes.len() - back - 1 } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::fd::Channel;
    use super::super::testing::{over_pipes, stderr_of};
    use super::*;
    use std::time::Duration;

    fn lines_of(pieces: &[&[u8]]) -> String {
        let (output, pipes) = over_pipes();
        let mut lines = Lines::new(output.source(Channel::Stderr, 1024 * 1024), "web");
        let reader = std::thread::spawn({
            let output = output.clone();
            move || stderr_of(output, pipes)
        });
        for piece in pieces {
            lines.feed(piece);
        }
        drop((lines, output));
        reader.join().unwrap()
    }

    #[test]
    fn every_line_gets_the_name_and_a_partial_one_its_end() {
        assert_eq!(lines_of(&[b"a\nb", b"c\r", b"\n\n", b"d\re"]), "web | a\nweb | bc\nweb | \nweb | d\re\n");
        assert_eq!(lines_of(&[]), "");
    }

    #[test]
    fn an_endless_line_is_cut_at_the_limit() {
        let chunk = vec![b'x'; 10_000];
        let text = lines_of(&[chunk.as_slice(); 20]);
        let lengths: Vec<usize> = text.lines().map(|l| l.strip_prefix("web | ").unwrap().len()).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, MAX_LINE_BYTES, MAX_LINE_BYTES, 200_000 - 3 * MAX_LINE_BYTES]);
    }

    #[test]
    fn a_line_of_just_the_limit_is_one_line() {
        let mut line = vec![b'x'; MAX_LINE_BYTES];
        line.push(b'\n');
        assert_eq!(lines_of(&[&line, b"y\n"]).lines().count(), 2);
    }

    #[test]
    fn a_cut_leaves_characters_whole() {
        let line = "x".to_owned() + &"€".repeat(MAX_LINE_BYTES / 3 + 10);
        let text = lines_of(&[line.as_bytes()]);
        assert!(!text.contains('\u{FFFD}'));
        assert_eq!(text.matches('€').count(), MAX_LINE_BYTES / 3 + 10);
        assert_eq!(whole_characters(b"\xff\xff\xff\xff\xff"), 5);
        assert_eq!(whole_characters(b"\x80\x80\x80\x80\x80"), 5);
        assert_eq!(whole_characters("ab€".as_bytes()), 5);
        assert_eq!(whole_characters(b"ab\xe2\x82"), 2);
    }

    #[test]
    fn what_was_lost_is_said_where_it_was_lost() {
        let (output, pipes) = over_pipes();
        let source = output.source(Channel::Stderr, 100 * 1024);
        let mut lines = Lines::new(source.clone(), "web");
        for _ in 0..1000 {
            lines.feed(&[b'x'; 1000]);
            lines.feed(b"\n");
        }
        let lost = source.dropped();
        assert!(lost > 0);
        let reader = std::thread::spawn({
            let output = output.clone();
            move || stderr_of(output, pipes)
        });
        assert!(output.flush(Duration::from_secs(10)));
        lines.feed(b"after\n");
        drop((lines, source, output));
        let text = reader.join().unwrap();
        let tail: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(tail[0], "web | after");
        assert_eq!(tail[1], format!("web | [curfew: {lost} lines dropped: nobody read them]"));
    }
}
