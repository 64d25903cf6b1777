//! From the spawn of the process to "app started" with a warm cache, and from TERM to the exit.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::figure::{Figure, Table, in_millis};
use crate::lab::{Lab, Sources};
use crate::process::Host;

/// How long the host idles between its start and its stop.
const IDLE: Duration = Duration::from_millis(500);

/// Measures an app of so many components made from one file.
pub fn measure(lab: &Lab, rounds: usize, table: &mut Table, count: usize) -> Result<()> {
    let (start, stop) = match count {
        1 => (Some(15.0), Some(20.0)),
        100 => (Some(80.0), None),
        _ => (Some(500.0), Some(250.0)),
    };
    let (starts, stops) = run(lab, &lab.services(count, Sources::Shared)?, rounds)?;
    let of = if count == 1 { "1 service".to_owned() } else { format!("{count} services") };
    table.add(Figure::millis(format!("warm start of {of}"), starts, start));
    table.add(Figure::millis(format!("stop of {of}, TERM to exit"), stops, stop));
    Ok(())
}

/// The same for a thousand components that each have a file of their own, so that no code is shared.
pub fn measure_own_files(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let (starts, stops) = run(lab, &lab.services(1000, Sources::Own)?, rounds)?;
    table.add(Figure::millis("warm start of 1000 services, own files", starts, None));
    table.add(Figure::millis("stop of 1000 services, own files", stops, None));
    Ok(())
}

fn run(lab: &Lab, manifest: &Path, rounds: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    // The first one fills the cache, and does not count.
    for round in 0..=rounds {
        let host = Host::spawn(lab, manifest, false)?;
        let start = host.started()?;
        host.rest(IDLE)?;
        let (stop, ended) = host.stop()?;
        ensure!(ended.status.success(), "the host left with {}; it said:\n{}", ended.status, ended.log);
        if round > 0 {
            starts.push(in_millis(start));
            stops.push(in_millis(stop));
        }
    }
    Ok((starts, stops))
}
