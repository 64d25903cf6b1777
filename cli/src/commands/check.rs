//! `curfew check` and `curfew inspect`: load and validate, start nothing, describe each component as text and as JSON.
//!
//! Invariant: a description has the values that hold, defaults included, and decides nothing.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::run;
use crate::error::{CliError, Fault};
use crate::kinds;
use crate::print::print;
use curfew_host::output::{Channel, Output};
use curfew_host::plan::{
    Bare, ComponentPlan, DEFAULT_MANIFEST, HookTiming, ManifestReading, OnEnd, Plan, ReadyWhen, Resolved,
};
use curfew_host::runtime::{
    Hearing, HookShape, ImportState, LoadError, LoadErrors, Loaded, Runtime, RuntimeOptions, StrayHook,
    check_sharing, load_one, memory_warning,
};
use curfew_host::supervisor::AppError;
use curfew_host::teardown::{ExitCode, HARD_RESERVE, reserves};
use curfew_host::text::units::format_duration;

/// Checks a manifest with all its components, and prints each error, not just the first.
pub(crate) fn check(output: &Output, manifest: Option<&Path>, json: bool) -> Result<ExitCode, CliError> {
    let manifest = manifest.unwrap_or(Path::new(DEFAULT_MANIFEST));
    if is_wasm(manifest) {
        return inspect(output, manifest, json);
    }
    let ManifestReading { plan, errors, doubtful } = Plan::read_manifest(manifest)?;
    let is_understood = errors.is_empty();
    let waves = Waves::new(&plan);
    let (components, refused) = load(&plan, &waves, |component| !doubtful.contains(component))?;
    let faults = Fault::join(errors, refused);
    let memory = memory_warning(&plan.app, components.iter().map(|one| (one.plan, &one.loaded)));
    let worst = plan.app.drain_delay.saturating_add(plan.app.grace).max(plan.app.fail_grace);
    let hard = worst.saturating_add(HARD_RESERVE);
    if json {
        let value = json!({
            "app": plan.app.name,
            "components": components.iter().map(ComponentDescription::json).collect::<Vec<_>>(),
            "errors": faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "start_waves": waves.start,
            "stop_waves": waves.stop.iter().map(StopWave::json).collect::<Vec<_>>(),
            "worst_stop_ms": millis(worst),
            "exit_by_ms": millis(hard),
            "warnings": memory.as_slice(),
        });
        print(output, Channel::Stdout, &format!("{value:#}\n"));
    } else if is_understood {
        for description in &components {
            print(output, Channel::Stdout, &description.text());
        }
        print(output, Channel::Stdout, &waves.text());
        let text = format!(
            "app {}: {} of {} components can run; the longest stop takes {}, the process is gone by {} (QUIT: \
             4 times the grace)\n",
            plan.app.name,
            components.len(),
            plan.components.len(),
            format_duration(worst),
            format_duration(hard),
        );
        print(output, Channel::Stdout, &text);
        memory.iter().for_each(|line| print(output, Channel::Stdout, &format!("  warning   {line}\n")));
    }
    match (faults.is_empty(), json) {
        (true, _) => Ok(ExitCode::CLEAN),
        (false, true) => Ok(CliError::Faults(faults).exit_code()),
        (false, false) => Err(CliError::Faults(faults)),
    }
}

/// Returns the plan of a manifest; if something is wrong in it, that and what is wrong with the files that it names.
pub(crate) fn sound(manifest: ManifestReading) -> Result<Plan, CliError> {
    let ManifestReading { plan, errors, doubtful } = manifest;
    if errors.is_empty() {
        return Ok(plan);
    }
    let (_, refused) = load(&plan, &Waves::new(&plan), |component| !doubtful.contains(component))?;
    Err(CliError::Faults(Fault::join(errors, refused)))
}

/// Returns whether the file is a component and no manifest.
fn is_wasm(path: &Path) -> bool {
    let mut start = [0; 4];
    // Opening a pipe can take for ever.
    path.is_file()
        && std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *b"\0asm"
}

pub(crate) fn inspect(output: &Output, file: &Path, json: bool) -> Result<ExitCode, CliError> {
    let plan = Plan::from_files(&[file.to_owned()], &Bare::default())?;
    let (components, errors) = load(&plan, &Waves::new(&plan), |_| false)?;
    if !errors.is_empty() {
        return Err(AppError::Load(LoadErrors(errors)).into());
    }
    for description in &components {
        let text = if json { format!("{:#}\n", description.json()) } else { description.text() };
        print(output, Channel::Stdout, &text);
    }
    Ok(ExitCode::CLEAN)
}

