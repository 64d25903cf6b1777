//! What epoch interruption costs guests that compute: the same guest with it, which is how curfew runs it, and
//! without, in turns.
//!
//! In this process, through the library: the binary has no way to run a guest that it could not stop.

use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use curfew_host::output::Output;
use curfew_host::plan::Plan;
use curfew_host::runtime::Cache;
use curfew_host::supervisor::{App, Options};

use crate::epoch_doc;
use crate::figure::Table;
use crate::lab::Lab;

/// The workloads, and what each of them does.
const WORKLOADS: &[(&str, &str)] = &[
    ("tight", "a multiplication a turn, nothing else"),
    ("strings", "formats strings, counts them in a `BTreeMap`"),
    ("sort", "sorts 100,000 numbers"),
    ("sieve", "sieves a million numbers, a byte each"),
    ("fib", "recursion, two calls a level"),
    ("matmul", "multiplies matrices of `f64`"),
];
/// How long one run of a workload takes, about, without epochs.
const TARGET_NANOS: f64 = 1e8;

/// What one workload costs, in milliseconds for one turn of it.
pub struct Cost {
    pub name: &'static str,
    pub what: &'static str,
    pub without: Vec<f64>,
    pub with: Vec<f64>,
}

impl Cost {
    /// The fastest run: whatever disturbs one makes it slower.
    pub fn fastest(samples: &[f64]) -> f64 {
        samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// How many times longer it takes with epochs.
    pub fn factor(&self) -> f64 {
        Self::fastest(&self.with) / Self::fastest(&self.without)
    }
}

/// Measures all workloads, and writes the table in `docs/` when `CURFEW_WRITE_DOCS` is 1.
/// `CURFEW_BENCH_GUEST` names another build of `bench-guest` to measure.
pub fn measure(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let guest = std::env::var("CURFEW_BENCH_GUEST").unwrap_or_else(|_| artifacts::BENCH_GUEST.to_owned());
    let mut costs = Vec::new();
    for (name, what) in WORKLOADS {
        let once = run(lab, &guest, name, 1, false)?;
        let turns = (TARGET_NANOS / once.max(1.0)).ceil().clamp(1.0, 1e6) as u32;
        let mut cost = Cost { name, what, without: Vec::new(), with: Vec::new() };
        for round in 0..rounds {
            for second in [false, true] {
                // Neither is always the first.
                let interruptible = second ^ (round % 2 == 1);
                let millis = run(lab, &guest, name, turns, interruptible)? / 1e6 / f64::from(turns);
                if interruptible { cost.with.push(millis) } else { cost.without.push(millis) }
            }
        }
        table.note(epoch_doc::line(&cost));
        costs.push(cost);
    }
    let ours = std::env::var_os("CURFEW_BENCH_GUEST").is_none();
    if ours && std::env::var_os("CURFEW_WRITE_DOCS").is_some_and(|value| value == "1") {
        table.note(format!("written: {}", epoch_doc::write(&costs)?.display()));
    }
    Ok(())
}

/// Runs one workload and returns its own measure of the time, in nanoseconds.
fn run(lab: &Lab, guest: &str, workload: &str, turns: u32, interruptible: bool) -> Result<f64> {
    let manifest = format!(
        "[app]\nname = \"bench\"\n[component.guest]\nsource = {guest:?}\nargs = [{workload:?}, \"{turns}\"]\n"
    );
    let plan = Plan::from_manifest(&lab.manifest("epoch-cost", &manifest)?)?;
    let cache = Cache::open(&lab.cache()).map_err(anyhow::Error::msg)?;
    let (reader, writer) = std::io::pipe()?;
    let nowhere = File::options().write(true).open("/dev/null")?;
    let output = Output::over(writer.into(), nowhere.into(), Box::new(|_| {}))?;
    let mut options = Options::new(output, Some(cache));
    options.interruptible = interruptible;
    let report = App::start(plan, options)?.wait()?;
    ensure!(report.exit_code == 0, "{report:?}");
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line)?;
    let nanos = line.trim().strip_suffix(" ns").and_then(|line| line.rsplit(' ').next());
    Ok(nanos.with_context(|| format!("no time in {line:?}"))?.parse()?)
}
