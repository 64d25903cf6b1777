//! Servers that take turns: each round loads all of them, one after the other, so that what slows the machine
//! down for a while slows all of them down.
//!
//! Invariant: ratios are taken within a round, and the median of these is what a bound is about.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::server::Server;
use super::wrk;
use crate::figure::{Figure, Promised, Table};

/// How long each server is warmed up.
const WARM_UP: Duration = Duration::from_secs(1);

/// A server, and what its turns showed.
pub struct Contender<'a> {
    name: String,
    server: &'a Server,
    script: Option<&'a Path>,
    rates: Vec<f64>,
    costs: Vec<f64>,
}

impl<'a> Contender<'a> {
    /// A server under the usual load.
    pub fn new(name: &str, server: &'a Server) -> Self {
        Self { name: name.to_owned(), server, script: None, rates: Vec::new(), costs: Vec::new() }
    }

    /// Loaded as a script of wrk says.
    pub fn script(self, script: &'a Path) -> Self {
        Self { script: Some(script), ..self }
    }

    /// Its median rate, in requests a second.
    pub fn rate(&self) -> f64 {
        1e3 * figure(&self.name, "", &self.rates).promised()
    }
}

/// Loads them in turn, in so many rounds, and prints what each of them reached.
pub fn take(
    contenders: &mut [Contender<'_>],
    rounds: usize,
    turn: Duration,
    table: &mut Table,
) -> Result<()> {
    for contender in contenders.iter() {
        wrk::load(contender.server, WARM_UP, contender.script).with_context(|| contender.name.clone())?;
    }
    for _ in 0..rounds {
        for contender in contenders.iter_mut() {
            let load = wrk::load(contender.server, turn, contender.script);
            let load = load.with_context(|| contender.name.clone())?;
            contender.rates.push(load.rate);
            contender.costs.push(load.cost);
        }
    }
    for contender in contenders.iter() {
        table.add(figure(&contender.name, "thousand requests/s", &contender.rates));
        table.add(figure(&format!("{}: CPU a request", contender.name), "us", &contender.costs));
    }
    Ok(())
}

/// Says how many times the rate of another a server reached, which should be a lot.
pub fn compare(
    what: &str,
    one: &Contender<'_>,
    other: &Contender<'_>,
    bound: impl Into<Option<f64>>,
) -> Figure {
    let name = format!("{what}: {} / {}", one.name, other.name);
    ratio(name, &one.rates, &other.rates, bound.into())
}

/// The ratio of two figures of the same rounds, which should be large.
pub fn ratio(name: String, one: &[f64], other: &[f64], bound: Option<f64>) -> Figure {
    let samples = one.iter().zip(other).map(|(one, other)| one / other).collect();
    Figure { name, unit: "x", samples, promised: Promised::AtLeast, bound }
}

fn figure(name: &str, unit: &'static str, samples: &[f64]) -> Figure {
    Figure { name: name.to_owned(), unit, samples: samples.to_vec(), promised: Promised::Median, bound: None }
}
