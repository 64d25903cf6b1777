//! Messages to the service manager (systemd), and their moments. Invariant: it gets READY after each reload, also a failed one,
//! and STOPPING once. Only the control thread sends signs of life: it must not hang.

use std::time::Duration;

use crate::systemd::Notifier;

/// Time after the hard deadline before the manager acts.
const SPARE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ServiceManager {
    notifier: Option<Notifier>,
    next_sign: Duration,
    ready: bool,
}

impl ServiceManager {
    /// Notifies the service manager that the environment names, if the process exists for this app.
    pub(super) fn new(is_process: bool) -> Self {
        let notifier = is_process.then(Notifier::from_env).flatten();
        Self { notifier, next_sign: Duration::ZERO, ready: false }
    }

    /// Reports once that the app is ready.
    pub(super) fn started(&mut self, app: &str, components: usize) {
        if !std::mem::replace(&mut self.ready, true) {
            self.ready(&format!("{app}: {components} components are ready"));
        }
    }

    fn ready(&mut self, status: &str) {
        if let Some(notifier) = &mut self.notifier {
            notifier.ready(status);
        }
    }

    /// Reports that a reload begins. While the app starts, a reload is part of the start.
    pub(super) fn reloading(&mut self) {
        if let Some(notifier) = self.notifier.as_mut().filter(|_| self.ready) {
            notifier.reloading();
        }
    }

    pub(super) fn reloaded(&mut self, what: &str) {
        if self.ready {
            self.ready(what);
        }
    }

    /// Reports that the app stops, and the longest time that this can take.
    pub(super) fn stopping(&mut self, now: Duration, longest: Duration) {
        self.next_sign = self.next_sign.min(now);
        if let Some(notifier) = &mut self.notifier {
            notifier.stopping();
        }
        self.still_stopping(longest);
    }

    pub(super) fn still_stopping(&mut self, longest: Duration) {
        if let Some(notifier) = &mut self.notifier {
            notifier.extend(longest.saturating_add(SPARE));
        }
    }

    /// Gives a sign of life if one is due, and returns how long the next one can wait.
    pub(super) fn next_call(&mut self, now: Duration) -> Option<Duration> {
        let notifier = self.notifier.as_mut()?;
        let every = notifier.watchdog_every()?;
        if now >= self.next_sign {
            notifier.watchdog();
            self.next_sign = now.saturating_add(every);
        }
        Some(self.next_sign.saturating_sub(now))
    }
}
