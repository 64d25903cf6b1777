//! One text for findings that are the same but for their figures.
//!
//! Invariant: pure; what cannot be said of all of them is not said.

/// A text in pieces: what is a figure, and what is between figures.
fn pieces(text: &str) -> Vec<&str> {
    let is_figure = |one: char| one.is_ascii_digit() || one == '.';
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let kind = is_figure(first);
        let end = rest.find(|one| is_figure(one) != kind).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Returns a text that holds for all of them, with the greatest of their figures; `None` if more than figures differ.
pub fn merged(texts: &[&str]) -> Option<String> {
    let all: Vec<Vec<&str>> = texts.iter().map(|text| pieces(text)).collect();
    let (first, others) = all.split_first()?;
    if others.iter().any(|other| other.len() != first.len()) {
        return None;
    }
    let mut text = String::new();
    for (number, piece) in first.iter().enumerate() {
        let same: Vec<&str> = all.iter().filter_map(|pieces| pieces.get(number).copied()).collect();
        if same.iter().all(|other| other == piece) {
            text.push_str(piece);
            continue;
        }
        let figures = same.into_iter().map(|piece| Some((piece.parse::<f64>().ok()?, piece)));
        let figures: Option<Vec<(f64, &str)>> = figures.collect();
        let (_, greatest) = figures?.into_iter().max_by(|one, two| one.0.total_cmp(&two.0))?;
        text.push_str(&format!("up to {greatest}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_figure_holds_for_all() {
        let text = |many: &str, grace: &str| format!("{many} requests were cut off after {grace} s of web2.");
        let (one, two, three) = (text("3", "5"), text("7", "4.9"), text("5", "5"));
        assert_eq!(merged(&[&one, &two, &three]), Some(text("up to 7", "up to 5")));
        assert_eq!(merged(&[&one, &one]), Some(one));
        assert_eq!(merged(&["1 request was cut", "2 requests were cut"]), None);
        assert_eq!(merged(&["900 ms", "1.2 s"]), None);
        assert_eq!(merged(&["it took 1", "it took"]), None);
    }
}