/// Loads the components, and returns those that can run and the errors of the others. `is_planned` tells whether the plan of a
/// component is to be checked, too.
fn load<'a>(
    plan: &'a Plan,
    waves: &Waves,
    is_planned: impl Fn(&str) -> bool,
) -> Result<(Vec<ComponentDescription<'a>>, Vec<LoadError>), CliError> {
    let options =
        RuntimeOptions { cache: run::cache(None, false)?, interruptible: true, kinds: kinds::kinds() };
    let runtime = Runtime::new(options).map_err(AppError::Engine)?;
    let (mut descriptions, mut errors) = (Vec::new(), Vec::new());
    for component in &plan.components {
        let loaded = load_one(&runtime, component);
        let check = |loaded: &Loaded| match is_planned(&component.name) {
            true => loaded.check_plan(component),
            false => Ok(()),
        };
        match loaded.and_then(|loaded| check(&loaded).map(|()| loaded)) {
            Ok(loaded) => {
                let mut warnings = warnings(component, &loaded);
                warnings.extend(waves.warning(&component.name, component.grace));
                let is_waited_for = Waves::is_waited_for(plan, &component.name);
                let is_single = plan.passthrough;
                let described =
                    ComponentDescription { plan: component, loaded, is_waited_for, is_single, warnings };
                descriptions.push(described);
            }
            Err(error) => errors.push(error.of(&component.name, plan)),
        }
    }
    errors.extend(check_sharing(plan, descriptions.iter().map(|one| (one.plan, &one.loaded))));
    Ok((descriptions, errors))
}

struct ComponentDescription<'a> {
    plan: &'a ComponentPlan,
    loaded: Loaded,
    is_waited_for: bool,
    /// Flags grant what it gets, not the keys of a manifest.
    is_single: bool,
    warnings: Vec<String>,
}

