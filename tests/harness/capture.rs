//! What a host has said so far, collected by one thread for each stream, and the wait for more of it.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::patience;

/// One log record of the host, with the moment at which the test read it.
#[derive(Clone, Debug)]
pub struct Record {
    pub at: Instant,
    pub fields: Value,
}

impl Record {
    pub fn message(&self) -> &str {
        self.field("message").as_str().unwrap_or_default()
    }

    /// The field, whether the format nests the fields or not; null when it is missing.
    pub fn field(&self, name: &str) -> &Value {
        let nested = &self.fields["fields"][name];
        if nested.is_null() { &self.fields[name] } else { nested }
    }

    /// The field as text, numbers included.
    pub fn text(&self, name: &str) -> String {
        match self.field(name) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    pub fn number(&self, name: &str) -> f64 {
        let field = self.field(name);
        let parsed = field.as_f64().or_else(|| field.as_str()?.parse().ok());
        parsed.unwrap_or_else(|| panic!("{name} is not a number in {}", self.fields))
    }

    /// When the host wrote it, in time since midnight: exact whenever the test has read it.
    #[track_caller]
    pub fn told(&self) -> Duration {
        let text = self.fields["timestamp"].as_str().unwrap_or_else(|| panic!("no time in {}", self.fields));
        let time = text.split_once('T').map_or("", |(_, time)| time).trim_end_matches('Z');
        let parts = time.split(':').map(|part| part.parse::<f64>().expect("a time"));
        Duration::from_secs_f64(parts.fold(0.0, |sum, part| sum * 60.0 + part))
    }

    /// The same as a moment of the test's clock. `at` can be later.
    #[track_caller]
    pub fn written(&self) -> Instant {
        let (now, wall) = (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
        let today = Duration::new(wall.as_secs() % DAY.as_secs(), wall.subsec_nanos());
        now - between(self.told(), today)
    }

    /// How long after another record this one was written.
    #[track_caller]
    pub fn after(&self, other: &Record) -> Duration {
        between(other.told(), self.told())
    }

    pub fn is(&self, message: &str, component: &str) -> bool {
        self.message() == message && (component.is_empty() || self.text("component") == component)
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The time between two times of day, which midnight can lie between.
fn between(then: Duration, now: Duration) -> Duration {
    if now < then { now + DAY - then } else { now - then }
}

/// Everything said up to now.
#[derive(Default)]
pub struct Said {
    /// Log records, in order.
    pub records: Vec<Record>,
    /// Lines of both streams that are not log records, in the order in which they were read.
    pub lines: Vec<String>,
    /// Standard output, byte by byte.
    pub stdout: Vec<u8>,
    /// Standard error, line by line, log records included. Guests' lines and the error that ended the host are as in a log of text.
    pub stderr: Vec<String>,
    /// The same as it was written.
    pub stderr_lines: Vec<String>,
    /// How many of the watched streams have ended.
    pub ended_streams: usize,
    /// The exit status, once the process is gone, and when that was.
    pub exit: Option<(std::process::ExitStatus, Instant)>,
}

impl Said {
    fn add_line(&mut self, line: &str) {
        self.lines.push(line.to_string());
        self.stderr.push(line.to_string());
    }
}

/// The text of a record that is a line of a guest, or the error that ended the host.
fn as_text(fields: &Value) -> Option<String> {
    let text = |name: &str| fields[name].as_str();
    match (text("stream"), text("message")?) {
        (Some(_), message) => Some(format!("{} | {message}", text("component")?)),
        (None, "fatal error") => Some(format!("error: {}", text("error")?)),
        // What a single file says although its log is quiet.
        (None, message) => message.starts_with("serving ").then(|| message.to_string()),
    }
}

/// The shared notebook of the reading threads and the test.
#[derive(Clone, Default)]
pub struct Capture(Arc<(Mutex<Said>, Condvar)>);

impl Capture {
    pub fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    /// Waits until `look` finds something. `None` when patience ends, or when the host is gone and everything
    /// that it said has been read.
    pub fn wait<T>(&self, streams: usize, mut look: impl FnMut(&Said) -> Option<T>) -> Option<T> {
        let end = Instant::now() + patience();
        let mut said = self.lock();
        loop {
            if let Some(found) = look(&said) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            let over = said.exit.is_some() && said.ended_streams >= streams;
            if over || left.is_zero() {
                return None;
            }
            said = self.0.1.wait_timeout(said, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    pub fn read_stdout(&self, stream: impl Read + Send + 'static) {
        self.read(stream, |said, line| {
            said.stdout.extend_from_slice(line);
            said.lines.push(text(line));
        });
    }

    pub fn read_stderr(&self, stream: impl Read + Send + 'static) {
        self.read(stream, |said, line| {
            let line = text(line);
            said.stderr_lines.push(line.clone());
            match serde_json::from_str::<Value>(&line) {
                Ok(fields) if fields.is_object() => match as_text(&fields) {
                    Some(text) => text.lines().for_each(|line| said.add_line(line)),
                    None => {
                        said.records.push(Record { at: Instant::now(), fields });
                        said.stderr.push(line);
                    }
                },
                _ => said.add_line(&line),
            }
        });
    }

    fn read(&self, stream: impl Read + Send + 'static, take: fn(&mut Said, &[u8])) {
        let capture = self.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            // A terminal whose other end is closed answers with an error, which is its way of ending.
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                capture.change(|said| take(said, &line));
                line.clear();
            }
            capture.change(|said| said.ended_streams += 1);
        });
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_string()
}
