//! A component as the page's table shows it. What the configuration says is text, and never markup.

/// The keys of the components start so; the value is `KIND` or `KIND PATH`.
const PREFIX: &str = "component.";

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    name: String,
    kind: String,
    path: Option<String>,
}

impl Row {
    pub fn new(key: &str, value: &str) -> Option<Row> {
        let name = key.strip_prefix(PREFIX)?.to_string();
        let (kind, path) = match value.split_once(' ') {
            Some((kind, path)) => (kind, Some(path.trim().to_string())),
            None => (value, None),
        };
        Some(Row { name, kind: kind.to_string(), path })
    }

    /// One `tr`. Where no script runs, the row says where the component answers.
    pub fn html(&self) -> String {
        let (name, kind) = (escaped(&self.name), escaped(&self.kind));
        let (data, says) = match &self.path {
            Some(path) => {
                let path = escaped(path);
                (format!(" data-path=\"{path}\""), format!("<a href=\"{path}\">{path}</a>"))
            }
            None => (String::new(), "running".to_string()),
        };
        format!(
            "<tr data-name=\"{name}\" data-kind=\"{kind}\"{data}>\
             <th scope=\"row\">{name}</th><td>{kind}</td><td class=\"says\">{says}</td></tr>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
