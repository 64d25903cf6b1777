//! The figures that the host promises, measured on the real binary and compared with their bounds:
//! `cargo bench --bench curfew -- [PART OF A NAME] [--rounds N]`.
//!
//! Invariant: a figure that misses its bound is printed as `MISSED`, here and in the summary; it is no error,
//! because a machine with something else to do misses bounds too. What fails is a host that does not run.
#![expect(clippy::print_stdout, reason = "a bench is there to print")]
#![expect(clippy::disallowed_methods, reason = "a load has a pace, which is a sleep")]

mod capture;
mod cut_lag;
mod epoch_cost;
mod epoch_doc;
mod figure;
mod http;
mod idle;
mod lab;
mod lateness;
mod native;
mod process;
mod start_stop;

use anyhow::{Context, Result, bail};

use figure::Table;
use lab::{Lab, Used};

/// What is run: a name to pick it by, how many rounds unless another number is asked for, the bench.
type Bench = (&'static str, usize, fn(&Lab, usize, &mut Table) -> Result<()>);

const BENCHES: &[Bench] = &[
    ("start-stop-1", 15, |lab, rounds, table| start_stop::measure(lab, rounds, table, 1)),
    ("start-stop-100", 11, |lab, rounds, table| start_stop::measure(lab, rounds, table, 100)),
    ("start-stop-1000", 9, |lab, rounds, table| start_stop::measure(lab, rounds, table, 1000)),
    ("start-stop-files", 5, start_stop::measure_own_files),
    ("memory", 5, idle::memory),
    ("idle-cpu", 1, idle::cpu),
    ("cut-lag-idle", 200, |lab, rounds, table| cut_lag::measure(lab, rounds, table, 1)),
    ("cut-lag-four", 50, |lab, rounds, table| cut_lag::measure(lab, rounds, table, 4)),
    ("lateness", 5, lateness::measure),
    ("epoch-cost", 9, epoch_cost::measure),
    ("http-hello-03", 5, http::hello),
    ("http-hello-02", 5, http::hello_classic),
    ("http-fresh", 5, http::fresh),
    ("http-p99-03", 9, http::p99),
    ("http-p99-02", 9, http::p99_classic),
    ("http-stream", 5, http::stream),
    ("http-twenty", 5, http::twenty),
    ("http-connections", 3, http::connections),
    ("http-messages", 5, http::messages),
    ("reload-load", 13, http::reload_load),
    ("reload-one-of-100", 15, http::reload_one),
    ("status-load", 5, http::status_load),
    ("metrics-cost", 6, http::metrics_cost),
];

/// How many cores others may keep busy before it is said.
const QUIET: f64 = 0.1;

struct Args {
    filter: String,
    rounds: Option<usize>,
}

fn args() -> Result<Args> {
    let mut parsed = Args { filter: String::new(), rounds: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // Cargo says so to every bench.
            "--bench" => {}
            "--rounds" => {
                let text = args.next().context("--rounds needs a number")?;
                parsed.rounds = Some(text.parse().context("--rounds needs a number")?);
            }
            option if option.starts_with('-') => bail!("unknown option {option}"),
            _ => parsed.filter = arg,
        }
    }
    Ok(parsed)
}

fn main() -> Result<()> {
    if http::started_as_helper()? {
        return Ok(());
    }
    let args = args()?;
    let picked: Vec<_> = BENCHES.iter().filter(|(name, ..)| name.contains(&args.filter)).collect();
    if picked.is_empty() {
        let names: Vec<_> = BENCHES.iter().map(|(name, ..)| *name).collect();
        bail!("no bench is called so; there are: {}", names.join(", "));
    }
    process::raise_file_limit()?;
    println!("{}", lab::machine()?);
    let lab = Lab::new()?;
    let mut table = Table::default();
    for (name, rounds, bench) in picked {
        println!("\n{name}");
        let before = Used::now()?;
        bench(&lab, args.rounds.unwrap_or(*rounds).max(1), &mut table).with_context(|| (*name).to_owned())?;
        let others = before.others_since()?;
        if others > QUIET {
            table.note(format!("not a quiet machine: others kept {others:.1} cores busy meanwhile"));
        }
    }
    println!("\n{}", table.summary());
    Ok(())
}
