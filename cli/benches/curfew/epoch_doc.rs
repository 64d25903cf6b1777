//! The table of what epochs cost, as a line for the terminal and as a page in `docs/`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::epoch_cost::Cost;
use crate::lab;

const ABOVE: &str = "\
# What epoch interruption costs

curfew can cut off a component that computes and never waits. For this, wasmtime compiles a check of a counter (the
*epoch*) into the head of every loop and every function. This page shows the cost of these checks.

`CURFEW_WRITE_DOCS=1 cargo bench --bench curfew -- epoch-cost` writes this page. The guest is
`guest-components/bench-guest`, built as all guests here (`opt-level = \"s\"`). Runs without and with epochs took turns in the
same host, and each column shows the fastest run.
";

/// Returns one line for the terminal.
pub fn line(cost: &Cost) -> String {
    let (without, with) = (Cost::fastest(&cost.without), Cost::fastest(&cost.with));
    let (name, factor, rounds) = (cost.name, cost.factor(), cost.with.len());
    format!(
        "{name:<10} without {without:8.3} ms, with {with:8.3} ms: ratio {factor:.2}  (min of {rounds} rounds)"
    )
}

/// Writes the page and returns where it is.
pub fn write(costs: &[Cost]) -> Result<PathBuf> {
    let mut page = ABOVE.to_owned();
    writeln!(page, "\n{}; {} rounds.\n", lab::machine()?, costs.first().map_or(0, |cost| cost.with.len()))?;
    page.push_str(
        "| workload | what it does | without | with | cost |\n| --- | --- | ---: | ---: | ---: |\n",
    );
    for cost in costs {
        let (without, with) = (Cost::fastest(&cost.without), Cost::fastest(&cost.with));
        let (name, what) = (cost.name, cost.what);
        // Rounded, and never "-0".
        let percent = ((cost.factor() - 1.0) * 100.0).round() + 0.0;
        writeln!(page, "| {name} | {what} | {without:.3} ms | {with:.3} ms | {percent:+.0} % |")?;
    }
    page.push_str(include_str!("epoch_advice.md"));
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
    std::fs::create_dir_all(&docs)?;
    let path = docs.join("epoch-cost.md");
    std::fs::write(&path, page).with_context(|| path.display().to_string())?;
    Ok(path)
}
