//! Comparison of a new plan with that of a running app. The contents of files are not known here.

use super::{AppPlan, ComponentPlan, KindDefaults, Plan};
use crate::text::units::{format_duration, format_size};

impl Plan {
    /// Returns why a running app cannot become `new`, where it cannot: what is opened once stays as it is until its end.
    pub fn cannot_reload_to(&self, new: &Self) -> Option<String> {
        let values = |app: &AppPlan| {
            let admin = app.admin.map(|address| address.to_string());
            let control = app.control.as_ref().map(|path| path.display().to_string());
            let access_log = app.access_log.word().to_owned();
            [("admin", admin), ("control", control), ("access-log", Some(access_log))]
        };
        let ((key, was), (_, is)) =
            values(&self.app).into_iter().zip(values(&new.app)).find(|(was, is)| was != is)?;
        let [was, is] = [was, is].map(|value| value.unwrap_or_else(|| "not set".to_owned()));
        Some(format!("`{key}` of [app] was {was} and is {is} now: that needs a restart of curfew"))
    }
}

impl AppPlan {
    /// Returns the settings that a running app gets when it becomes `new`: each key with its old value and its new one.
    pub fn changes_to(&self, new: &Self) -> Vec<String> {
        let values = |app: &Self| {
            // A new key does not compile until it is told here, or cannot change.
            let Self {
                name,
                grace,
                fail_grace,
                drain_delay,
                signals,
                access_log: _,
                admin: _,
                control: _,
                memory,
            } = app;
            let [grace, fail_grace, drain_delay] =
                [grace, fail_grace, drain_delay].map(|time| format_duration(*time));
            [
                ("name", name.clone()),
                ("grace", grace),
                ("fail-grace", fail_grace),
                ("drain-delay", drain_delay),
                ("signals", signals.word().to_owned()),
                ("memory", memory.map_or_else(|| "no limit".to_owned(), format_size)),
            ]
        };
        let both = values(self).into_iter().zip(values(new)).filter(|(was, is)| was != is);
        both.map(|((key, was), (_, is))| format!("{key} from {was} to {is}")).collect()
    }
}

impl ComponentPlan {
    /// Returns the keys that differ in `new` and hold for a component that [goes on](Self::runs_like).
    pub fn settings_changed_in(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("after", self.after != new.after),
            ("grace", self.grace != new.grace),
            ("on-exit", self.on_exit != new.on_exit),
            ("on-failure", self.on_failure != new.on_failure),
            ("restart", self.restart != new.restart),
            ("ready", self.ready != new.ready),
            ("overlap", self.overlap != new.overlap),
            ("start-timeout", self.start_timeout != new.start_timeout),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// Returns whether instances of this plan can go on under `other`: all that they, or the server in front of them, get to see
    /// is equal. Keys that only the supervisor reads may differ, and hold from then on; of a component that the host does not
    /// listen for also `grace`, `start-timeout` and `on-failure`. With another `health`, a service that has never called `alive`
    /// would fail as soon as it has to.
    pub fn runs_like(&self, other: &Self, kind: &KindDefaults) -> bool {
        // A new key does not compile until it is weighed here.
        let Self {
            name,
            source,
            http,
            after: _,
            grace,
            hook,
            on_exit: _,
            on_failure: _,
            restart: _,
            ready: _,
            health,
            overlap: _,
            start_timeout,
            memory,
            stdin,
            args,
            env,
            dirs,
            network,
            outbound_http,
            config,
        } = self;
        // A server starts instances by itself, and cuts single ones off.
        let served_alike = || {
            *grace == other.grace
                && *start_timeout == other.start_timeout
                && self.resolve(kind).on_failure == other.resolve(kind).on_failure
        };
        (http.listen.is_empty() || served_alike())
            && (name, source, hook, health) == (&other.name, &other.source, &other.hook, &other.health)
            && (memory, stdin, args, env) == (&other.memory, &other.stdin, &other.args, &other.env)
            && (dirs, network, http) == (&other.dirs, &other.network, &other.http)
            && (outbound_http, config) == (&other.outbound_http, &other.config)
    }
}

#[cfg(test)]
mod tests;
