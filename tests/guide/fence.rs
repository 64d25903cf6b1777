//! A fence: a piece of a page between two lines of backticks.

use std::fmt;
use std::fs;

use super::root;

/// A piece of a page that is not prose.
pub struct Fence {
    page: String,
    line: usize,
    pub kind: String,
    /// What the comment right above it says.
    pub marker: Option<String>,
    pub text: String,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.page, self.line)
    }
}

/// All fences of a page, in order.
pub fn all(page: &str, text: &str) -> Vec<Fence> {
    let mut found = Vec::new();
    let mut before = "";
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            assert!(
                !line.trim_start().starts_with("```"),
                "{page}:{}: a fence stands at the margin",
                number + 1
            );
            before = line;
            continue;
        };
        let (mut inside, mut closed) = (String::new(), false);
        for (_, line) in lines.by_ref() {
            closed = line == "```";
            if closed {
                break;
            }
            inside.push_str(line);
            inside.push('\n');
        }
        assert!(closed, "{page}:{}: the fence does not end", number + 1);
        let marker = before.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        found.push(Fence {
            page: page.to_string(),
            line: number + 1,
            kind: kind.to_string(),
            marker: marker.map(str::to_string),
            text: inside,
        });
        before = "";
    }
    found
}

impl Fence {
    /// Its marker names a file, and its text is in it.
    #[track_caller]
    pub fn expect_excerpt(&self) {
        let file = self.marker.as_deref().and_then(|marker| marker.strip_prefix("from "));
        let file = file.unwrap_or_else(|| panic!("{self}: `<!-- from FILE -->` must stand above it"));
        let text = fs::read_to_string(root(file)).unwrap_or_else(|error| panic!("{self}: {file}: {error}"));
        assert!(text.contains(&self.text), "{self} is not in {file}:\n{}", self.text);
    }

    /// As much as can be seen without a parser: the indentation is made of pairs of blanks, and no line has lost its key.
    #[track_caller]
    pub fn expect_yaml(&self) {
        let mut above = 0;
        for line in self.text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let content = line.trim_start_matches(' ');
            let depth = line.len() - content.len();
            let fits = depth % 2 == 0 && depth <= above + 4 && !content.contains('\t');
            assert!(fits && (content.contains(':') || content.starts_with("- ")), "{self}: {line:?}");
            above = depth;
        }
    }
}
