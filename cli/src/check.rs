//! `curfew check` and `curfew inspect`: loads and validates, starts nothing.

use std::io::Read;
use std::path::Path;

use serde_json::json;

use super::args::{CheckArgs, InspectArgs};
use super::describe::Description;
use super::error::CliError;
use super::print::print;
use super::run;
use super::supervision::millis;
use super::waves::Waves;
use curfew_host::output::{Channel, Output};
use curfew_host::plan::{Bare, ComponentPlan, DEFAULT_MANIFEST, Plan};
use curfew_host::runtime::{LoadError, Loaded, Runtime, RuntimeOptions, check_sharing, load_one};
use curfew_host::supervisor::AppError;
use curfew_host::teardown::{ExitCode, HARD_RESERVE};
use curfew_host::text::units::format_duration;

/// Checks a manifest with all its components. All that is wrong is said, not just the first.
///
/// # Errors
/// When the manifest is wrong.
pub fn check(output: &Output, args: &CheckArgs) -> Result<ExitCode, CliError> {
    let manifest = args.manifest.as_deref().unwrap_or(Path::new(DEFAULT_MANIFEST));
    if is_wasm(manifest) {
        return inspect(output, &InspectArgs { file: manifest.to_owned(), json: args.json });
    }
    let plan = Plan::from_manifest(manifest)?;
    let (mut good, bad) = load(&plan, |loaded, plan| loaded.check_plan(plan))?;
    let waves = Waves::new(&plan);
    for description in &mut good {
        description.is_waited_for = Waves::is_waited_for(&plan, &description.name);
        description.warnings.extend(waves.warning(&description.name, description.grace));
    }
    let worst = plan.app.drain_delay.saturating_add(plan.app.grace).max(plan.app.fail_grace);
    let hard = worst.saturating_add(HARD_RESERVE);
    if args.json {
        let value = json!({
            "app": plan.app.name,
            "components": good,
            "errors": bad.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "start_waves": waves.start_waves,
            "stop_waves": waves.stop_waves,
            "worst_stop_ms": millis(worst),
            "exit_by_ms": millis(hard),
        });
        print(output, Channel::Stdout, &format!("{value:#}\n"));
    } else {
        for description in &good {
            print(output, Channel::Stdout, &description.text());
        }
        print(output, Channel::Stdout, &waves.text());
        let text = format!(
            "app {}: {} of {} components can run; the longest stop takes {}, the process is gone by {} (QUIT: \
             4 times the grace)\n",
            plan.app.name,
            good.len(),
            plan.components.len(),
            format_duration(worst),
            format_duration(hard),
        );
        print(output, Channel::Stdout, &text);
        for error in &bad {
            print(output, Channel::Stderr, &format!("error: {error}\n"));
        }
    }
    Ok(bad.into_iter().next().map_or(ExitCode::CLEAN, |error| CliError::from(error).exit_code()))
}

/// Whether somebody named a component where a manifest is meant.
fn is_wasm(path: &Path) -> bool {
    let mut start = [0; 4];
    // Opening what is no file can take for ever.
    path.is_file()
        && std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *b"\0asm"
}

/// Says what one component is.
///
/// # Errors
/// When it cannot run.
pub fn inspect(output: &Output, args: &InspectArgs) -> Result<ExitCode, CliError> {
    let plan = Plan::from_files(std::slice::from_ref(&args.file), &Bare::default())?;
    let (good, mut bad) = load(&plan, |_, _| Ok(()))?;
    if !bad.is_empty() {
        return Err(bad.remove(0).into());
    }
    for description in &good {
        let text = if args.json { format!("{:#}\n", json!(description)) } else { description.text() };
        print(output, Channel::Stdout, &text);
    }
    Ok(ExitCode::CLEAN)
}

type Check = fn(&Loaded, &ComponentPlan) -> Result<(), LoadError>;

fn load(plan: &Plan, check: Check) -> Result<(Vec<Description>, Vec<AppError>), CliError> {
    let options = RuntimeOptions { cache: run::cache(None, false)?, interruptible: true };
    let runtime = Runtime::new(options).map_err(AppError::Engine)?;
    let (mut good, mut bad, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for component in &plan.components {
        let loaded = load_one(&runtime, component);
        match loaded.and_then(|loaded| check(&loaded, component).map(|()| loaded)) {
            Ok(loaded) => {
                good.push(Description::new(component, &loaded));
                all.push((component, loaded));
            }
            Err(error) => bad.push(AppError::Load(error)),
        }
    }
    let sharing = check_sharing(all.iter().map(|(plan, loaded)| (*plan, loaded)));
    bad.extend(sharing.err().map(AppError::Load));
    Ok((good, bad))
}
