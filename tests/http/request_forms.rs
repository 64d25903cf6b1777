//! Forms of requests × protocol × answer: what the host makes of bytes that are written oddly, and what its guest is told.
//!
//! The table in `docs/request-forms.md` is what this test has seen: `CURFEW_WRITE_DOCS=1` writes it, otherwise it must be the same.

mod cases;

use std::fmt::Write as _;

use artifacts::{HELLO_HTTP, HTTP_LAB};
use http::Request;

use self::cases::{AUTHORITIES, FRAMES, Form, HTTP2, OLD, TARGETS};
use crate::harness::{
    Address, Answer, Fate, H2, Host, Wire, app, block_on, component, expect_page, free_address, in_time,
};

const PROBE: &str = "GET /probe HTTP/1.1\r\nhost: probe\r\n\r\n";

/// Headers that each request has.
const COMMON: [&str; 2] = ["forwarded: for=127.0.0.1;proto=http", "x-request-id: "];

/// What an answer says that its guest saw, or why there was none.
fn seen(answer: &Answer) -> String {
    let text = answer.text();
    let own = format!("{} ", answer.status);
    match text.strip_prefix("the lab knows no ") {
        Some(path) => format!("path `{path}`"),
        None if text == "Hello" => "route `/v1`".to_owned(),
        None if text.starts_with(&own) => "–".to_owned(),
        None if text.starts_with(":authority: ") => {
            let lines = text.lines().filter(|line| !COMMON.iter().any(|common| line.starts_with(common)));
            lines
                .map(|line| format!("`{}`", line.trim_start_matches(":authority: ")))
                .collect::<Vec<_>>()
                .join(", ")
        }
        None if text.starts_with("Hello ") => "path `/`".to_owned(),
        None => format!("body `{text}`"),
    }
}

/// The answers to one form, what becomes of the connection, and what the guest saw of each.
fn run(address: &Address, form: &Form) -> [String; 3] {
    let mut wire = Wire::connect(address);
    wire.send(form.bytes);
    if form.is_finished {
        wire.stream().finish();
    }
    let (mut statuses, mut guest) = (Vec::new(), Vec::new());
    let end = loop {
        match wire.fate_of(if form.bytes.starts_with("HEAD") { "HEAD" } else { "GET" }) {
            Fate::Answered(answer) if answer.text().contains("/probe") => break "kept",
            Fate::Answered(answer) => {
                if !form.is_finished && statuses.is_empty() {
                    // Behind the first answer, so that it stands alone.
                    let _closed = wire.try_send(PROBE);
                }
                assert!(
                    answer.status < 400 || answer.header("x-request-id").is_some(),
                    "{form:?}: {answer:?}"
                );
                statuses.push(answer.status.to_string());
                guest.push(seen(&answer));
            }
            Fate::Closed => break "closed",
            // The probe came behind the end.
            Fate::Reset if !statuses.is_empty() => break "closed",
            Fate::Reset => break "reset",
            Fate::Aborted { partial, .. } => {
                statuses.push(format!("{}, cut", partial.status));
                guest.push("–".to_owned());
                break "closed";
            }
        }
    };
    let all = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join("; ") };
    [all(statuses), end.to_owned(), all(guest)]
}

fn escaped(bytes: &str) -> String {
    bytes.escape_default().to_string().replace("\\'", "'").replace("\\\"", "\"").replace('|', "\\|")
}

fn section(text: &mut String, title: &str, address: &Address, forms: &[Form]) {
    write!(text, "\n## {title}\n\n| form | bytes | answer | connection | the guest saw |\n| --- | --- | --- | --- | --- |\n").unwrap();
    for form in forms {
        let [answer, end, guest] = run(address, form);
        let finished = if form.is_finished { " and the end" } else { "" };
        let bytes = escaped(form.bytes);
        writeln!(text, "| {} | `{bytes}`{finished} | {answer} | {end} | {guest} |", form.what).unwrap();
    }
}

fn http2(text: &mut String, address: &Address) {
    text.push_str("\n## HTTP/2\n\n| form | `:authority` `:path` | answer | the guest saw |\n| --- | --- | --- | --- |\n");
    block_on(async {
        let client = H2::connect(address).await;
        for (what, method, authority, path, fields) in HTTP2 {
            let uri = format!("http://{authority}{path}");
            let request =
                fields.iter().fold(Request::builder().method(*method).uri(uri), |request, (name, value)| {
                    request.header(*name, *value)
                });
            let (response, _) = client.open(request.body(()).unwrap(), true).await.unwrap();
            let (status, guest) = match in_time(what, crate::harness::answer(response)).await {
                Ok(answer) => (answer.status.to_string(), seen(&answer)),
                Err(lost) => (format!("{lost:?}"), "–".to_owned()),
            };
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("; `{name}: {value}`")).collect();
            writeln!(text, "| {what} | `{authority}` `{path}`{} | {status} | {guest} |", fields.concat())
                .unwrap();
        }
    });
}

#[test]
fn every_form_of_request_is_answered_as_the_table_says() {
    let free = free_address();
    let keys = |routes: &str| format!("listen = [\"{free}\"]\n{routes}");
    let manifest = app("")
        + &component("lab", HTTP_LAB, &keys(""))
        + &component("hello", HELLO_HTTP, &keys("routes = [\"/v1\"]"));
    let app = Host::manifest(&manifest).start_ready();
    let address = Address::Tcp(free);
    let mut text = String::from(
        "# Forms of requests\n\n\
         The test run writes this page (`CURFEW_WRITE_DOCS=1 cargo test request_forms`), and every later run checks it. One component\n\
         has the route `/v1`, another one gets all other requests. The last column has what the guest was told: the authority and the\n\
         headers, or the path, besides `forwarded` and `x-request-id`. `–` is an answer of the host. A connection is `kept` when a\n\
         further request on it was answered. Several answers are separated by `;`.\n",
    );
    section(&mut text, "HTTP/1.1: who is asked", &address, AUTHORITIES);
    section(&mut text, "HTTP/1.1: targets and methods", &address, TARGETS);
    section(&mut text, "HTTP/1.1: lines, fields and bodies", &address, FRAMES);
    section(&mut text, "HTTP/1.0", &address, OLD);
    http2(&mut text, &address);
    app.stop().expect_code(0);
    // Whatever is asked in it: no byte of one request was served as another one.
    assert!(!text.contains("path `/smuggled`"), "{text}");
    expect_page("docs/request-forms.md", &text);
}
