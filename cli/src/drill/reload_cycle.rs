//! The try that stops nothing: reloads without a change, and fresh generations of each component, after which no more
//! descriptors and threads are there than before.
//!
//! Invariant: what is compared was taken in the same state: newest generations only, idle, just started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::DrillError;
use super::finding::Finding;
use super::perform::{Scene, Stage};
use super::tally::Turns;

/// How long what was taken may take to be given back.
const SETTLING: Duration = Duration::from_secs(10);
/// What does not change in so many looks has settled.
const SAME_LOOKS: u32 = 40;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Only what grows in each of so many rounds has been left behind.
const ROUNDS: u32 = 4;
/// What caches that a load brought about may keep, and instances, of which each client can bring one about.
const GROWTH: usize = 32;
const GROWTH_FOR_EACH: usize = 4;
/// So many answers of each client tell a component that keeps something of each request from one that does not.
const MANY_ANSWERS: usize = 16;
/// How long they are waited for.
const SERVING: Duration = Duration::from_secs(2);
/// What carrying out an order may take besides the app's own times.
const ORDER: Duration = Duration::from_secs(10);

/// What a process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    descriptors: usize,
    threads: usize,
}

/// Carries it out.
///
/// # Errors
/// When the drill is to end.
pub fn reload(stage: &Stage, scene: &mut Scene, loaded: bool) -> Result<(), DrillError> {
    restart_all(stage, scene)?;
    if loaded {
        under_load(stage, scene)?;
    } else {
        reload_nothing(stage, scene)?;
    }
    restart_all(stage, scene)?;
    // What a load needs is made when it is needed for the first time, and stays: only idle rounds can be compared.
    let mut before = settled(stage, scene, Taken::default(), SAME_LOOKS)?;
    for round in 1..=ROUNDS {
        reload_nothing(stage, scene)?;
        restart_all(stage, scene)?;
        let patience = if round == ROUNDS { u32::MAX } else { SAME_LOOKS };
        let after = settled(stage, scene, before, patience)?;
        if after.descriptors <= before.descriptors && after.threads <= before.threads {
            break;
        }
        if round == ROUNDS {
            stayed_behind(scene, before, after);
        }
        before = after;
    }
    Ok(())
}

/// The reload and the restarts under load, and whether the load itself has left too much behind.
fn under_load(stage: &Stage, scene: &mut Scene) -> Result<(), DrillError> {
    let before = settled(stage, scene, Taken::default(), SAME_LOOKS)?;
    stage.load(scene)?;
    reload_nothing(stage, scene)?;
    restart_all(stage, scene)?;
    serve(stage, scene)?;
    let clients = stage.subject().clients * scene.aims.len();
    if let Some(load) = scene.load.take() {
        scene.loads = load.counts(Turns::Never);
    }
    let most = before.descriptors + GROWTH + GROWTH_FOR_EACH * clients;
    let after = settled(stage, scene, Taken { descriptors: most, threads: usize::MAX }, SAME_LOOKS)?;
    grown(scene, before, after, most);
    Ok(())
}

/// Lets the load go on with the newest generations for a while.
fn serve(stage: &Stage, scene: &Scene) -> Result<(), DrillError> {
    let Some(load) = &scene.load else { return Ok(()) };
    let before = load.answers();
    let many = MANY_ANSWERS * stage.subject().clients * scene.aims.len();
    let until = Instant::now() + SERVING;
    scene.child.wait(until, |all| (all.exit.is_some() || load.answers() >= before + many).then_some(()))?;
    Ok(())
}

fn reload_nothing(stage: &Stage, scene: &mut Scene) -> Result<(), DrillError> {
    if stage.subject().plan.manifest.is_none() {
        let text = "a reload was not tried: there is no manifest to read again";
        scene.find(Finding::note("no-manifest", text));
        return Ok(());
    }
    if scene.child.has_ended() {
        return Ok(());
    }
    let Some(before) = generations(stage, scene)? else { return Ok(()) };
    if let Err(told) = stage.order("/reload", ORDER + stage.patience())? {
        scene.find(Finding::failure("reload-failed", format!("a reload failed: {told}")));
        return Ok(());
    }
    let Some(after) = generations(stage, scene)? else { return Ok(()) };
    for (name, generation) in &after {
        if before.get(name).is_some_and(|before| before != generation) {
            let text = "a reload replaced it although nothing had changed";
            let advice = "its file, or a file that its manifest names, changes while it runs";
            scene.find(Finding::failure("reload-changed", text).of(name).advise(advice));
        }
    }
    Ok(())
}

