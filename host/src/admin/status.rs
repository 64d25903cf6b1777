//! The status of an app as `/status` serves it and `curfew status` reads it; `docs/status.schema.json` describes it.
//!
//! Invariant: a reader of a later version accepts an earlier document, and the other way round: unknown keys are ignored,
//! and missing keys have defaults.

use serde::{Deserialize, Serialize};

/// An app at one moment. All times are whole milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The app's name.
    pub app: String,
    /// The version of curfew that runs it.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The level of the stop: `running`, `delay`, `drain` or `cut`.
    pub level: String,
    /// True if it takes work: all components have started and are healthy, and no stop has begun.
    pub ready: bool,
    /// The reasons why it is not ready; empty when it is.
    pub not_ready_because: Vec<String>,
    /// The cause of the stop, as in the log; `None` while it runs.
    pub cause: Option<String>,
    /// Time since its start.
    pub uptime_ms: u64,
    /// Time until the app is cut off; `None` while it runs.
    pub left_ms: Option<u64>,
    /// Reloads that took over.
    pub reloads: u64,
    /// Reloads that failed and changed nothing.
    pub failed_reloads: u64,
    /// The last reload that has ended.
    pub last_reload: Option<LastReload>,
    /// True while a reload is under way.
    pub reloading: bool,
    /// The components in the order of the manifest. Where several generations live, the newest comes first.
    pub components: Vec<ComponentStatus>,
}

/// The end of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastReload {
    /// True if it took over.
    pub ok: bool,
    /// The changes, or why it failed.
    pub text: String,
    /// Time since then.
    pub ago_ms: u64,
}

/// One generation of a component at one moment. All times are whole milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentStatus {
    /// Its name.
    pub name: String,
    /// Its kind, `service`, `http` or `tcp`; empty until it is loaded.
    pub kind: String,
    /// Its state: `running`, `not ready`, `out of service`, `requests`, `hook`, `ended` and others.
    pub state: String,
    /// The number of the generation: 1 at the app's start, one more with each reload or restart by an operator.
    pub generation: u64,
    /// Its instances that are alive.
    pub instances: u64,
    /// Its requests or connections in flight; of a service 1 while its `run` is under way.
    pub in_flight: u64,
    /// Those of its requests or connections in flight that wait for an instance.
    pub waiting: u64,
    /// Time for which it has been busy without a pause: it computes, or makes calls that do not wait. `None` below a second.
    pub busy_ms: Option<u64>,
    /// The number of restarts after it failed or ended.
    pub restarts: u64,
    /// Time since the first of its failures without a long run between them; `None` unless it is restarted after them.
    pub failing_ms: Option<u64>,
    /// The number of times that it, or an instance of it, trapped, exited with an error, or could not be started.
    pub failures: u64,
    /// Time since its last start; 0 when it has not started.
    pub uptime_ms: u64,
    /// Bytes of linear memory of all its instances.
    pub memory_bytes: u64,
    /// The status line that it set itself.
    pub line: Option<String>,
    /// Its last failure, in one line.
    pub last_failure: Option<String>,
    /// Its listening addresses, as URLs.
    pub addresses: Vec<String>,
    /// Time since its hook was called; `None` unless the hook is under way.
    pub hook_ms: Option<u64>,
    /// Time until it is cut off; `None` unless it is stopping.
    pub left_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = include_str!("../../../docs/status.schema.json");

    fn expect_valid(status: &Status) {
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.add_resource("status.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let schema = compiler.compile("status.json", &mut schemas).unwrap();
        if let Err(error) = schemas.validate(&serde_json::to_value(status).unwrap(), schema) {
            panic!("{error}");
        }
    }

    #[test]
    fn the_schema_describes_all_of_it() {
        let mut status = Status { level: "running".into(), pid: 1, ..Default::default() };
        expect_valid(&status);
        status.components = vec![ComponentStatus { name: "web".into(), generation: 1, ..Default::default() }];
        expect_valid(&status);
        status.components[0].line = Some(String::new());
        status.components[0].last_failure = Some(String::new());
        status.components[0].addresses = vec!["http://127.0.0.1:1".into()];
        (status.components[0].hook_ms, status.components[0].left_ms) = (Some(1), Some(1));
        status.components[0].busy_ms = Some(1000);
        (status.cause, status.left_ms) = (Some("SIGTERM".into()), Some(1));
        status.last_reload = Some(LastReload::default());
        status.not_ready_because = vec!["stopping".into()];
        expect_valid(&status);
    }

    #[test]
    fn a_document_is_the_same_both_ways_and_keys_can_come_and_go() {
        let component = ComponentStatus {
            name: "web".into(),
            left_ms: Some(u64::MAX),
            line: Some("\u{1b}[1m".into()),
            ..Default::default()
        };
        let status = Status { app: "shop".into(), components: vec![component], ..Default::default() };
        let mut value = serde_json::to_value(&status).unwrap();
        value["later"] = 1.into();
        value.as_object_mut().unwrap().remove("reloads");
        assert_eq!(serde_json::from_value::<Status>(value).unwrap(), status);
    }
}
