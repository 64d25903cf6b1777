//! What `check` and `inspect` say of a component, as text and as JSON.

use std::time::Duration;

use serde::Serialize;

use super::supervision::Supervision;
use curfew_host::plan::{ComponentPlan, HookTiming};
use curfew_host::runtime::{ImportState, Kind, Loaded, StrayHook};

/// A component that can run.
#[derive(Debug, Serialize)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its file.
    pub source: String,
    /// `service`, `http` or `tcp`.
    pub kind: &'static str,
    /// The version of the `run`, or of the handler, that is called.
    pub wasi: String,
    /// Whether that is async.
    pub async_run: bool,
    /// How its file, a core module, became a component.
    pub adapted: Option<String>,
    /// The form of its hook, if it has one.
    pub hook: Option<String>,
    /// When the hook is called.
    pub delivery: String,
    /// Its own grace.
    #[serde(skip)]
    pub grace: Option<Duration>,
    /// How it is supervised.
    #[serde(flatten)]
    pub supervision: Supervision,
    /// Whether another component waits until it is ready.
    #[serde(skip)]
    pub is_waited_for: bool,
    /// What it imports and will not get.
    pub not_given: Vec<String>,
    /// Things that are allowed and will surprise.
    pub warnings: Vec<String>,
}

impl Description {
    /// Describes a loaded component.
    pub fn new(plan: &ComponentPlan, loaded: &Loaded) -> Self {
        Self {
            name: plan.name.clone(),
            source: plan.source.display().to_string(),
            kind: loaded.kind.word(),
            wasi: loaded.run.version.clone(),
            async_run: loaded.run.is_async,
            adapted: loaded.adapted.map(|adapted| adapted.to_string()),
            hook: loaded.hook.as_ref().map(ToString::to_string),
            delivery: delivery(loaded),
            grace: plan.grace,
            supervision: Supervision::new(plan, loaded),
            is_waited_for: false,
            not_given: not_given(loaded),
            warnings: warnings(plan, loaded),
        }
    }

    /// Returns the description as lines of text.
    pub fn text(&self) -> String {
        let called = if self.kind == Kind::Service.word() { "run" } else { "handler" };
        let run = format!("{} {called}", if self.async_run { "async" } else { "sync" });
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

fn delivery(loaded: &Loaded) -> String {
    let told = loaded.imports.iter().any(|import| import.name.starts_with("curfew:lifecycle/host"));
    match loaded.kind {
        Kind::Http => return http_delivery(loaded).to_owned(),
        Kind::Tcp => return tcp_delivery(loaded).to_owned(),
        Kind::Service => {}
    }
    let text = match (&loaded.hook, loaded.timing, loaded.run.is_async) {
        (Some(_), HookTiming::AtStart, _) => "the hook is called next to `run`, as soon as the guest awaits",
        (Some(_), HookTiming::AfterDrain, true) => "the hook is called when `run` has returned",
        (Some(_), HookTiming::AfterDrain, false) => {
            "a sync `run` cannot be entered: the hook is called when it has returned"
        }
        (None, ..) if told => "through the import; there is no hook",
        (None, ..) => "none: it is cut off at the end of its grace",
    };
    text.to_owned()
}

fn http_delivery(loaded: &Loaded) -> &'static str {
    match (&loaded.hook, loaded.timing, loaded.run.is_async) {
        (None, ..) => "there is no hook: an instance ends when its requests are answered",
        (Some(_), HookTiming::AtStart, _) => {
            "the hook is called in each instance at once, next to its requests"
        }
        (Some(_), HookTiming::AfterDrain, true) => {
            "the hook is called in each instance when its requests are answered, or next to them after half the grace"
        }
        (Some(_), HookTiming::AfterDrain, false) => {
            "the hook is called in each instance when its request is answered"
        }
    }
}

/// A handler of connections is always async.
fn tcp_delivery(loaded: &Loaded) -> &'static str {
    match (&loaded.hook, loaded.timing) {
        (None, _) => "its connections' inputs end; there is no hook: an instance ends when they are closed",
        (Some(_), HookTiming::AtStart) => {
            "its connections' inputs end; the hook is called in each instance at once, next to them"
        }
        (Some(_), HookTiming::AfterDrain) => {
            "its connections' inputs end; the hook is called in each instance when they are closed, or next to them \
             after half the grace"
        }
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
    let told = loaded.imports.iter().any(|import| import.name.starts_with("curfew:lifecycle/host"));
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
        if loaded.kind == Kind::Service && !loaded.run.is_async && !told {
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
