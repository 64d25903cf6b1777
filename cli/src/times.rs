//! The times of an app on the command line, in the same words wherever a command takes them.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::args::duration;
use curfew_host::plan::Overrides;

/// The times of the app, before those of its manifest.
#[derive(Args, Clone, Copy, Debug)]
pub struct TimeArgs {
    /// Longest graceful stop of the whole app [default: 25s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// The same when a component has failed [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub fail_grace: Option<Duration>,
    /// Not ready, but still serving, for this long first when stopped by TERM [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub drain_delay: Option<Duration>,
}

impl TimeArgs {
    /// Returns what it changes in a plan.
    pub fn overrides(&self) -> Overrides {
        let Self { grace, fail_grace, drain_delay } = *self;
        Overrides { grace, fail_grace, drain_delay, ..Overrides::default() }
    }

    /// Returns it as another process of this program takes it.
    pub fn words(&self) -> Vec<OsString> {
        let times =
            [("--grace", self.grace), ("--fail-grace", self.fail_grace), ("--drain-delay", self.drain_delay)];
        let given = times.into_iter().filter_map(|(flag, time)| Some((flag, time?)));
        given.map(|(flag, time)| format!("{flag}={}ms", time.as_millis()).into()).collect()
    }
}
