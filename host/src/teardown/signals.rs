//! What each signal does at each level: the table of docs/guide/stop.md as code.

use std::time::Duration;

use super::event::Action;
use super::machine::Machine;
use super::{Cause, Level, Signal};
use crate::plan::SignalProfile;

/// The same signal within this time counts once: terminals and process managers send it twice.
const SAME_SIGNAL_WITHIN: Duration = Duration::from_millis(500);
/// By how much QUIT stretches every grace.
const QUIT_FACTOR: u32 = 4;

impl Machine {
    pub(super) fn signal(&mut self, now: Duration, signal: Signal) {
        if signal == Signal::Hup && self.level == Level::Running {
            // Each one counts: what is read must not be older than the last.
            return self.want_reload();
        }
        let repeated = self
            .counted
            .iter()
            .any(|&(seen, at)| seen == signal && now.saturating_sub(at) < SAME_SIGNAL_WITHIN);
        if repeated {
            return;
        }
        self.counted.retain(|&(seen, _)| seen != signal);
        self.counted.push((signal, now));
        match self.level {
            Level::Running => self.signal_while_running(now, signal),
            Level::Delay | Level::Drain | Level::Cut | Level::Exit => self.signal_while_stopping(now, signal),
        }
    }

    fn signal_while_running(&mut self, now: Duration, signal: Signal) {
        let cause = Cause::Signal(signal);
        let grace = self.policy.grace;
        match (self.policy.signals, signal) {
            (SignalProfile::Standard, Signal::Term) | (_, Signal::Hangup) => {
                self.begin(now, cause, self.policy.drain_delay, grace);
            }
            (SignalProfile::Standard, Signal::Int) => self.begin(now, cause, Duration::ZERO, grace),
            (SignalProfile::Standard, Signal::Quit) => {
                self.grace_factor = QUIT_FACTOR;
                self.begin(now, cause, Duration::ZERO, grace.saturating_mul(QUIT_FACTOR));
            }
            (SignalProfile::Nginx, Signal::Quit) => self.begin(now, cause, self.policy.drain_delay, grace),
            (SignalProfile::Nginx, Signal::Term | Signal::Int) => {
                self.forced = Some(signal);
                self.begin(now, cause, Duration::ZERO, Duration::ZERO);
                self.force(now);
            }
            (_, Signal::Hup) => self.want_reload(),
            (_, Signal::Usr1) => self.actions.push(Action::PrintStatus),
        }
    }

    fn signal_while_stopping(&mut self, now: Duration, signal: Signal) {
        match signal {
            Signal::Term | Signal::Hup | Signal::Hangup => self.actions.push(Action::NoteSignal(signal)),
            Signal::Usr1 => self.actions.push(Action::PrintStatus),
            Signal::Quit if self.level == Level::Delay => self.end_delay(now),
            Signal::Quit => self.actions.push(Action::NoteSignal(signal)),
            // Each INT rises one level, so that one pressed during the delay loses no request.
            Signal::Int => match self.level {
                Level::Running | Level::Delay => self.end_delay(now),
                Level::Drain => {
                    self.forced = Some(signal);
                    self.force(now);
                }
                Level::Cut | Level::Exit => {
                    self.forced = Some(signal);
                    self.leave();
                }
            },
        }
    }
}
