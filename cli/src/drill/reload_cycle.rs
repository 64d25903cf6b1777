//! The scenario `reload`: reloads without a change, and restarts of each component, after which the app has no more
//! descriptors and threads than before.
//!
//! Invariant: all compared counts were taken in the same state: only the newest generations, idle, just started.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Finding, REPORT_BUG, RejectionWindow, RunningApp};
use crate::error::CliError;

/// Longest time that the app takes to release resources.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// Counts are stable if they are the same in so many polls.
const STABLE_POLLS: u32 = 40;
const POLL: Duration = Duration::from_millis(10);
/// Only a count that grows in each of so many rounds is a leak.
const ROUNDS: u32 = 4;
/// Descriptors that may stay open after a load: those of caches, and those of instances for each client.
const GROWTH: usize = 32;
const GROWTH_FOR_EACH_CLIENT: usize = 4;
/// Answers of each client that tell a component that leaks with each request from one that does not.
const ANSWERS_FOR_EACH_CLIENT: usize = 16;
/// Longest load to get them.
const LOAD_TIME: Duration = Duration::from_secs(2);
/// Time that an order may take besides the app's own times.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Resources {
    descriptors: usize,
    threads: usize,
}

impl Resources {
    fn is_within(self, limit: Self) -> bool {
        self.descriptors <= limit.descriptors && self.threads <= limit.threads
    }
}

