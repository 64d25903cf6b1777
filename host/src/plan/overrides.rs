//! What the command line changes in a plan, wherever the plan came from.
//!
//! Invariant: no component's grace is longer than the app's, before and after. How options are spelled is not
//! known here.

use std::time::Duration;

use super::types::{Plan, SignalProfile};

/// What is to be changed; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The app's grace.
    pub grace: Option<Duration>,
    /// The app's grace after a failure.
    pub fail_grace: Option<Duration>,
    /// The delay before a stop by TERM.
    pub drain_delay: Option<Duration>,
    /// The table of signals.
    pub signals: Option<SignalProfile>,
}

impl Plan {
    /// Applies `overrides`. A component whose grace is the app's follows it; a shorter one stays, as far as the
    /// app's new grace reaches.
    pub fn apply(&mut self, overrides: Overrides) {
        let Overrides {
            grace,
            fail_grace,
            drain_delay,
            signals,
        } = overrides;
        if let Some(grace) = grace {
            let before = std::mem::replace(&mut self.app.grace, grace);
            for component in &mut self.components {
                component.grace = if component.grace == before {
                    grace
                } else {
                    component.grace.min(grace)
                };
            }
        }
        self.app.fail_grace = fail_grace.unwrap_or(self.app.fail_grace);
        self.app.drain_delay = drain_delay.unwrap_or(self.app.drain_delay);
        self.app.signals = signals.unwrap_or(self.app.signals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graces(grace: u64) -> [u64; 3] {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a", "b", "c"].map(|name| dir.path().join(name));
        for file in &files {
            std::fs::write(file, "").unwrap();
        }
        let mut plan = Plan::from_files(&files, &[]).unwrap();
        plan.components[1].grace = Duration::from_secs(10);
        plan.components[2].grace = Duration::from_secs(2);
        plan.apply(Overrides {
            grace: Some(Duration::from_secs(grace)),
            ..Overrides::default()
        });
        assert_eq!(plan.app.grace, Duration::from_secs(grace));
        [0, 1, 2].map(|index: usize| plan.components[index].grace.as_secs())
    }

    #[test]
    fn components_follow_the_app_and_never_pass_it() {
        assert_eq!(graces(60), [60, 10, 2]);
        assert_eq!(graces(5), [5, 5, 2]);
        assert_eq!(graces(0), [0, 0, 0]);
    }

    #[test]
    fn each_override_changes_its_own_value_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut plan = Plan::from_files(&[file.path().to_owned()], &[]).unwrap();
        let before = plan.app.clone();
        plan.apply(Overrides {
            signals: Some(SignalProfile::Nginx),
            ..Overrides::default()
        });
        assert_eq!(plan.app.signals, SignalProfile::Nginx);
        plan.apply(Overrides {
            fail_grace: Some(Duration::from_secs(1)),
            drain_delay: Some(Duration::from_secs(2)),
            ..Overrides::default()
        });
        assert_eq!(plan.app.fail_grace, Duration::from_secs(1));
        assert_eq!(plan.app.drain_delay, Duration::from_secs(2));
        assert_eq!(
            (plan.app.grace, plan.app.signals),
            (before.grace, SignalProfile::Nginx)
        );
    }
}
