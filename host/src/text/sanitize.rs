//! Text of guests and clients made harmless for a reader at a terminal.
//!
//! Invariant: what comes out holds no control character but `\n`, and nothing that reorders the line it stands in.

/// Returns whether a character could do something to a terminal, or make a line look like another.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the text with a blank for each harmful character, line ends included.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).collect()
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
            c if is_harmful(c) && c != '\n' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\u{1b}[2J\u{9b}1m\u{7f}\u{202e}b\r\u{2066}";

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(one_line(NASTY), "a [2J 1m  b  ");
        assert_eq!(one_line("a\nb\tc"), "a b c");
        assert_eq!(lines("a\nb\u{1b}c"), "a\nb c");
    }

    #[test]
    fn a_document_keeps_its_meaning() {
        let value = serde_json::json!({ "line": NASTY, "plain": "äöü\n" });
        let text = json(&format!("{value:#}"));
        assert!(text.chars().all(|c| !is_harmful(c) || c == '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
