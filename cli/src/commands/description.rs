//! The description of a component that `check` and `inspect` print, as text and as JSON.
//!
//! Invariant: it has the values that hold, defaults included, and decides nothing.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use curfew_host::plan::{ComponentPlan, HookTiming, OnEnd};
use curfew_host::runtime::{Hearing, ImportState, Loaded, StrayHook};
use curfew_host::text::units::format_duration;

#[derive(Debug, Serialize)]
pub(super) struct ComponentDescription {
    pub(super) name: String,
    source: String,
    kind: &'static str,
    #[serde(skip)]
    export: &'static str,
    /// The version of the `run`, or of the handler, that is called.
    wasi: String,
    async_run: bool,
    /// How its file, a core module, became a component.
    adapted: Option<String>,
    /// The form of its hook.
    hook: Option<String>,
    /// When the hook is called.
    delivery: String,
    #[serde(skip)]
    pub(super) grace: Option<Duration>,
    #[serde(flatten)]
    supervision: Supervision,
    /// Whether another component waits until it is ready.
    #[serde(skip)]
    pub(super) is_waited_for: bool,
    /// Imports that it does not get.
    not_given: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl ComponentDescription {
    pub(super) fn new(plan: &ComponentPlan, loaded: &Loaded) -> Self {
        Self {
            name: plan.name.clone(),
            source: plan.source.display().to_string(),
            kind: loaded.kind.name,
            export: loaded.kind.words.export,
            wasi: loaded.run.version.clone(),
            async_run: loaded.run.is_async,
            adapted: loaded.adapted.map(|adapted| adapted.to_string()),
            hook: loaded.hook.as_ref().map(ToString::to_string),
            delivery: (loaded.kind.delivery)(hearing(loaded)).to_owned(),
            grace: plan.grace,
            supervision: Supervision::new(plan, loaded),
            is_waited_for: false,
            not_given: not_given(loaded),
            warnings: warnings(plan, loaded),
        }
    }

    /// Returns the description as lines of text.
    pub(super) fn text(&self) -> String {
        let run = format!("{} {}", if self.async_run { "async" } else { "sync" }, self.export);
        let hook = self.hook.as_deref().unwrap_or("none");
        let adapted = self.adapted.as_ref().map(|how| format!("  adapted   {how}\n")).unwrap_or_default();
        let mut text = format!(
            "{}: {}\n  kind      {}, WASI {}, {run}\n{adapted}  hook      {hook}\n  delivery  {}\n",
            self.name, self.source, self.kind, self.wasi, self.delivery
        );
        for (label, line) in self.supervision.lines(self.is_waited_for) {
            text.push_str(&format!("  {label:<9} {line}\n"));
        }
        for line in &self.not_given {
            text.push_str(&format!("  not given {line}\n"));
        }
        for line in &self.warnings {
            text.push_str(&format!("  warning   {line}\n"));
        }
        text
    }
}

/// The supervision of a component, with all defaults.
#[derive(Debug, Serialize)]
struct Supervision {
    after: Vec<String>,
    ready: ReadyDescription,
    /// `None`: it is never restarted.
    restart: Option<RestartDescription>,
    /// `None`: its health is not checked.
    health: Option<HealthDescription>,
}

/// When a component counts as ready, and the time it has for that.
#[derive(Debug, Serialize)]
struct ReadyDescription {
    /// `started` or `said`.
    when: &'static str,
    within_ms: u64,
    #[serde(skip)]
    unless_said: &'static str,
}

/// The restarts of a component: after which end, at most how many within which time, after which pauses.
#[derive(Debug, Serialize)]
struct RestartDescription {
    on_exit: bool,
    on_failure: bool,
    max: u32,
    within_ms: u64,
    first_pause_ms: u64,
    longest_pause_ms: u64,
}

/// The health check of a component.
#[derive(Debug, Serialize)]
struct HealthDescription {
    /// The path of the probe; `None` if the component has to call `alive` itself.
    path: Option<String>,
    /// Time between two probes, or longest time between two calls.
    every_ms: u64,
    /// Longest time until an answer begins.
    timeout_ms: u64,
    /// The component has failed after so many missed in a row.
    failures: u32,
}

impl Supervision {
    fn new(plan: &ComponentPlan, loaded: &Loaded) -> Self {
        let resolved = plan.resolve(&loaded.defaults);
        let on_exit = plan.on_exit == OnEnd::Restart;
        let on_failure = resolved.on_failure == OnEnd::Restart;
        let [first_pause_ms, longest_pause_ms] = plan.restart.backoff.map(millis);
        let restart = RestartDescription {
            on_exit,
            on_failure,
            max: plan.restart.max,
            within_ms: millis(plan.restart.within),
            first_pause_ms,
            longest_pause_ms,
        };
        let ready = ReadyDescription {
            when: resolved.ready.word(),
            within_ms: millis(plan.start_timeout),
            unless_said: loaded.kind.words.ready,
        };
        let health = plan.health.as_ref().map(|health| HealthDescription {
            path: health.path.clone(),
            every_ms: millis(health.every),
            timeout_ms: millis(health.timeout),
            failures: health.failures,
        });
        Self { after: plan.after.clone(), ready, restart: (on_exit || on_failure).then_some(restart), health }
    }

