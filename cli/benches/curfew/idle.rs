//! What components cost that do nothing: memory and CPU.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::figure::{Figure, Promised, Table};
use crate::lab::{Lab, Sources};
use crate::process::Host;

/// How long the host settles before it is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// How long its CPU time is watched.
const WATCH: Duration = Duration::from_secs(10);

/// Measures what each further idle instance adds to the resident memory.
pub fn memory(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    // What is promised is a further instance of a service; its code is shared.
    for (name, sources, bound) in
        [("same file", Sources::Shared, Some(0.5)), ("own files", Sources::Own, None)]
    {
        let mut samples = Vec::new();
        for round in 0..=rounds {
            let few = resident(lab, 100, sources)?;
            let many = resident(lab, 200, sources)?;
            if round > 0 {
                samples.push((many - few) / 100.0);
            }
        }
        table.add(Figure {
            name: format!("memory of each further instance, {name}"),
            unit: "MiB",
            samples,
            promised: Promised::Median,
            bound,
        });
    }
    Ok(())
}

fn resident(lab: &Lab, count: usize, sources: Sources) -> Result<f64> {
    let host = Host::spawn(lab, &lab.services(count, sources)?, false)?;
    host.started()?;
    host.rest(SETTLE / 4)?;
    let resident = host.memory("VmRSS")?;
    host.stop()?;
    Ok(resident)
}

/// Measures the CPU time of a hundred idle components.
pub fn cpu(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let mut samples = Vec::new();
    let host = Host::spawn(lab, &lab.services(100, Sources::Shared)?, false)?;
    host.started()?;
    host.rest(SETTLE)?;
    for _ in 0..rounds {
        let (start, before) = (Instant::now(), host.cpu_time()?);
        ensure!(!before.is_zero(), "this system does not count the CPU time of threads (schedstat)");
        host.rest(WATCH)?;
        let used = host.cpu_time()?.saturating_sub(before);
        samples.push(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64());
    }
    host.stop()?;
    table.add(Figure {
        name: "idle CPU of 100 services".to_owned(),
        unit: "% of a core",
        samples,
        promised: Promised::Median,
        bound: Some(0.1),
    });
    Ok(())
}
