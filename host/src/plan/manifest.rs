//! From a manifest's text to a [`Plan`]: syntax, then values, then their sense together.
//!
//! Invariant: one error is told, the first in the text; without one, the plan is complete and consistent. The
//! keys are in `schema`; the order of the stages is all that is decided here, and how values become the plan.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::budget::time_to_go;
use super::error::{Diagnostic, PlanError};
use super::http::{DEFAULT_REQUEST_TIMEOUT, Forwarded, HttpPlan, InstancesPlan, LimitsPlan, TlsPlan};
use super::names::folder_name;
use super::problem::{Item, Problem, Section, first};
use super::schema::{
    AFTER_DRAIN, APPEND, AT_START, IGNORE, JSON, NGINX, READ_WRITE, RESTART, SAID, STARTED, TEXT,
};
use super::types::{
    Access, AccessLogFormat, AppPlan, ComponentPlan, DEFAULT_FAIL_GRACE, DEFAULT_GRACE, DEFAULT_HEALTH_EVERY,
    DEFAULT_HEALTH_FAILURES, DEFAULT_MEMORY, DEFAULT_START_TIMEOUT, DirGrant, HealthPlan, HookTiming,
    NetworkGrant, OnEnd, Plan, ReadyWhen, RestartPlan, SignalProfile,
};
use super::{checks, read, syntax};

/// The manifest that is meant when none is named.
pub const DEFAULT_MANIFEST: &str = "curfew.toml";

/// The largest manifest that is read; so a device or an endless pipe is none.
const MAX_MANIFEST: u64 = 1 << 20;

impl Plan {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`PlanError::Unreadable`] when the file cannot be read, [`PlanError::Invalid`] for what is in it.
    pub fn from_manifest(path: &Path) -> Result<Self, PlanError> {
        let unreadable = |cause: std::io::Error| {
            let no_default =
                path == Path::new(DEFAULT_MANIFEST) && cause.kind() == std::io::ErrorKind::NotFound;
            let hint = no_default.then_some("give a manifest or .wasm files: curfew run a.wasm");
            PlanError::Unreadable { path: path.to_owned(), cause, hint }
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_MANIFEST {
            let message = format!("a manifest has at most {MAX_MANIFEST} bytes, this file is larger");
            return Err(invalid(path, "", Problem::new(0..0, message)));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::from_str(&text, path),
            Err(error) => Err(not_text(path, &error)),
        }
    }

    /// The same for a text that was read from `path`. The file itself is not looked at, but its folder is
    /// where relative paths start.
    ///
    /// # Errors
    /// [`PlanError::Invalid`] with the first thing that is wrong.
    pub fn from_str(text: &str, path: &Path) -> Result<Self, PlanError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        if let Some(problem) = syntax::first(text, &errors) {
            return Err(invalid(path, text, problem));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let (root, mut problems) = read::read(&tree);
        problems.extend(checks::check(&root, text, base));
        if let Some(problem) = first(problems) {
            return Err(invalid(path, text, problem));
        }
        let components = root.table("component").map(|table| table.entries.as_slice()).unwrap_or_default();
        if components.is_empty() {
            let at = root.entry("component").map_or(0..0, |entry| entry.key_span.clone());
            let hint = "add one: [component.web] with `source = \"web.wasm\"`".to_owned();
            return Err(invalid(path, text, Problem::new(at, "the app has no component").hint(hint)));
        }
        let none = Section::default();
        let app = app_plan(root.table("app").unwrap_or(&none), path, base);
        let components = components
            .iter()
            .filter_map(|entry| Some(component_plan(&entry.key, entry.item.table()?, base, app.fail_grace)))
            .collect();
        Ok(Self { app, components, manifest: Some(path.to_owned()), passthrough: false })
    }
}

fn invalid(path: &Path, text: &str, problem: Problem) -> PlanError {
    let Problem { span, message, hint } = problem;
    PlanError::Invalid(Box::new(Diagnostic::new(path, text, span, message, hint)))
}

