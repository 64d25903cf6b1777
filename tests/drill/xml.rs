//! Enough of an XML parser to know that a file is well-formed and what is in it.

/// One element.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    /// The only element of a document; panics where it is not well-formed.
    #[track_caller]
    pub fn parse(document: &str) -> Element {
        assert!(document.chars().all(|c| c >= ' ' || matches!(c, '\n' | '\t')), "a control character");
        let rest =
            document.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").expect("a declaration");
        let mut rest = rest.trim_start();
        let root = element(&mut rest);
        assert_eq!(rest.trim(), "", "more than one element");
        root
    }

    #[track_caller]
    pub fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

fn element(rest: &mut &str) -> Element {
    take(rest, "<");
    let mut element = Element { name: word(rest), ..Element::default() };
    loop {
        *rest = rest.trim_start();
        if rest.starts_with("/>") {
            take(rest, "/>");
            return element;
        }
        if rest.starts_with('>') {
            take(rest, ">");
            break;
        }
        let name = word(rest);
        take(rest, "=\"");
        let (value, after) = rest.split_once('"').expect("the end of a value");
        assert!(!value.contains('<'), "{value}");
        element.attributes.push((name, unescaped(value)));
        *rest = after;
    }
    loop {
        let (text, _) = rest.split_once('<').expect("the end of an element");
        element.text.push_str(&unescaped(text));
        *rest = &rest[text.len()..];
        if rest.starts_with("</") {
            take(rest, "</");
            assert_eq!(word(rest), element.name);
            take(rest, ">");
            return element;
        }
        let child = self::element(rest);
        element.children.push(child);
    }
}

fn take(rest: &mut &str, what: &str) {
    *rest = rest.strip_prefix(what).unwrap_or_else(|| panic!("{what:?} is missing before {rest:.60}"));
}

fn word(rest: &mut &str) -> String {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '-')).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    assert!(!word.is_empty(), "a name is missing before {rest:.60}");
    *rest = after;
    word.to_string()
}

fn unescaped(text: &str) -> String {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap().to_string();
    for part in parts {
        let (entity, after) = part.split_once(';').expect("the end of an entity");
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "#10" => '\n',
            "#9" => '\t',
            other => panic!("unknown: {other}"),
        });
        plain.push_str(after);
    }
    plain
}