impl ComponentDescription<'_> {
    fn json(&self) -> Value {
        let Self { plan, loaded, warnings, .. } = self;
        let (on_exit, on_failure) = self.restarts();
        let restart = || {
            let [first_pause, longest_pause] = plan.restart.backoff.map(millis);
            let max = plan.resolve(&loaded.defaults).max_restarts;
            json!({
                "on_exit": on_exit,
                "on_failure": on_failure,
                "max": max,
                "within_ms": max.map(|_| millis(plan.restart.within)),
                "first_pause_ms": first_pause,
                "longest_pause_ms": longest_pause,
            })
        };
        let health = plan.health.as_ref().map(|health| {
            json!({
                "path": health.path,
                "every_ms": millis(health.every),
                "timeout_ms": millis(health.timeout),
                "failures": health.failures,
            })
        });
        json!({
            "name": plan.name,
            "source": plan.source.display().to_string(),
            "kind": loaded.kind.name,
            "wasi": loaded.run.version,
            "async_run": loaded.run.is_async,
            "adapted": loaded.adapted.map(|adapted| adapted.to_string()),
            "hook": loaded.hook.as_ref().map(ToString::to_string),
            "delivery": (loaded.kind.delivery)(hearing(loaded)),
            "after": plan.after,
            "ready": { "when": plan.resolve(&loaded.defaults).ready.word(), "within_ms": millis(plan.start_timeout) },
            "instances": loaded.kind.is_pooled.then(|| self.instances_json()),
            "restart": (on_exit || on_failure).then(restart),
            "health": health,
            "not_given": not_given(loaded, self.is_single),
            "warnings": warnings,
        })
    }

    fn text(&self) -> String {
        let Self { plan, loaded, .. } = self;
        let run = &loaded.run;
        let run = format!("{} {}", if run.is_async { "async" } else { "sync" }, loaded.kind.words.export);
        let mut lines = vec![("kind", format!("{}, WASI {}, {run}", loaded.kind.name, loaded.run.version))];
        lines.extend(loaded.adapted.map(|adapted| ("adapted", adapted.to_string())));
        lines.push(("hook", loaded.hook.as_ref().map_or("none".to_owned(), ToString::to_string)));
        lines.push(("delivery", (loaded.kind.delivery)(hearing(loaded)).to_owned()));
        lines.extend((!plan.after.is_empty()).then(|| ("after", plan.after.join(", "))));
        lines.extend(self.is_waited_for.then(|| ("ready", self.ready_text())));
        lines.extend(loaded.kind.is_pooled.then(|| ("instances", self.instances_text())));
        lines.extend(self.restart_text().map(|text| ("restart", text)));
        lines.extend(self.health_text().map(|text| ("health", text)));
        lines.extend(self.not_given().map(|line| ("not given", line)));
        lines.extend(self.warnings.iter().map(|line| ("warning", line.clone())));
        let lines: String = lines.iter().map(|(label, line)| format!("  {label:<9} {line}\n")).collect();
        format!("{}: {}\n{lines}", plan.name, plan.source.display())
    }

    /// Returns the interfaces that it would get for a key, or for a flag if it is a single file, on one line.
    fn not_given(&self) -> Option<String> {
        let mut remedies: Vec<(&str, Vec<&str>)> = Vec::new();
        for import in &self.loaded.imports {
            let ImportState::NotGranted(key) = import.state else { continue };
            let remedy = if self.is_single { flag(key) } else { key };
            let interface = import.name.split('@').next().unwrap_or_default();
            match remedies.iter_mut().find(|(known, _)| *known == remedy) {
                Some((_, interfaces)) => interfaces.push(interface),
                None => remedies.push((remedy, vec![interface])),
            }
        }
        let each =
            |(remedy, interfaces): &(&str, Vec<&str>)| format!("{} (`{remedy}`)", interfaces.join(", "));
        (!remedies.is_empty()).then(|| remedies.iter().map(each).collect::<Vec<_>>().join("; "))
    }

    fn restarts(&self) -> (bool, bool) {
        let on_failure = self.plan.resolve(&self.loaded.defaults).on_failure;
        (self.plan.on_exit == OnEnd::Restart, on_failure == OnEnd::Restart)
    }

    fn instances_json(&self) -> Value {
        let Resolved { max_instances: max, concurrency, requests, .. } =
            self.plan.resolve(&self.loaded.defaults);
        json!({ "max": max, "concurrency": concurrency, "requests": requests })
    }

    fn instances_text(&self) -> String {
        let (Self { plan, loaded, .. }, work) = (self, self.loaded.kind.words.in_flight);
        let Resolved { max_instances: max, concurrency, requests, .. } = plan.resolve(&loaded.defaults);
        if loaded.is_fresh(plan) {
            let why = match plan.http.instances.requests {
                Some(_) => "",
                None => ", since it cannot hear of a stop (`instances.requests = 0` keeps each)",
            };
            return format!("a fresh one for each of its {work}, at most {max} at a time{why}");
        }
        match requests {
            0 => format!("at most {max}, with {concurrency} {work} each at a time"),
            _ => {
                format!("at most {max}, with {concurrency} {work} each at a time, replaced after {requests}")
            }
        }
    }

    fn ready_text(&self) -> String {
        let when = match self.plan.resolve(&self.loaded.defaults).ready {
            ReadyWhen::Said => "when it says so",
            ReadyWhen::Started => self.loaded.kind.words.ready,
        };
        format!("{when}, within {}", format_duration(self.plan.start_timeout))
    }

    fn restart_text(&self) -> Option<String> {
        let when = match self.restarts() {
            (true, true) => "when it has ended or failed",
            (true, false) => "when it has ended",
            (false, true) => "when it has failed",
            (false, false) => return None,
        };
        let restart = &self.plan.restart;
        let within = format_duration(restart.within);
        let [first, longest] = restart.backoff.map(format_duration);
        let limit = match self.plan.resolve(&self.loaded.defaults).max_restarts {
            Some(max) => format!("at most {max} times within {within}"),
            None => "without a limit".to_owned(),
        };
        Some(format!("{when}, {limit}, after {first} to {longest}"))
    }

    fn health_text(&self) -> Option<String> {
        let health = self.plan.health.as_ref()?;
        let [every, timeout] = [health.every, health.timeout].map(format_duration);
        let probe = match &health.path {
            Some(path) => format!("GET {path} every {every}, answered within {timeout}"),
            None => format!("it calls `alive` at least every {every}"),
        };
        Some(match health.failures {
            1 => format!("{probe}; it has failed when it misses one"),
            many => format!("{probe}; it has failed when it misses {many} in a row"),
        })
    }
}