impl RunningApp<'_> {
    pub(super) fn run_reload_cycle(&mut self, with_load: bool) -> Result<(), CliError> {
        self.restart_all()?;
        if with_load {
            self.reload_with_load()?;
        } else {
            self.reload()?;
        }
        self.restart_all()?;
        // The app allocates on its first request what it needs for a load, and keeps it: only idle rounds are comparable.
        let mut before = self.wait_until_stable(Resources::default(), STABLE_POLLS)?;
        for round in 1..=ROUNDS {
            self.reload()?;
            self.restart_all()?;
            let polls = if round == ROUNDS { u32::MAX } else { STABLE_POLLS };
            let after = self.wait_until_stable(before, polls)?;
            if after.is_within(before) {
                break;
            }
            if round == ROUNDS {
                self.find_leaks(before, after);
            }
            before = after;
        }
        Ok(())
    }

    /// Reloads and restarts under load, and checks whether the load itself has left descriptors open.
    fn reload_with_load(&mut self) -> Result<(), CliError> {
        let before = self.wait_until_stable(Resources::default(), STABLE_POLLS)?;
        self.start_load()?;
        self.reload()?;
        self.restart_all()?;
        let clients = self.runner.config.clients * self.run.targets.len();
        if let Some(load) = self.load.take() {
            // The newest generations serve for a while.
            let enough = load.answers() + ANSWERS_FOR_EACH_CLIENT * clients;
            self.process.pause(LOAD_TIME, |_| load.answers() >= enough)?;
            self.run.loads = load.counts(|_| RejectionWindow::Never);
        }
        let descriptors = before.descriptors + GROWTH + GROWTH_FOR_EACH_CLIENT * clients;
        let after = self.wait_until_stable(Resources { descriptors, threads: usize::MAX }, STABLE_POLLS)?;
        if after.descriptors > descriptors {
            let text = format!(
                "{} descriptors were open before the load, {} after it, with nobody connected any more",
                before.descriptors, after.descriptors
            );
            let advice =
                "A component opens files or connections for a request and does not close them. Close them.";
            self.add_finding(Finding::failure("descriptors-grow", text).advise(advice));
        }
        Ok(())
    }

    /// Reloads the manifest without a change, which must replace no component.
    fn reload(&mut self) -> Result<(), CliError> {
        if self.runner.config.plan.manifest.is_none() {
            let text = "a reload was not tried: there is no manifest to read again";
            self.add_finding(Finding::note("no-manifest", text));
            return Ok(());
        }
        if self.process.has_ended() {
            return Ok(());
        }
        let Some(before) = self.newest_generations()? else { return Ok(()) };
        if let Err(error) = self.process.order("/reload", self.order_timeout())? {
            self.add_finding(Finding::failure("reload-failed", format!("a reload failed: {error}")));
            return Ok(());
        }
        let Some(after) = self.newest_generations()? else { return Ok(()) };
        for (name, generation) in &after {
            if before.get(name).is_some_and(|before| before != generation) {
                let text = "a reload replaced it although nothing had changed";
                let advice = "Its file, or a file that its manifest names, changes while the app runs. Do not write to \
                              these files.";
                self.add_finding(Finding::failure("reload-changed", text).of(name).advise(advice));
            }
        }
        Ok(())
    }

    /// Replaces each component by a fresh generation, as a new build of it would.
    fn restart_all(&mut self) -> Result<(), CliError> {
        for name in self.runner.config.plan.components.iter().map(|component| &component.name) {
            if self.process.has_ended() {
                return Ok(());
            }
            let target = format!("/restart?component={name}");
            if let Err(error) = self.process.order(&target, self.order_timeout())? {
                let text = format!("a restart failed: {error}");
                self.add_finding(Finding::failure("restart-failed", text).of(name));
            }
        }
        Ok(())
    }

    fn order_timeout(&self) -> Duration {
        ORDER_TIMEOUT.saturating_add(self.own_times())
    }

    /// Returns the longest start and stop of the app's own settings.
    fn own_times(&self) -> Duration {
        let plan = &self.runner.config.plan;
        let starts = plan.components.iter().map(|component| component.start_timeout);
        plan.app.grace.saturating_add(starts.max().unwrap_or_default())
    }

    /// Returns the newest generation of each component; `None` if the app does not return its status.
    fn newest_generations(&mut self) -> Result<Option<BTreeMap<String, u64>>, CliError> {
        let Some(status) = self.status()? else { return Ok(None) };
        let mut newest = BTreeMap::new();
        for component in status.components {
            let known = newest.entry(component.name).or_insert(component.generation);
            *known = component.generation.max(*known);
        }
        Ok(Some(newest))
    }

    /// Waits for the end of older generations, then for counts within `limit` or the same in so many polls; returns them.
    fn wait_until_stable(&mut self, limit: Resources, stable_polls: u32) -> Result<Resources, CliError> {
        let end = Instant::now() + RELEASE_TIMEOUT + self.own_times();
        let components = self.runner.config.plan.components.len();
        // Older generations end within their grace; their descriptors and threads are gone soon after that.
        while Instant::now() < end
            && !self.process.has_ended()
            && self.status()?.is_some_and(|status| status.components.len() > components)
        {
            self.process.pause(POLL, |_| false)?;
        }
        let (mut last, mut same) = (self.resources(), 0);
        let end = Instant::now() + RELEASE_TIMEOUT;
        while Instant::now() < end
            && !self.process.has_ended()
            && !last.is_within(limit)
            && same < stable_polls
        {
            self.process.pause(POLL, |_| false)?;
            let now = self.resources();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    fn resources(&self) -> Resources {
        let entries = |name: &str| {
            let folder = format!("/proc/{}/{name}", self.process.pid);
            std::fs::read_dir(folder).map(Iterator::count).unwrap_or_default()
        };
        Resources { descriptors: entries("fd"), threads: entries("task") }
    }

    fn find_leaks(&mut self, before: Resources, after: Resources) {
        if self.process.has_ended() {
            return;
        }
        for (code, noun, before, after) in [
            ("descriptors-left", "descriptors", before.descriptors, after.descriptors),
            ("threads-left", "threads", before.threads, after.threads),
        ] {
            if after > before {
                let text = format!(
                    "{noun} were not released: {before} before a reload and a restart of each component, {after} after them"
                );
                self.add_finding(Finding::failure(code, text).advise(REPORT_BUG));
            }
        }
    }
}