/// Replaces each component by a fresh generation, as a new build of it would be.
fn restart_all(stage: &Stage, scene: &mut Scene) -> Result<(), DrillError> {
    let plan = &stage.subject().plan;
    for name in plan.components.iter().map(|component| &component.name) {
        if scene.child.has_ended() {
            return Ok(());
        }
        if let Err(told) = stage.order(&format!("/restart?component={name}"), ORDER + stage.patience())? {
            scene.find(Finding::failure("restart-failed", format!("a restart failed: {told}")).of(name));
        }
    }
    Ok(())
}

/// Returns the newest generation of each component; `None` if the app does not tell.
fn generations(stage: &Stage, scene: &mut Scene) -> Result<Option<BTreeMap<String, u64>>, DrillError> {
    let status = match stage.status()? {
        Ok(status) => status,
        Err(told) => {
            stage.no_status(scene, &told)?;
            return Ok(None);
        }
    };
    let mut newest = BTreeMap::new();
    for component in status.components {
        let known = newest.entry(component.name).or_insert(component.generation);
        *known = component.generation.max(*known);
    }
    Ok(Some(newest))
}

/// Waits until only the newest generations are there, and until no more is taken than `most`, or until that has not
/// changed in so many looks. Returns what is taken then.
fn settled(stage: &Stage, scene: &mut Scene, most: Taken, looks: u32) -> Result<Taken, DrillError> {
    let end = Instant::now() + SETTLING + stage.patience();
    // Older generations end within their grace; descriptors and threads are gone soon after that.
    while Instant::now() < end && !scene.child.has_ended() {
        match stage.status()? {
            Ok(status) if status.components.len() <= stage.subject().plan.components.len() => break,
            Ok(_older_ones_too) => {}
            Err(told) => {
                stage.no_status(scene, &told)?;
                break;
            }
        }
        scene.child.pause(LOOK)?;
    }
    let (mut last, mut same) = (taken(scene), 0);
    let end = Instant::now() + SETTLING;
    while Instant::now() < end && !scene.child.has_ended() {
        let enough = most.descriptors >= last.descriptors && most.threads >= last.threads;
        if enough || same >= looks {
            break;
        }
        scene.child.pause(LOOK)?;
        let now = taken(scene);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

fn taken(scene: &Scene) -> Taken {
    let entries = |what: &str| {
        let folder: PathBuf = format!("/proc/{}/{what}", scene.child.pid()).into();
        std::fs::read_dir(folder).map(Iterator::count).unwrap_or_default()
    };
    Taken { descriptors: entries("fd"), threads: entries("task") }
}

fn grown(scene: &mut Scene, before: Taken, after: Taken, most: usize) {
    if after.descriptors > most {
        let text = format!(
            "{} descriptors were open before the load, {} after it, with nobody connected any more",
            before.descriptors, after.descriptors
        );
        let advice = "a component opens files or connections for a request and does not close them";
        scene.found.push(Finding::failure("descriptors-grow", text).advise(advice));
    }
}

fn stayed_behind(scene: &mut Scene, before: Taken, after: Taken) {
    if scene.child.has_ended() {
        return;
    }
    for (code, what, before, after) in [
        ("descriptors-left", "descriptors", before.descriptors, after.descriptors),
        ("threads-left", "threads", before.threads, after.threads),
    ] {
        if after > before {
            let text = format!(
                "{what} stayed behind: {before} before a reload and a restart of each component, {after} after them"
            );
            let advice = "that is curfew's fault, not the app's: please report it";
            scene.found.push(Finding::failure(code, text).advise(advice));
        }
    }
}
