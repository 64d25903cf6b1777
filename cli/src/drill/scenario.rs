//! The scenarios of a drill, and the time that each may take by the app's own plan.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;

use curfew_host::plan::{AppPlan, SignalProfile};

/// From the deadline of a stop until curfew leaves by force (1 s), and what its exit may take.
const HARD: Duration = Duration::from_millis(1_250);
/// Delay that a busy machine may add.
pub(crate) const NOISE: Duration = Duration::from_millis(500);
/// QUIT stops with so many times the grace.
const QUIT_GRACES: u32 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    #[default]
    Term,
    /// A stop by INT, and a second INT if the app still runs.
    Int,
    Quit,
    /// Stops at moments spread over the start.
    Start,
    Peer,
    /// Reloads without a change, and restarts of each component.
    Reload,
}

impl Scenario {
    /// All scenarios, in the order in which they run.
    pub(crate) const ALL: [Self; 6] =
        [Self::Term, Self::Int, Self::Quit, Self::Start, Self::Peer, Self::Reload];

    /// Returns its name on the command line and in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Term => "term",
            Self::Int => "int",
            Self::Quit => "quit",
            Self::Start => "start",
            Self::Peer => "peer",
            Self::Reload => "reload",
        }
    }

    /// Returns its name in tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT INT",
            Self::Quit => "QUIT",
            Self::Start => "TERM during the start",
            Self::Peer => "a peer fails",
            Self::Reload => "reload, restarts",
        }
    }

    /// Returns the signal that stops the app.
    pub(super) fn signal(self) -> Signal {
        match self {
            Self::Int => Signal::SIGINT,
            Self::Quit => Signal::SIGQUIT,
            Self::Term | Self::Start | Self::Peer | Self::Reload => Signal::SIGTERM,
        }
    }

    /// Returns the longest time from the cause of the stop to the exit.
    pub(super) fn exit_bound(self, app: &AppPlan) -> Duration {
        let (delay, grace) = match self {
            Self::Term | Self::Start | Self::Reload => (app.drain_delay, app.grace),
            Self::Int => (Duration::ZERO, app.grace),
            Self::Quit => (Duration::ZERO, app.grace.saturating_mul(QUIT_GRACES)),
            Self::Peer => (Duration::ZERO, app.fail_grace),
        };
        grace.saturating_add(delay).saturating_add(HARD)
    }

    /// Returns why the scenario does not apply to this app.
    pub(super) fn skip_reason(self, app: &AppPlan) -> Option<&'static str> {
        let is_forced = matches!(self, Self::Term | Self::Int | Self::Start);
        (app.signals == SignalProfile::Nginx && is_forced)
            .then_some("with `signals = \"nginx\"` this signal cuts everything off at once, as it should")
    }
}
