//! The pages that are written from declarations of the host: every key of a manifest, every exit code.
//!
//! `CURFEW_WRITE_DOCS=1` writes them; otherwise they must be the same.

use std::fmt::Write as _;

use curfew_host::plan::keys::{APP, COMPONENT};
use curfew_host::plan::schema::{Fallback, ManifestKey, Shape};
use curfew_host::teardown::ExitCode;
use serde_json::Value;

use crate::harness::expect_page;

const MANIFEST: &str = "\
# The manifest

Every key of `curfew.toml`. A test writes this page (`make docs`) from the declaration that curfew uses to read manifests.
`curfew schema` prints the same for editors.

- A duration is a number and `ms`, `s`, `m` or `h`: `\"250ms\"`, `\"1.5s\"`. A size is a number and `B`, `KiB`, `MiB` or `GiB`.
- Relative paths start at the folder of the manifest.
- An unknown key is an error. The message shows the file, the line, and the nearest known key.
- A component gets only what its table grants. By default it has no network, no files, no environment and no standard input.
- A default of `-` means empty, off, or not granted.
";

const EXAMPLE: &str = r#"
## An example with most keys

```toml
[app]
name = "shop"
grace = "25s"            # longest graceful stop of the whole app
fail-grace = "5s"        # the same after the failure of a component
drain-delay = "0s"       # after TERM: the app serves for this long before components get the notice
signals = "standard"     # or "nginx"
access-log = "off"       # or "text", "json": one line on stdout for each HTTP request
memory = "384MiB"        # all linear memories of the app together; no limit by default
admin = "127.0.0.1:9900" # address of /livez, /readyz, /status and /metrics; off by default
control = "curfew.sock"  # socket of `curfew status|stop|reload|restart`, mode 0600; off by default

[component.web]                 # kind http
source = "web.wasm"             # relative to the manifest
listen = ["127.0.0.1:8080", "[::1]:8080", "unix:web.sock"]   # port 0: the system chooses; "fd:NAME": from systemd
routes = ["api.example.com/v1", "*.example.com", "/static"]  # several components can share an address
tls = { cert = "cert.pem", key = "key.pem" }                 # HTTP/1.1 and HTTP/2; without it HTTP/1.1 and h2c
instances = { max = 4, concurrency = 64, requests = 0, queue = 1024, idle = "60s" }
request-timeout = "30s"         # longest time until the answer begins
limits = { connections = 4096, header-size = "64KiB", body-size = "1GiB", header-timeout = "10s", idle-timeout = "75s", outbound = 256 }
forwarded = "replace"           # or "append": keeps the headers of a trusted proxy
outbound-http = ["https://api.example.com", "http://*.internal:8080"]   # servers it may send requests to; services, too
after = ["queue"]               # starts when queue is ready, and stops before queue; services, too
health = { path = "/healthz", every = "10s", timeout = "10s", failures = 3 }   # 3 failed checks in a row: it has failed

[component.queue]               # kind service
source = "queue.wasm"
grace = "10s"                   # longest time from its notice to its cut-off, within the app's grace
hook = "at-start"               # or "after-drain"; the default depends on its `run`
on-exit = "stop-app"            # or "ignore", "restart": the effect of its normal end
on-failure = "restart"          # or "ignore", "stop-app"; default: "restart" for http and tcp, "stop-app" for services
restart = { max = 5, within = "1m", backoff = ["200ms", "30s"] }   # a sixth restart in one minute: exit code 75
start-timeout = "10s"           # longest time until it is ready
ready = "said"                  # or "started"; "said" is the default if it imports `ready`
health = { every = "10s", failures = 3 }   # a service has to call `alive` every 10 s
overlap = false                 # true: on a reload the new generation starts before the old one has ended
memory = "64MiB"                # all its linear memories together; 256MiB by default
stdin = false                   # true for at most one component of an app
args = ["--verbose"]
env = { LOG = "info" }
dirs = [{ host = "data", guest = "/data", access = "read-only" }]   # or "read-write"
network = { listen = ["127.0.0.1:9301"], connect = ["127.0.0.1:6379", "db.example.com:5432"], names = false }
config = { greeting = "hello" } # for wasi:config/store@0.2.0-rc.1
```

In `connect`, a port or a host can be `*`. curfew looks a host name up once, before the start, and grants the addresses
that the name has then. With `names = true` the component can look names up itself. Port 0 in `listen` grants one port that the
system chooses.
"#;

#[test]
fn the_page_of_keys_is_what_the_host_reads() {
    let mut page = MANIFEST.to_string() + EXAMPLE;
    section(&mut page, "[app]", "Settings of the app as a whole.", APP);
    section(
        &mut page,
        "[component.NAME]",
        "One table for each component. A name consists of a-z, 0-9, `-` and `_`.",
        COMPONENT,
    );
    expect_page("docs/guide/manifest.md", &page);
}

/// The keys of a table, then those of the tables in it.
fn section(page: &mut String, heading: &str, doc: &str, keys: &[ManifestKey]) {
    write!(page, "\n## {heading}\n\n{doc}\n\n").unwrap();
    rows(page, keys);
    for key in keys {
        let mut shape = &key.shape;
        while let Shape::List(inner) = shape {
            shape = inner;
        }
        if let Shape::Table(inner) = shape {
            write!(page, "\n### {}\n\n{}\n\n", key.name, key.doc()).unwrap();
            rows(page, inner);
        }
    }
}