fn not_text(path: &Path, error: &std::string::FromUtf8Error) -> PlanError {
    let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let text = String::from_utf8_lossy(valid);
    if valid.starts_with(b"\0asm") || error.as_bytes().starts_with(b"\x7fELF") {
        return invalid(path, "", Problem::new(0..0, "this is a binary, not a manifest"));
    }
    let problem = Problem::new(text.len()..text.len(), "this is not text: a manifest is UTF-8");
    invalid(path, &text, problem)
}

fn app_plan(app: &Section, path: &Path, base: &Path) -> AppPlan {
    AppPlan {
        name: app
            .text("name")
            .map(str::to_owned)
            .or_else(|| folder_name(path))
            .unwrap_or_else(|| "app".into()),
        grace: app.duration("grace").unwrap_or(DEFAULT_GRACE),
        fail_grace: app.duration("fail-grace").unwrap_or(DEFAULT_FAIL_GRACE),
        drain_delay: app.duration("drain-delay").unwrap_or_default(),
        signals: match app.text("signals") {
            Some(NGINX) => SignalProfile::Nginx,
            _ => SignalProfile::Standard,
        },
        access_log: match app.text("access-log") {
            Some(TEXT) => AccessLogFormat::Text,
            Some(JSON) => AccessLogFormat::Json,
            _ => AccessLogFormat::Off,
        },
        admin: app.item("admin").and_then(Item::address),
        control: app.text("control").map(|path| absolute(base.join(path))),
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn component_plan(name: &str, section: &Section, base: &Path, fail_grace: Duration) -> ComponentPlan {
    let grace = section.duration("grace");
    ComponentPlan {
        name: name.to_owned(),
        source: section.text("source").map(|source| base.join(source)).unwrap_or_default(),
        grace,
        hook: match section.text("hook") {
            Some(AT_START) => Some(HookTiming::AtStart),
            Some(AFTER_DRAIN) => Some(HookTiming::AfterDrain),
            _ => None,
        },
        on_exit: on_end(section.text("on-exit")),
        on_failure: section.text("on-failure").map(|word| on_end(Some(word))),
        restart: restart_plan(section.table("restart"), time_to_go(fail_grace, grace)),
        after: texts(section, "after"),
        ready: match section.text("ready") {
            Some(STARTED) => Some(ReadyWhen::Started),
            Some(SAID) => Some(ReadyWhen::Said),
            _ => None,
        },
        health: section.table("health").map(health),
        overlap: section.flag("overlap"),
        start_timeout: section.duration("start-timeout").unwrap_or(DEFAULT_START_TIMEOUT),
        memory: section.number("memory").unwrap_or(DEFAULT_MEMORY),
        stdin: section.flag("stdin"),
        args: texts(section, "args"),
        env: pairs(section.table("env")).into_iter().collect(),
        dirs: section.list("dirs").iter().filter_map(|item| dir(item.table()?, base)).collect(),
        network: section.table("network").map(network).unwrap_or_default(),
        http: http(section, base),
        outbound_http: section.list("outbound-http").iter().filter_map(Item::origin).cloned().collect(),
        config: pairs(section.table("config")),
    }
}

fn on_end(word: Option<&str>) -> OnEnd {
    match word {
        Some(IGNORE) => OnEnd::Ignore,
        Some(RESTART) => OnEnd::Restart,
        _ => OnEnd::StopApp,
    }
}

/// The budget in a `restart` table, for a component whose failed instances may take `going` to go.
pub(super) fn restart_plan(section: Option<&Section>, going: Duration) -> RestartPlan {
    let RestartPlan { max, within, first_pause, longest_pause } = RestartPlan::default();
    let number = |section: &Section| section.count("max").map(|max| u32::try_from(max).unwrap_or(u32::MAX));
    let pauses = section.map(|section| section.list("backoff")).unwrap_or_default();
    let mut pauses = pauses.iter().filter_map(Item::duration);
    let plan = RestartPlan {
        max: section.and_then(number).unwrap_or(max),
        within,
        first_pause: pauses.next().unwrap_or(first_pause),
        longest_pause: pauses.next().unwrap_or(longest_pause),
    };
    match section.and_then(|section| section.duration("within")) {
        Some(within) => RestartPlan { within, ..plan },
        None => plan.with_default_period(going),
    }
}

fn health(section: &Section) -> HealthPlan {
    let every = section.duration("every").unwrap_or(DEFAULT_HEALTH_EVERY);
    let failures = section.number("failures").map(|failures| u32::try_from(failures).unwrap_or(u32::MAX));
    HealthPlan {
        path: section.text("path").map(str::to_owned),
        every,
        timeout: section.duration("timeout").unwrap_or(every),
        failures: failures.unwrap_or(DEFAULT_HEALTH_FAILURES),
    }
}

fn texts(section: &Section, key: &str) -> Vec<String> {
    section.list(key).iter().filter_map(Item::text).map(str::to_owned).collect()
}

fn pairs(section: Option<&Section>) -> BTreeMap<String, String> {
    let entries = section.map(|section| section.entries.as_slice()).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.item.text()?.to_owned()))).collect()
}

