//! `curfew check` and `curfew inspect`: load and validate, start nothing.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::description::{ComponentDescription, millis};
use super::run;
use crate::args::{CheckArgs, InspectArgs};
use crate::error::CliError;
use crate::kinds;
use crate::print::print;
use curfew_host::output::{Channel, Output};
use curfew_host::plan::{Bare, ComponentPlan, DEFAULT_MANIFEST, Plan};
use curfew_host::runtime::{LoadError, Loaded, Runtime, RuntimeOptions, check_sharing, load_one};
use curfew_host::supervisor::AppError;
use curfew_host::teardown::{ExitCode, HARD_RESERVE, reserves};
use curfew_host::text::units::format_duration;

/// Checks a manifest with all its components, and prints each error, not just the first.
pub(crate) fn check(output: &Output, args: &CheckArgs) -> Result<ExitCode, CliError> {
    let manifest = args.manifest.as_deref().unwrap_or(Path::new(DEFAULT_MANIFEST));
    if is_wasm(manifest) {
        return inspect(output, &InspectArgs { file: manifest.to_owned(), json: args.json });
    }
    let plan = Plan::from_manifest(manifest)?;
    let (mut components, errors) = load(&plan, |loaded, plan| loaded.check_plan(plan))?;
    let waves = Waves::new(&plan);
    for description in &mut components {
        description.is_waited_for = Waves::is_waited_for(&plan, &description.name);
        description.warnings.extend(waves.warning(&description.name, description.grace));
    }
    let worst = plan.app.drain_delay.saturating_add(plan.app.grace).max(plan.app.fail_grace);
    let hard = worst.saturating_add(HARD_RESERVE);
    if args.json {
        let value = json!({
            "app": plan.app.name,
            "components": components,
            "errors": errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "start_waves": waves.start_waves,
            "stop_waves": waves.stop_waves,
            "worst_stop_ms": millis(worst),
            "exit_by_ms": millis(hard),
        });
        print(output, Channel::Stdout, &format!("{value:#}\n"));
    } else {
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
        for error in &errors {
            print(output, Channel::Stderr, &format!("error: {error}\n"));
        }
    }
    Ok(errors.first().map_or(ExitCode::CLEAN, CliError::exit_code))
}

/// Returns whether the file is a component and no manifest.
fn is_wasm(path: &Path) -> bool {
    let mut start = [0; 4];
    // Opening a pipe can take for ever.
    path.is_file()
        && std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *b"\0asm"
}

pub(crate) fn inspect(output: &Output, args: &InspectArgs) -> Result<ExitCode, CliError> {
    let plan = Plan::from_files(std::slice::from_ref(&args.file), &Bare::default())?;
    let (components, errors) = load(&plan, |_, _| Ok(()))?;
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    for description in &components {
        let text = if args.json { format!("{:#}\n", json!(description)) } else { description.text() };
        print(output, Channel::Stdout, &text);
    }
    Ok(ExitCode::CLEAN)
}

type Check = fn(&Loaded, &ComponentPlan) -> Result<(), LoadError>;

/// Loads the components, and returns those that can run and the errors of the others.
fn load(plan: &Plan, check: Check) -> Result<(Vec<ComponentDescription>, Vec<CliError>), CliError> {
    let options =
        RuntimeOptions { cache: run::cache(None, false)?, interruptible: true, kinds: kinds::kinds() };
    let runtime = Runtime::new(options).map_err(AppError::Engine)?;
    let (mut descriptions, mut errors, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for component in &plan.components {
        let loaded = load_one(&runtime, component);
        match loaded.and_then(|loaded| check(&loaded, component).map(|()| loaded)) {
            Ok(loaded) => {
                descriptions.push(ComponentDescription::new(component, &loaded));
                all.push((component, loaded));
            }
            Err(error) => errors.push(AppError::Load(error).into()),
        }
    }
    let sharing = check_sharing(all.iter().map(|(plan, loaded)| (*plan, loaded)));
    errors.extend(sharing.err().map(|error| AppError::Load(error).into()));
    Ok((descriptions, errors))
}

/// The waves of an app's start and of its stop. The times are bounds that hold whatever a component does; they count
/// from the cause of the stop.
#[derive(Debug, Serialize)]
struct Waves {
    /// Components that start together.
    start_waves: Vec<Vec<String>>,
    /// Components that stop together.
    stop_waves: Vec<StopWave>,
}

#[derive(Debug, Serialize)]
struct StopWave {
    components: Vec<String>,
    /// The time that the wave has if the earlier waves use all of theirs.
    least_ms: u64,
    /// The latest moment of the cut-off.
    end_by_ms: u64,
    #[serde(skip)]
    least: Duration,
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
            let end_by_ms = millis(plan.app.drain_delay.saturating_add(end));
            StopWave { components: names(wave), least_ms: millis(least), end_by_ms, least }
        });
        let stop_waves = stop_waves.collect();
        Self { start_waves: plan.start_waves().iter().map(names).collect(), stop_waves }
    }

    /// Returns whether a component starts only after this one is ready.
    fn is_waited_for(plan: &Plan, name: &str) -> bool {
        plan.components.iter().any(|component| component.after.iter().any(|after| after == name))
    }

    /// Returns a warning if the component's grace is longer than the time it may get.
    fn warning(&self, name: &str, grace: Option<Duration>) -> Option<String> {
        let wave = self.stop_waves.iter().find(|wave| wave.components.iter().any(|member| member == name))?;
        let grace = grace.filter(|grace| *grace > wave.least)?;
        let (grace, least) = (format_duration(grace), format_duration(wave.least));
        Some(if self.stop_waves.len() == 1 {
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
        if self.start_waves.len() < 2 {
            return String::new();
        }
        let mut text = "start, each wave when the one before it is ready:\n".to_owned();
        for (number, wave) in self.start_waves.iter().enumerate() {
            text.push_str(&format!("  {}  {}\n", number + 1, wave.join(", ")));
        }
        text.push_str("stop, each wave when the one before it has ended, or its time is over:\n");
        for (number, wave) in self.stop_waves.iter().enumerate() {
            let by = format_duration(Duration::from_millis(wave.end_by_ms));
            text.push_str(&format!("  {}  {}: by {by}\n", number + 1, wave.components.join(", ")));
        }
        text
    }
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
        let least: Vec<u64> = waves.stop_waves.iter().map(|wave| wave.least_ms).collect();
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