    /// Returns lines of text with their labels. Readiness is included if a component waits for it.
    fn lines(&self, is_waited_for: bool) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if !self.after.is_empty() {
            lines.push(("after", self.after.join(", ")));
        }
        if is_waited_for {
            lines.push(("ready", self.ready.to_string()));
        }
        lines.extend(self.restart.as_ref().map(|restart| ("restart", restart.to_string())));
        lines.extend(self.health.as_ref().map(|health| ("health", health.to_string())));
        lines
    }
}

impl fmt::Display for ReadyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.when == "said" { "when it says so" } else { self.unless_said };
        write!(f, "{when}, within {}", duration_text(self.within_ms))
    }
}

impl fmt::Display for RestartDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match (self.on_exit, self.on_failure) {
            (true, true) => "when it has ended or failed",
            (true, false) => "when it has ended",
            (false, _) => "when it has failed",
        };
        let (within, max) = (duration_text(self.within_ms), self.max);
        write!(f, "{when}, at most {max} times within {within}, ")?;
        write!(f, "after {} to {}", duration_text(self.first_pause_ms), duration_text(self.longest_pause_ms))
    }
}

impl fmt::Display for HealthDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let every = duration_text(self.every_ms);
        match &self.path {
            Some(path) => {
                write!(f, "GET {path} every {every}, answered within {}", duration_text(self.timeout_ms))?;
            }
            None => write!(f, "it calls `alive` at least every {every}")?,
        }
        match self.failures {
            1 => write!(f, "; it has failed when it misses one"),
            many => write!(f, "; it has failed when it misses {many} in a row"),
        }
    }
}

fn duration_text(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}

/// Returns a duration as JSON has it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn hearing(loaded: &Loaded) -> Hearing {
    let is_host = |name: &str| name.starts_with("curfew:lifecycle/host");
    Hearing {
        hook: loaded.hook.as_ref().map(|_| loaded.timing),
        is_async: loaded.run.is_async,
        imports_host: loaded.imports.iter().any(|import| is_host(&import.name)),
    }
}

fn not_given(loaded: &Loaded) -> Vec<String> {
    let line = |name: &str, state: &ImportState| match state {
        ImportState::Given => None,
        ImportState::NotGranted(key) => Some(format!("{name} (key `{key}`)")),
        ImportState::Unknown => Some(format!("{name} (unknown)")),
    };
    loaded.imports.iter().filter_map(|import| line(&import.name, &import.state)).collect()
}

fn warnings(plan: &ComponentPlan, loaded: &Loaded) -> Vec<String> {
    let told = hearing(loaded).imports_host;
    let stray = |stray: &StrayHook| match stray {
        StrayHook::InInterface(interface) => format!(
            "its `shutdown` in `{interface}` is never called: a hook is at world level (`export shutdown: func();`), or \
             in `curfew:lifecycle/hook`"
        ),
        StrayHook::Named(name) => {
            format!(
                "it exports `{name}`, which nobody calls: if it is the hook, its name has to be `shutdown`"
            )
        }
    };
    let unused = |run: &String| format!("its `{run}` is never called: the host calls its handler");
    let mut warnings: Vec<_> = loaded.stray_hooks.iter().map(stray).collect();
    warnings.extend(loaded.run.unused.as_ref().map(unused));
    if let Some(hook) = &loaded.hook {
        if loaded.run.is_async && !hook.is_async {
            warnings.push(
                "its hook is a sync function in an async component: waiting in it traps; make it `async`"
                    .to_owned(),
            );
        }
        if !loaded.kind.is_pooled && !loaded.run.is_async && !told {
            warnings.push(
                "its sync `run` is not told of a stop (it imports no `curfew:lifecycle/host`): unless it ends by \
                 itself, it is cut off before its hook can be called"
                    .to_owned(),
            );
        }
        if !loaded.run.is_async && plan.hook == Some(HookTiming::AtStart) {
            warnings.push(
                "hook = \"at-start\" has no effect: it is sync, and cannot be entered while it works"
                    .to_owned(),
            );
        }
    }
    warnings
}
