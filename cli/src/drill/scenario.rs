//! What a drill tries, and how much time each may take.
//!
//! Invariant: the bounds are those of the app's own plan; nothing here knows how a try is carried out.

use std::time::Duration;

use curfew_host::plan::{AppPlan, SignalProfile};

/// From the deadline of a stop to the moment when curfew leaves whatever happens, and what its exit may take.
pub const HARD: Duration = Duration::from_millis(1_250);
/// What a busy machine may add to that.
pub const NOISE: Duration = Duration::from_millis(500);
/// QUIT stops with so many times the grace.
const QUIT_GRACES: u32 = 4;

/// One thing that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A stop by TERM.
    Term,
    /// A stop by INT, and once more if it is still there.
    Int,
    /// A stop by QUIT.
    Quit,
    /// Stops at moments spread over the start.
    Start,
    /// A component beside the others that fails.
    Peer,
    /// Reloads that change nothing, and fresh generations of each component.
    Reload,
}

impl Scenario {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 6] = [Self::Term, Self::Int, Self::Quit, Self::Start, Self::Peer, Self::Reload];

    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Term => "term",
            Self::Int => "int",
            Self::Quit => "quit",
            Self::Start => "start",
            Self::Peer => "peer",
            Self::Reload => "reload",
        }
    }

    /// What it is called in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT INT",
            Self::Quit => "QUIT",
            Self::Start => "TERM during the start",
            Self::Peer => "a peer fails",
            Self::Reload => "reload, restarts",
        }
    }

    /// The grace that the app has in it.
    pub fn grace(self, app: &AppPlan) -> Duration {
        match self {
            Self::Quit => app.grace.saturating_mul(QUIT_GRACES),
            Self::Peer => app.fail_grace,
            Self::Term | Self::Int | Self::Start | Self::Reload => app.grace,
        }
    }

    /// The longest time from what is done to the exit.
    pub fn bound(self, app: &AppPlan) -> Duration {
        let delay = match self {
            Self::Term | Self::Start | Self::Reload => app.drain_delay,
            Self::Int | Self::Quit | Self::Peer => Duration::ZERO,
        };
        self.grace(app).saturating_add(delay).saturating_add(HARD)
    }

    /// Why it makes no sense for this app.
    pub fn makes_no_sense(self, app: &AppPlan) -> Option<&'static str> {
        let is_forced = matches!(self, Self::Term | Self::Int | Self::Start | Self::Reload);
        (app.signals == SignalProfile::Nginx && is_forced && self != Self::Reload)
            .then_some("with `signals = \"nginx\"` it cuts everything off at once, as it should")
    }
}
