//! The stop as the log tells it: when it began, when its next line about the components it waits for is due, and the exit code.

use std::time::Duration;

use crate::teardown::ExitCode;

/// The log says so often which components the stop waits for.
const WAITING_EVERY: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct StopProgress {
    began: Option<Duration>,
    next_line: Duration,
    exit_code: Option<ExitCode>,
}

impl StopProgress {
    /// Notes that the stop begins.
    pub(super) fn begins(&mut self, now: Duration) {
        self.began = Some(now);
        self.next_line = now.saturating_add(WAITING_EVERY);
    }

    /// Returns when the stop began.
    pub(super) fn began(&self) -> Option<Duration> {
        self.began
    }

    /// Returns whether the stop has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// Notes that the app leaves with this code.
    pub(super) fn leave(&mut self, code: ExitCode) {
        self.exit_code = Some(code);
    }

    /// Returns the exit code once the app leaves.
    pub(super) fn exit_code(&self) -> Option<ExitCode> {
        self.exit_code
    }

    /// Returns whether the log has to say which components the stop waits for. The next line is due a second later.
    pub(super) fn is_waiting_line_due(&mut self, now: Duration) -> bool {
        let due = self.has_begun() && now >= self.next_line && self.exit_code.is_none();
        if due {
            self.next_line = now.saturating_add(WAITING_EVERY);
        }
        due
    }
}