fn hearing(loaded: &Loaded) -> Hearing {
    let is_host = |name: &str| name.starts_with("curfew:lifecycle/host");
    Hearing {
        hook: loaded.hook.as_ref().map(|_| loaded.timing),
        is_async: loaded.run.is_async,
        imports_host: loaded.imports.iter().any(|import| is_host(&import.name)),
    }
}

/// Returns the flag that grants to a single file what a key of the manifest grants.
fn flag(key: &'static str) -> &'static str {
    match key {
        "dirs" => "--dir",
        "outbound-http" => "--allow-outbound-http",
        "network" | "network.names" => "--allow-net",
        // There is none.
        key => key,
    }
}

fn not_given(loaded: &Loaded, is_single: bool) -> Vec<String> {
    let line = |name: &str, state: &ImportState| match state {
        ImportState::Given => None,
        ImportState::NotGranted(key) => Some(match flag(key) {
            flag if is_single && flag != *key => format!("{name} (flag `{flag}`)"),
            _ => format!("{name} (key `{key}`)"),
        }),
        ImportState::Unknown => Some(format!("{name} (unknown)")),
    };
    loaded.imports.iter().filter_map(|import| line(&import.name, &import.state)).collect()
}

fn warnings(plan: &ComponentPlan, loaded: &Loaded) -> Vec<String> {
    let stray = |stray: &StrayHook| match stray {
        StrayHook::InInterface(interface) => format!(
            "its `shutdown` in `{interface}` is never called: a hook is at world level (`export shutdown: func();`), or \
             in `curfew:lifecycle/hook`"
        ),
        StrayHook::Named(name) => format!(
            "it exports `{name}`, which nobody calls: if it is the hook, its name has to be `shutdown`"
        ),
    };
    let unused = |run: &String| format!("its `{run}` is never called: the host calls its handler");
    let is_async = loaded.run.is_async;
    let is_untold = !loaded.kind.is_pooled && !is_async && !hearing(loaded).imports_host;
    let of_hook = |hook: &HookShape| {
        [
            (
                is_async && !hook.is_async,
                "its hook is a sync function in an async component: waiting in it traps; make it `async`",
            ),
            (
                is_untold,
                "its sync `run` is not told of a stop (it imports no `curfew:lifecycle/host`): unless it ends by \
                 itself, it is cut off before its hook can be called",
            ),
            (
                !is_async && plan.hook == Some(HookTiming::AtStart),
                "hook = \"at-start\" has no effect: it is sync, and cannot be entered while it works",
            ),
        ]
    };
    let of_hook = loaded.hook.as_ref().map(of_hook).into_iter().flatten();
    let unusable =
        loaded.unusable(plan).into_iter().map(|(key, why)| format!("`{key}` has no effect: {why}"));
    let stray = loaded.stray_hooks.iter().map(stray).chain(loaded.run.unused.as_ref().map(unused));
    stray
        .chain(of_hook.filter(|(holds, _)| *holds).map(|(_, text)| text.to_owned()))
        .chain(unusable)
        .collect()
}

/// The waves of a start and of a stop. The times count from the cause of the stop, and bound whatever a component does.
struct Waves {
    start: Vec<Vec<String>>,
    stop: Vec<StopWave>,
}

struct StopWave {
    components: Vec<String>,
    /// The time that the wave has if the earlier waves use all of theirs.
    least: Duration,
    /// The latest moment of the cut-off.
    end_by: Duration,
}

impl StopWave {
    fn json(&self) -> Value {
        let Self { components, least, end_by } = self;
        json!({ "components": components, "least_ms": millis(*least), "end_by_ms": millis(*end_by) })
    }
}

impl Waves {
    fn new(plan: &Plan) -> Self {
        let name = |place: &usize| Some(plan.components.get(*place)?.name.clone());
        let names = |wave: &Vec<usize>| wave.iter().filter_map(name).collect::<Vec<_>>();
        let waves = plan.stop_waves();
        let wish = |wave: &Vec<usize>| {
            let graces = wave.iter().filter_map(|place| plan.components.get(*place));
            // A component without a grace of its own may use the grace of the app.
            graces.map(|component| component.grace).collect::<Option<Vec<_>>>()?.into_iter().max()
        };
        let wishes: Vec<Option<Duration>> = waves.iter().map(wish).collect();
        let ends =
            reserves(plan.app.grace, &wishes).into_iter().map(|left| plan.app.grace.saturating_sub(left));
        let mut before = Duration::ZERO;
        let stop_waves = waves.iter().zip(ends).map(|(wave, end)| {
            let least = end.saturating_sub(std::mem::replace(&mut before, end));
            StopWave { components: names(wave), least, end_by: plan.app.drain_delay.saturating_add(end) }
        });
        let stop = stop_waves.collect();
        Self { start: plan.start_waves().iter().map(names).collect(), stop }
    }

    /// Returns whether a component starts only after this one is ready.
    fn is_waited_for(plan: &Plan, name: &str) -> bool {
        plan.components.iter().any(|component| component.after.iter().any(|after| after == name))
    }

    /// Returns a warning if the component's grace is longer than the time it may get.
    fn warning(&self, name: &str, grace: Option<Duration>) -> Option<String> {
        let wave = self.stop.iter().find(|wave| wave.components.iter().any(|member| member == name))?;
        let grace = grace.filter(|grace| *grace > wave.least)?;
        let (grace, least) = (format_duration(grace), format_duration(wave.least));
        Some(if self.stop.len() == 1 {
            format!("its grace of {grace} is longer than the app's, which is {least}")
        } else {
            format!(
                "its grace of {grace} is longer than the slice of its wave: if the other waves use all of their time, it has \
                 {least}"
            )
        })
    }

    /// Returns the waves as text, which is empty for a single wave.
    fn text(&self) -> String {
        if self.start.len() < 2 {
            return String::new();
        }
        let mut text = "start, each wave when the one before it is ready:\n".to_owned();
        for (number, wave) in self.start.iter().enumerate() {
            text.push_str(&format!("  {}  {}\n", number + 1, wave.join(", ")));
        }
        text.push_str("stop, each wave when the one before it has ended, or its time is over:\n");
        for (number, wave) in self.stop.iter().enumerate() {
            let by = format_duration(wave.end_by);
            text.push_str(&format!("  {}  {}: by {by}\n", number + 1, wave.components.join(", ")));
        }
        text
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(app: &str, components: &[(&str, &str)]) -> (Plan, Waves) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wasm"), "").unwrap();
        let mut text = format!("[app]\n{app}\n");
        for (name, keys) in components {
            text.push_str(&format!("[component.{name}]\nsource = \"a.wasm\"\n{keys}\n"));
        }
        let plan = Plan::from_str(&text, &dir.path().join("curfew.toml"));
        let plan = plan.unwrap_or_else(|error| panic!("{error}"));
        let waves = Waves::new(&plan);
        (plan, waves)
    }

    const SHOP: &[(&str, &str)] = &[
        ("web", "after = [\"queue\"]\ngrace = \"20s\""),
        ("queue", "after = [\"db\"]\ngrace = \"3s\""),
        ("db", "grace = \"9s\""),
        ("log", ""),
    ];

    #[test]
    fn waves_with_their_ends() {
        let (plan, waves) = waves("grace = \"24s\"\ndrain-delay = \"1s\"", SHOP);
        assert_eq!(
            waves.text(),
            "start, each wave when the one before it is ready:\n  1  db, log\n  2  queue\n  3  web\n\
             stop, each wave when the one before it has ended, or its time is over:\n  1  web, log: by 14s\n  \
             2  queue: by 17s\n  3  db: by 25s\n"
        );
        let least: Vec<u64> = waves.stop.iter().map(|wave| millis(wave.least)).collect();
        assert_eq!(least, [13_000, 3000, 8000]);
        assert!(Waves::is_waited_for(&plan, "db") && !Waves::is_waited_for(&plan, "web"));
    }

    #[test]
    fn who_may_get_less_than_its_grace_is_told() {
        let (plan, shop) = waves("grace = \"24s\"", SHOP);
        let told: Vec<Option<String>> =
            plan.components.iter().map(|component| shop.warning(&component.name, component.grace)).collect();
        let text = |grace: &str, least: &str| {
            Some(format!(
                "its grace of {grace} is longer than the slice of its wave: if the other waves use all of their time, it has \
                 {least}"
            ))
        };
        assert_eq!(told, [text("20s", "13s"), None, text("9s", "8s"), None]);
        let (plan, one) = waves("grace = \"5s\"", &[("a", "grace = \"1m\""), ("b", "grace = \"5s\"")]);
        let told = |place: usize| one.warning(&plan.components[place].name, plan.components[place].grace);
        assert_eq!(told(0).as_deref(), Some("its grace of 1m is longer than the app's, which is 5s"));
        assert_eq!((told(1), one.text()), (None, String::new()));
    }
}
