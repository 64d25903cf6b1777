//! Changes that the command line makes in a plan, wherever the plan came from.
//!
//! Invariant: a value that is not named stays as it is. How options are spelled is not known here.

use std::path::PathBuf;
use std::time::Duration;

use super::budget::time_to_go;
use super::keys::{ComponentPlan, Plan, SignalProfile};

/// The values to change; `None` leaves one as it is.
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
    /// The control socket; a relative path starts at the working directory.
    pub control: Option<PathBuf>,
}

impl Plan {
    /// Applies `overrides`. With a longer `fail_grace`, a budget of restarts may need a longer period to be spent
    /// in; it gets one.
    pub fn apply(&mut self, overrides: Overrides) {
        let Overrides { grace, fail_grace, drain_delay, signals, control } = overrides;
        self.app.grace = grace.unwrap_or(self.app.grace);
        self.app.fail_grace = fail_grace.unwrap_or(self.app.fail_grace);
        self.app.drain_delay = drain_delay.unwrap_or(self.app.drain_delay);
        self.app.signals = signals.unwrap_or(self.app.signals);
        if let Some(control) = control {
            self.app.control = Some(std::path::absolute(&control).unwrap_or(control));
        }
        self.keep_budgets_possible();
    }

    /// Gives a default period to each budget that could not be spent with the graces that the app has now, and to
    /// each without a period.
    pub(super) fn keep_budgets_possible(&mut self) {
        for ComponentPlan { restart, grace, .. } in &mut self.components {
            let going = time_to_go(self.app.fail_grace, *grace);
            if restart.time_to_spend(going) >= restart.within {
                *restart = restart.with_default_period(going);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::from_files::Bare;
    use super::*;

    #[test]
    fn each_override_changes_its_own_value_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut plan = Plan::from_files(&[file.path().to_owned()], &Bare::default()).unwrap();
        let before = plan.app.clone();
        plan.apply(Overrides { signals: Some(SignalProfile::Nginx), ..Overrides::default() });
        assert_eq!((plan.app.grace, plan.app.signals), (before.grace, SignalProfile::Nginx));
        assert_eq!(plan.app.control, None);
        plan.apply(Overrides { control: Some("a.sock".into()), ..Overrides::default() });
        assert_eq!(plan.app.control, Some(std::env::current_dir().unwrap().join("a.sock")));
        plan.apply(Overrides {
            grace: Some(Duration::from_secs(3)),
            fail_grace: Some(Duration::from_secs(1)),
            drain_delay: Some(Duration::from_secs(2)),
            ..Overrides::default()
        });
        assert_eq!(plan.app.fail_grace, Duration::from_secs(1));
        assert_eq!(plan.app.drain_delay, Duration::from_secs(2));
        assert_eq!((plan.app.grace, plan.app.signals), (Duration::from_secs(3), SignalProfile::Nginx));
    }
}
