//! Text of guests and clients made harmless for a reader at a terminal.
//!
//! Invariant: what comes out holds no control character but `\n`, and nothing that reorders the line it stands in.

/// The format characters and separators of Unicode 17 (categories Cf, Zl, Zp), and the unassigned ones that are to be invisible, too:
/// marks of direction, zero-width characters, tags. Each pair is a first and a last one.
const INVISIBLE: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
    ('\u{e0080}', '\u{e00ff}'),
    ('\u{e01f0}', '\u{e0fff}'),
];

/// Returns whether a character could do something to a terminal, or make a line look like another.
pub fn is_harmful(c: char) -> bool {
    // Most text is ASCII.
    let is_invisible = || INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c));
    c.is_control() || (!c.is_ascii() && is_invisible())
}

/// Returns the text with a blank for each harmful character, line ends included.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).collect()
}

/// Returns the text with a question mark for each harmful character, line ends included.
pub fn masked(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { '?' } else { c }).collect()
}

/// Returns the first `most` characters of the text, as [`one_line`] does.
pub fn short_line(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if is_harmful(c) { ' ' } else { c }).collect()
}

/// Returns the text with a blank for each harmful character except line ends.
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) && c != '\n' { ' ' } else { c }).collect()
}

/// Returns a JSON document with the same meaning in which harmful characters are escapes.
pub fn json(document: &str) -> String {
    let mut text = String::with_capacity(document.len());
    for c in document.chars() {
        match c {
            // Outside its strings JSON has none of them but line ends and tabs; inside, this means the same.
            '\t' => text.push(' '),
            c if is_harmful(c) && c != '\n' => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\u{1b}[2J\u{9b}1m\u{7f}\u{202e}b\r\u{2066}\u{e0041}\u{200b}";

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(one_line(NASTY), "a [2J 1m  b    ");
        assert_eq!(masked(NASTY), "a?[2J?1m??b????");
        assert_eq!(one_line("a\nb\tc"), "a b c");
        assert_eq!(lines("a\nb\u{1b}c"), "a\nb c");
    }

    /// `escape_debug` has the tables of the standard library: it leaves alone what can be seen.
    #[test]
    fn what_can_be_seen_is_left_alone() {
        for c in ('\0'..=char::MAX).filter(|c| is_harmful(*c)) {
            assert!(c.escape_debug().len() > 1, "{c:?}");
        }
        let text = "äöü 日本語 \u{1f600}\u{fe0f} e\u{301} \u{fffd}";
        assert_eq!(one_line(text), text);
    }

    #[test]
    fn a_document_keeps_its_meaning() {
        let value = serde_json::json!({ "line": NASTY, "plain": "äöü\n" });
        let text = json(&format!("{value:#}"));
        assert!(text.chars().all(|c| !is_harmful(c) || c == '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
