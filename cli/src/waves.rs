//! What `check` says of the order of an app: the waves of its start and of its stop, and by when each has ended.
//!
//! Invariant: times are bounds that hold whatever a component does; they count from the moment of the cause.

use std::time::Duration;

use serde::Serialize;

use super::supervision::millis;
use curfew_host::plan::Plan;
use curfew_host::teardown::reserves;
use curfew_host::text::units::format_duration;

/// The waves of an app.
#[derive(Debug, Serialize)]
pub struct Waves {
    /// Who starts together.
    pub start_waves: Vec<Vec<String>>,
    /// Who stops together.
    pub stop_waves: Vec<StopWave>,
}

/// Components that stop together.
#[derive(Debug, Serialize)]
pub struct StopWave {
    /// Their names.
    pub components: Vec<String>,
    /// The time they have when those before them use up all of theirs.
    pub least_ms: u64,
    /// When they are cut off at the latest.
    pub end_by_ms: u64,
    #[serde(skip)]
    least: Duration,
}

impl Waves {
    /// Works them out.
    pub fn new(plan: &Plan) -> Self {
        let name = |place: &usize| Some(plan.components.get(*place)?.name.clone());
        let names = |wave: &Vec<usize>| wave.iter().filter_map(name).collect::<Vec<_>>();
        let waves = plan.stop_waves();
        let wish = |wave: &Vec<usize>| {
            let graces = wave.iter().filter_map(|place| plan.components.get(*place));
            // One without a grace of its own wishes for all there is.
            graces.map(|component| component.grace).collect::<Option<Vec<_>>>()?.into_iter().max()
        };
        let wishes: Vec<Option<Duration>> = waves.iter().map(wish).collect();
        let ends =
            reserves(plan.app.grace, &wishes).into_iter().map(|left| plan.app.grace.saturating_sub(left));
        let mut before = Duration::ZERO;
        let stop_waves = waves.iter().zip(ends).map(|(wave, end)| {
            let least = end.saturating_sub(std::mem::replace(&mut before, end));
            let end_by_ms = millis(plan.app.drain_delay.saturating_add(end));
            StopWave { components: names(wave), least_ms: millis(least), end_by_ms, least }
        });
        let stop_waves = stop_waves.collect();
        Self { start_waves: plan.start_waves().iter().map(names).collect(), stop_waves }
    }

    /// Whether anybody starts only after the component of this name is ready.
    pub fn is_waited_for(plan: &Plan, name: &str) -> bool {
        plan.components.iter().any(|component| component.after.iter().any(|after| after == name))
    }

    /// A warning for a component whose own grace is longer than what it may get.
    pub fn warning(&self, name: &str, grace: Option<Duration>) -> Option<String> {
        let wave = self.stop_waves.iter().find(|wave| wave.components.iter().any(|member| member == name))?;
        let grace = grace.filter(|grace| *grace > wave.least)?;
        let (grace, least) = (format_duration(grace), format_duration(wave.least));
        Some(if self.stop_waves.len() == 1 {
            format!("its grace of {grace} is longer than the app's, which is {least}")
        } else {
            format!(
                "its grace of {grace} is longer than the slice of its wave can be: when the other waves need all of \
                 theirs, it has {least}"
            )
        })
    }

    /// Returns the waves as lines of text; without an order there are none.
    pub fn text(&self) -> String {
        if self.start_waves.len() < 2 {
            return String::new();
        }
        let mut text = "start, each wave when the one before it is ready:\n".to_owned();
        for (number, wave) in self.start_waves.iter().enumerate() {
            text.push_str(&format!("  {}  {}\n", number + 1, wave.join(", ")));
        }
        text.push_str("stop, each wave when the one before it has ended, or its time is over:\n");
        for (number, wave) in self.stop_waves.iter().enumerate() {
            let by = format_duration(Duration::from_millis(wave.end_by_ms));
            text.push_str(&format!("  {}  {}: by {by}\n", number + 1, wave.components.join(", ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(app: &str, components: &[(&str, &str)]) -> (Plan, Waves) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wasm"), "").unwrap();
        let mut text = format!("[app]\n{app}\n");
        for (name, keys) in components {
            text.push_str(&format!("[component.{name}]\nsource = \"a.wasm\"\n{keys}\n"));
        }
        let plan = Plan::from_str(&text, &dir.path().join("curfew.toml"));
        let plan = plan.unwrap_or_else(|error| panic!("{error}"));
        let waves = Waves::new(&plan);
        (plan, waves)
    }

    const SHOP: &[(&str, &str)] = &[
        ("web", "after = [\"queue\"]\ngrace = \"20s\""),
        ("queue", "after = [\"db\"]\ngrace = \"3s\""),
        ("db", "grace = \"9s\""),
        ("log", ""),
    ];

    #[test]
    fn waves_with_their_ends() {
        let (plan, waves) = waves("grace = \"24s\"\ndrain-delay = \"1s\"", SHOP);
        assert_eq!(
            waves.text(),
            "start, each wave when the one before it is ready:\n  1  db, log\n  2  queue\n  3  web\n\
             stop, each wave when the one before it has ended, or its time is over:\n  1  web, log: by 14s\n  \
             2  queue: by 17s\n  3  db: by 25s\n"
        );
        let least: Vec<u64> = waves.stop_waves.iter().map(|wave| wave.least_ms).collect();
        assert_eq!(least, [13_000, 3000, 8000]);
        assert!(Waves::is_waited_for(&plan, "db") && !Waves::is_waited_for(&plan, "web"));
    }

    #[test]
    fn who_may_get_less_than_its_grace_is_told() {
        let (plan, shop) = waves("grace = \"24s\"", SHOP);
        let told: Vec<Option<String>> =
            plan.components.iter().map(|component| shop.warning(&component.name, component.grace)).collect();
        let text = |grace: &str, least: &str| {
            Some(format!(
                "its grace of {grace} is longer than the slice of its wave can be: when the other waves need all of \
                 theirs, it has {least}"
            ))
        };
        assert_eq!(told, [text("20s", "13s"), None, text("9s", "8s"), None]);
        let (plan, one) = waves("grace = \"5s\"", &[("a", "grace = \"1m\""), ("b", "grace = \"5s\"")]);
        let told = |place: usize| one.warning(&plan.components[place].name, plan.components[place].grace);
        assert_eq!(told(0).as_deref(), Some("its grace of 1m is longer than the app's, which is 5s"));
        assert_eq!((told(1), one.text()), (None, String::new()));
    }
}
