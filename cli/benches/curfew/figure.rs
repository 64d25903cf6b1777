//! One measured figure: its samples, which of their statistics is promised, and the bound. Measures nothing.

use std::fmt;
use std::time::Duration;

/// Which number of a figure its bound is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promised {
    /// The middle one.
    Median,
    /// The one that only one in a hundred exceeds.
    P99,
    /// The largest.
    Worst,
    /// The middle one, and its bound is a lower one.
    AtLeast,
}

/// A figure and what is promised of it.
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub samples: Vec<f64>,
    pub promised: Promised,
    pub bound: Option<f64>,
}

impl Figure {
    /// A figure in milliseconds whose median is bounded.
    pub fn millis(name: impl Into<String>, samples: Vec<f64>, bound: impl Into<Option<f64>>) -> Self {
        Self { name: name.into(), unit: "ms", samples, promised: Promised::Median, bound: bound.into() }
    }

    /// Returns the smallest sample that `share` of all do not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = sorted.iter().enumerate().position(|(at, _)| (at + 1) as f64 >= share * sorted.len() as f64);
        sorted.get(at.unwrap_or(last)).copied().unwrap_or(f64::NAN)
    }

    /// Returns the number that the bound is about.
    pub fn promised(&self) -> f64 {
        self.quantile(match self.promised {
            Promised::Median | Promised::AtLeast => 0.5,
            Promised::P99 => 0.99,
            Promised::Worst => 1.0,
        })
    }

    fn missed(&self) -> bool {
        let lower = self.promised == Promised::AtLeast;
        self.bound.is_some_and(|bound| if lower { self.promised() < bound } else { self.promised() > bound })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, samples, .. } = self;
        let (min, median, max) = (self.quantile(0.0), self.quantile(0.5), self.quantile(1.0));
        write!(
            f,
            "  {name:<44} median {median:8.3} {unit}  (min {min:.3}, max {max:.3}; n = {})",
            samples.len()
        )?;
        if self.promised == Promised::P99 {
            write!(f, "  p99 {:.3} {unit}", self.promised())?;
        }
        if let Some(bound) = self.bound {
            let word = match self.promised {
                Promised::Median => "median <=",
                Promised::P99 => "p99 <=",
                Promised::Worst => "worst <=",
                Promised::AtLeast => "median >=",
            };
            let verdict = if self.missed() { "MISSED" } else { "ok" };
            write!(f, "  bound: {word} {bound} {unit}  {verdict}")?;
        }
        Ok(())
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Table {
    bounded: usize,
    missed: Vec<String>,
}

impl Table {
    /// Prints a figure and remembers whether it kept its bound.
    pub fn add(&mut self, figure: Figure) {
        println!("{figure}");
        self.bounded += usize::from(figure.bound.is_some());
        if figure.missed() {
            self.missed.push(figure.name);
        }
    }

    /// Prints something that has no bound.
    pub fn note(&self, text: impl fmt::Display) {
        println!("  {text}");
    }

    /// Says how many bounds were kept, and which were not.
    pub fn summary(&self) -> String {
        let kept = self.bounded - self.missed.len();
        match self.missed.as_slice() {
            [] => format!("{kept} of {} bounds kept", self.bounded),
            missed => format!("{kept} of {} bounds kept; MISSED: {}", self.bounded, missed.join("; ")),
        }
    }
}

/// A duration in milliseconds.
pub fn in_millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
