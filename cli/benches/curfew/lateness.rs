//! How late a light component wakes that sleeps a millisecond at a time, alone and next to four that spin.

use std::path::Path;

use anyhow::{Context, Result};

use crate::figure::{Figure, Promised, Table};
use crate::lab::Lab;
use crate::native;
use crate::process::Host;

/// How often the light component sleeps in a round.
const BEATS: usize = 1000;
/// How many components spin.
const SPINNING: usize = 4;

/// Measures the worst and the mean lateness. The worst is promised: over all rounds.
pub fn measure(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let alone = lab.manifest("beat-alone", &manifest(0))?;
    let crowded = lab.manifest("beat-crowded", &manifest(SPINNING))?;
    let (mut worst, mut mean) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut peers = Vec::new();
    for round in 0..=rounds {
        peers.extend(native::lateness(BEATS, SPINNING).into_iter().skip(if round == 0 { BEATS } else { 0 }));
        for (manifest, (worst, mean)) in [&alone, &crowded].into_iter().zip(worst.iter_mut().zip(&mut mean)) {
            let (worst_of_round, mean_of_round) = run(lab, manifest)?;
            if round > 0 {
                worst.push(worst_of_round);
                mean.push(mean_of_round);
            }
        }
    }
    let names = ["alone", "next to four that spin"];
    let bounds = [None, Some(10.0)];
    for ((worst, mean), (name, bound)) in worst.into_iter().zip(mean).zip(names.into_iter().zip(bounds)) {
        let mut figure = Figure::millis(format!("worst lateness {name}"), worst, bound);
        figure.promised = Promised::Worst;
        table.add(figure);
        table.add(Figure::millis(format!("mean lateness {name}"), mean, None));
    }
    let mut peer = Figure::millis(format!("  peer: a native thread next to {SPINNING} native"), peers, None);
    peer.promised = Promised::Worst;
    table.add(peer);
    Ok(())
}

/// When the light one ends the app stops, and those that spin have no grace.
fn manifest(spinning: usize) -> String {
    let mut text = format!(
        "[app]\nname = \"bench\"\ngrace = \"10ms\"\n[component.light]\nsource = {:?}\nargs = [\"{BEATS}\", \"1\"]\n",
        artifacts::BEAT
    );
    for number in 1..=spinning {
        let source = artifacts::HOSTILE_ASYNC;
        text.push_str(&format!("[component.s{number}]\nsource = {source:?}\nargs = [\"run=spin\"]\n"));
    }
    text
}

fn run(lab: &Lab, manifest: &Path) -> Result<(f64, f64)> {
    let ended = Host::spawn(lab, manifest, true)?.wait()?;
    let read = |what: &str| -> Result<f64> {
        let line = ended.stdout.lines().find_map(|line| line.split_once(what)).map(|(_, number)| number);
        let micros = line.and_then(|line| line.trim().strip_suffix(" us"));
        let micros = micros.with_context(|| format!("no {what:?} in {:?}\n{}", ended.stdout, ended.log))?;
        Ok(micros.parse::<f64>()? / 1e3)
    };
    Ok((read("worst lateness ")?, read("mean lateness ")?))
}
