//! What `check` and `inspect` say of how a component is supervised, as text and as JSON.
//!
//! Invariant: what is said is what holds, defaults included. Nothing is decided here.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use curfew_host::plan::{ComponentPlan, OnEnd};
use curfew_host::runtime::Loaded;
use curfew_host::text::units::format_duration;

/// How a component is supervised.
#[derive(Debug, Serialize)]
pub struct Supervision {
    /// Whom it comes after.
    pub after: Vec<String>,
    /// When it counts as ready.
    pub ready: Readiness,
    /// When, and how often, it is started again; `None` is never.
    pub restart: Option<Restarts>,
    /// How it is found out whether it is alive; `None` is not at all.
    pub health: Option<Health>,
}

/// When a component counts as ready.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// `started` or `said`.
    pub when: &'static str,
    /// The time it has for that.
    pub within_ms: u64,
    #[serde(skip)]
    is_listened_for: bool,
}

/// When, and how often, a component is started again.
#[derive(Debug, Serialize)]
pub struct Restarts {
    /// When it has ended normally.
    pub on_exit: bool,
    /// When it has failed.
    pub on_failure: bool,
    /// So often at most…
    pub max: u32,
    /// …within this time.
    pub within_ms: u64,
    /// The first pause before it.
    pub first_pause_ms: u64,
    /// The longest pause.
    pub longest_pause_ms: u64,
}

/// How it is found out whether a component is alive.
#[derive(Debug, Serialize)]
pub struct Health {
    /// The path that is asked for; `None` where it has to say so itself.
    pub path: Option<String>,
    /// Time between two questions, or between two calls at most.
    pub every_ms: u64,
    /// Longest time until an answer begins.
    pub timeout_ms: u64,
    /// So many missed, and it has failed.
    pub failures: u32,
}

impl Supervision {
    /// Reads it off the plan of a loaded component.
    pub fn new(plan: &ComponentPlan, loaded: &Loaded) -> Self {
        let is_listened_for = loaded.kind.is_listened_for();
        let resolved = plan.resolve(&loaded.defaults);
        let on_exit = plan.on_exit == OnEnd::Restart;
        let on_failure = resolved.on_failure == OnEnd::Restart;
        let restart = Restarts {
            on_exit,
            on_failure,
            max: plan.restart.max,
            within_ms: millis(plan.restart.within),
            first_pause_ms: millis(plan.restart.first_pause),
            longest_pause_ms: millis(plan.restart.longest_pause),
        };
        let ready =
            Readiness { when: resolved.ready.word(), within_ms: millis(plan.start_timeout), is_listened_for };
        let health = plan.health.as_ref().map(|health| Health {
            path: health.path.clone(),
            every_ms: millis(health.every),
            timeout_ms: millis(health.timeout),
            failures: health.failures,
        });
        Self { after: plan.after.clone(), ready, restart: (on_exit || on_failure).then_some(restart), health }
    }

    /// Returns it as lines of text, each with the label that it stands behind. When it is ready is told where
    /// somebody waits for that.
    pub fn lines(&self, is_waited_for: bool) -> Vec<(&'static str, String)> {
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

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match (self.when, self.is_listened_for) {
            ("said", _) => "when it says so",
            (_, true) => "when it listens and its first instance has started",
            (_, false) => "when its `run` is entered",
        };
        write!(f, "{when}, within {}", shown(self.within_ms))
    }
}

impl fmt::Display for Restarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match (self.on_exit, self.on_failure) {
            (true, true) => "when it has ended or failed",
            (true, false) => "when it has ended",
            (false, _) => "when it has failed",
        };
        let (within, max) = (shown(self.within_ms), self.max);
        write!(f, "{when}, at most {max} times within {within}, ")?;
        write!(f, "after {} to {}", shown(self.first_pause_ms), shown(self.longest_pause_ms))
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let every = shown(self.every_ms);
        match &self.path {
            Some(path) => {
                write!(f, "GET {path} every {every}, answered within {}", shown(self.timeout_ms))?;
            }
            None => write!(f, "it calls `alive` at least every {every}")?,
        }
        match self.failures {
            1 => write!(f, "; it has failed when it misses one"),
            many => write!(f, "; it has failed when it misses {many} in a row"),
        }
    }
}

fn shown(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}

/// A duration as JSON has it.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
