//! Every signal at every level: the table of docs/guide/stop.md as code.

use std::collections::HashMap;
use std::time::Duration;

use super::Machine;
use crate::plan::SignalProfile;
use crate::teardown::{Action, Cause, Level, Signal};

/// Time in which a repeated signal counts once: terminals and process managers send it twice.
const SAME_SIGNAL_WITHIN: Duration = Duration::from_millis(500);
/// Factor by which QUIT stretches every grace.
const QUIT_FACTOR: u32 = 4;

/// Signals that counted, each with the last time when it did.
#[derive(Clone, Debug, Default)]
pub(super) struct Debounce(HashMap<Signal, Duration>);

impl Debounce {
    fn admits(&mut self, now: Duration, signal: Signal) -> bool {
        let counts = self.0.get(&signal).is_none_or(|at| now.saturating_sub(*at) >= SAME_SIGNAL_WITHIN);
        if counts {
            self.0.insert(signal, now);
        }
        counts
    }
}

impl Machine {
    pub(super) fn signal(&mut self, now: Duration, signal: Signal) {
        use Level::{Cut, Delay, Drain, Exit, Running};
        let level = self.level();
        if (level, signal) == (Running, Signal::Hup) {
            // Each one counts: the manifest that is read must not be older than the last HUP.
            self.rollouts.reload_wanted = true;
            return;
        }
        if !self.debounce.admits(now, signal) {
            return;
        }
        match (level, signal) {
            (Running, Signal::Term | Signal::Int | Signal::Quit | Signal::Hup | Signal::Hangup) => {
                self.stop_by_signal(now, signal);
            }
            (Running | Delay | Drain | Cut | Exit, Signal::Usr1) => self.actions.push(Action::PrintStatus),
            // Each INT raises the level by one, so that an INT during the delay loses no request.
            (Delay, Signal::Int | Signal::Quit) => self.end_delay(now),
            (Drain, Signal::Int) => self.force(now, signal),
            (Cut | Exit, Signal::Int) => self.force_exit(signal),
            (Drain | Cut | Exit, Signal::Quit)
            | (Delay | Drain | Cut | Exit, Signal::Term | Signal::Hup | Signal::Hangup) => {
                self.actions.push(Action::NoteSignal(signal));
            }
        }
    }

    fn stop_by_signal(&mut self, now: Duration, signal: Signal) {
        use SignalProfile::{Nginx, Standard};
        let cause = Cause::Signal(signal);
        match (self.policy.signals, signal) {
            (Standard, Signal::Term) | (Nginx, Signal::Quit) | (Standard | Nginx, Signal::Hangup) => {
                self.begin_with_delay(now, cause);
            }
            (Standard, Signal::Int) => self.begin_at_once(now, cause),
            (Standard, Signal::Quit) => self.begin_stretched(now, cause, QUIT_FACTOR),
            (Nginx, Signal::Term | Signal::Int) => self.begin_forced(now, signal),
            (Standard | Nginx, Signal::Hup | Signal::Usr1) => {}
        }
    }
}