fn dir(section: &Section, base: &Path) -> Option<DirGrant> {
    let host: PathBuf = base.join(section.text("host")?);
    let access = match section.text("access") {
        Some(READ_WRITE) => Access::ReadWrite,
        _ => Access::ReadOnly,
    };
    Some(DirGrant { host, guest: section.text("guest")?.to_owned(), access })
}

fn network(section: &Section) -> NetworkGrant {
    let listen = section.list("listen").iter().filter_map(Item::address);
    let connect = section.list("connect").iter().filter_map(Item::peer).cloned();
    NetworkGrant {
        listen: listen.collect(),
        connect: connect.collect(),
        names: section.flag("names"),
        all: false,
    }
}

fn http(component: &Section, base: &Path) -> HttpPlan {
    let none = Section::default();
    let listen = component.list("listen").iter().filter_map(Item::listen_address);
    HttpPlan {
        listen: listen.map(|address| address.resolved(base)).collect(),
        routes: component.list("routes").iter().filter_map(Item::route).cloned().collect(),
        tls: component.table("tls").and_then(|tls| tls_plan(tls, base)),
        instances: instances(component.table("instances").unwrap_or(&none)),
        request_timeout: component.duration("request-timeout").unwrap_or(DEFAULT_REQUEST_TIMEOUT),
        limits: limits(component.table("limits").unwrap_or(&none)),
        forwarded: match component.text("forwarded") {
            Some(APPEND) => Forwarded::Append,
            _ => Forwarded::Replace,
        },
    }
}

fn tls_plan(tls: &Section, base: &Path) -> Option<TlsPlan> {
    Some(TlsPlan { cert: base.join(tls.text("cert")?), key: base.join(tls.text("key")?) })
}

fn instances(section: &Section) -> InstancesPlan {
    let fallback = InstancesPlan::default();
    InstancesPlan {
        max: section.count("max"),
        concurrency: section.count("concurrency"),
        requests: section.number("requests").unwrap_or(fallback.requests),
        queue: section.count("queue").unwrap_or(fallback.queue),
        idle: section.duration("idle").unwrap_or(fallback.idle),
    }
}

fn limits(section: &Section) -> LimitsPlan {
    let fallback = LimitsPlan::default();
    LimitsPlan {
        connections: section.count("connections").unwrap_or(fallback.connections),
        header_size: section.count("header-size").unwrap_or(fallback.header_size),
        body_size: section.number("body-size"),
        header_timeout: section.duration("header-timeout").unwrap_or(fallback.header_timeout),
        idle_timeout: section.duration("idle-timeout").unwrap_or(fallback.idle_timeout),
    }
}

#[cfg(test)]
mod tests;