fn rows(page: &mut String, keys: &[ManifestKey]) {
    page.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let default = match (key.fallback)() {
            Fallback::Required => "must be given".to_string(),
            other => other.words().unwrap_or_else(|| "-".to_string()),
        };
        let mut doc = key.doc();
        if let Shape::Choice(choices) = key.shape {
            for choice in choices {
                write!(doc, "<br>`\"{}\"`: {}", choice.word, choice.doc()).unwrap();
            }
        }
        let row = [format!("`{}`", key.name), takes(key), default, doc].map(|cell| cell.replace('|', "\\|"));
        writeln!(page, "| {} |", row.join(" | ")).unwrap();
    }
}

/// Shorter than a message's words: the page has said what durations are, and a table inside a table has a heading of
/// its own.
fn takes(key: &ManifestKey) -> String {
    let link = format!("[below](#{})", key.name);
    match &key.shape {
        Shape::Table(_) => format!("a table: {link}"),
        Shape::List(Shape::Table(_)) => format!("a list of tables: {link}"),
        Shape::Map(..) => "a table of strings".to_string(),
        Shape::List(item) => format!("a list; each item {}", one(item)),
        Shape::Pair(item) => format!("a list of two, each {}", one(item)),
        shape => one(shape),
    }
}

fn one(shape: &Shape) -> String {
    match shape {
        Shape::Duration { zero: true } => "a duration".to_string(),
        Shape::Duration { zero: false } => "a duration above 0".to_string(),
        Shape::Path => "a path".to_string(),
        Shape::Component => "the name of a component".to_string(),
        shape => shape.words(),
    }
}

const CODES: &str = "\
# Exit codes and outcomes

The exit code says how the app ended, and the outcomes say how each component ended. A test writes this page (`make docs`).

## Exit codes

";

const PRECEDENCE: &str = "
The first code of this list that applies is the exit code: 70, 128+n, 75, 1, 124, 3, 0. For example, when one component failed
(1) and another one was cut off (124), the exit code is 1. The codes 2, 69 and 78 come before the app runs: 78 if at least one
error is about the manifest or a component, 69 if all are about files, names and addresses.

- A failure of a service gives the exit code 1 also with `on-failure = \"ignore\"`, and also while it waits for its restart.
- An instance of kind `http` or `tcp` that fails is replaced, and the exit code stays as it is. With `on-failure = \"stop-app\"` it is
  1, and also with `\"ignore\"` if not even a first instance could be started. When the component is
  [out of service](changes.md#out-of-service) at the end of the app, it is 75.
- `curfew run` with one `.wasm` file and no manifest passes the exit status of the component on.
- `curfew check` and `inspect` exit with 0, 2, 69 or 78.
- `status`, `stop`, `reload` and `restart` exit with 0 when the request is done, and with 1 when it was refused or failed. They
  exit with 2 after a usage error, and with 69 when no app listens on the control socket.
- The [manual page](tools.md#manual-pages) of each command has its exit codes.
";

const OUTCOMES: &str = "
## Outcomes

The outcome of a component stands in the table at the end, and in the report ([report.schema.json](../report.schema.json)).

| outcome | meaning | exit code |
| --- | --- | --- |
| `finished` | its `run` returned before the notice, and its hook returned no error; or it called `exit(0)` | 0 |
| `stopped` | it got the notice, and ended within its grace | 0 |
| `hook-failed` | its hook returned an error, trapped or exited | 3 |
| `failed` | it trapped, returned an error, exited with an error, or could not be started | 1 |
| `cut-off` | it overran its grace | 124 |
| `leaked` | it overran its grace in a blocking system call, which curfew cannot end | 124 |
| `gave-up` | it failed more often than its `restart` allows | 75 |
| `not-started` | the app stopped before its `run` was entered | 0 |
";

#[test]
fn the_page_of_exit_codes_is_what_the_host_says() {
    let mut page = CODES.to_string() + "| code | meaning |\n| --- | --- |\n";
    for (code, meaning) in ExitCode::MEANINGS {
        writeln!(page, "| {code} | {meaning} |").unwrap();
    }
    page.push_str(PRECEDENCE);
    page.push_str(OUTCOMES);
    expect_page("docs/guide/exit-codes.md", &page);

    let schema: Value = serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap();
    let outcomes =
        schema["properties"]["components"]["items"]["properties"]["outcome"]["enum"].as_array().unwrap();
    let told: Vec<&str> =
        OUTCOMES.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(told, outcomes.iter().map(|outcome| outcome.as_str().unwrap()).collect::<Vec<_>>());
}

#[test]
fn an_outcome_makes_the_exit_code_that_the_page_says() {
    use curfew_host::teardown::{Outcome, exit_code};
    let all = [
        Outcome::Finished,
        Outcome::Stopped,
        Outcome::HookFailed,
        Outcome::Failed,
        Outcome::CutOff,
        Outcome::Leaked,
        Outcome::GaveUp,
        Outcome::NotStarted,
    ];
    let rows: Vec<&str> = OUTCOMES.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), all.len());
    for outcome in all {
        let code = exit_code(false, None, &[outcome]).0;
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{}` |", outcome.word()))).unwrap();
        assert!(row.ends_with(&format!("| {code} |")), "{row}");
    }
}
