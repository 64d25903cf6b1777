//! The start of the app: components are loaded, addresses bound, then each component starts when the machine says so.

use std::sync::Arc;

use super::error::AppError;
use super::event_loop::EventLoop;
use super::generation_record::{GenerationRecord, finisher};
use super::inbox::Message;
use super::log_events;
use super::policies::generation_policy;
use super::startup_progress::StartupProgress;
use crate::output::{Channel, GUEST_QUOTA, GuestStream, Progress, Source};
use crate::runtime::{Failure, Known, Link, Loaded, Stdio, load_all};
use crate::server::{AccessLog, IncomingGeneration, MakeStdio, ServerParts, Servers, StartParts};
use crate::teardown::{Event, GenerationId, Level, Phase};
use crate::text::units::format_duration;

/// Returns the maker of the streams of a component's instances. The streams share the component's quota.
fn stdio_maker(name: String, sources: [Source; 2], passthrough: bool) -> MakeStdio {
    Box::new(move || {
        let [stdout, stderr] = sources.each_ref().map(|source| match passthrough {
            true => GuestStream::passthrough(source.clone()),
            false => GuestStream::prefixed(source.clone(), &name),
        });
        let finish = finisher(&stdout, &stderr);
        (Stdio { stdout: Box::new(stdout), stderr: Box::new(stderr) }, finish)
    })
}

impl EventLoop {
    /// Begins to load all components.
    pub(super) fn load(&mut self) -> Result<(), AppError> {
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Load(event)));
        let total = u64::try_from(self.plan.components.len()).unwrap_or(u64::MAX);
        let terminal = self.options.output.is_terminal(Channel::Stderr);
        let progress = Progress::new(&self.options.output, total, terminal);
        let loading = load_all(&self.runtime, &self.plan, Known::new(), tell);
        let loading = loading.map_err(|cause| AppError::System { what: "start a thread", cause })?;
        self.startup = Some(StartupProgress::new(progress, loading));
        Ok(())
    }

    /// Takes the loaded components and lets them start.
    ///
    /// # Errors
    /// When an address cannot be had; nothing has started then.
    pub(super) fn loaded(&mut self, loaded: Vec<Arc<Loaded>>) -> Result<(), AppError> {
        self.end_loading();
        let names: Vec<_> = self.plan.components.iter().map(|component| component.name.clone()).collect();
        for (name, loaded) in names.iter().zip(loaded) {
            let Some(id) = self.registry.id_of(name) else { continue };
            if let Some(record) = self.registry.get_mut(id) {
                record.loaded = Some(loaded.clone());
                let plan = record.plan.clone();
                let policy = generation_policy(&plan, Some(&loaded), self.registry.current());
                self.machine.set_policy(id, policy);
            }
        }
        if self.machine.level() == Level::Running {
            self.open_servers()?;
        }
        self.feed(Event::Loaded);
        Ok(())
    }

    fn open_servers(&mut self) -> Result<(), AppError> {
        let source = self.options.output.source(Channel::Stdout, GUEST_QUOTA);
        let access = AccessLog::new(self.plan.app.access_log, source).map(Arc::new);
        let inbox = self.inbox.clone();
        let died = Arc::new(move || inbox.send(Message::HostBug("the thread that accepts connections")));
        let parts = ServerParts { runtime: self.runtime.clone(), access, died };
        let mut servers = Servers::new(&self.options.kinds, &parts);
        let incoming = self.registry.iter().filter_map(|(id, record)| {
            Some(IncomingGeneration { id, plan: record.plan.clone(), loaded: record.loaded.clone()? })
        });
        servers.prepare(incoming.collect(), &[])?;
        servers.switch();
        let ids: Vec<_> = self.registry.current().values().copied().collect();
        for id in ids {
            if let Some(record) = self.registry.get_mut(id) {
                record.stats = servers.stats(id);
            }
        }
        self.servers = Some(servers);
        Ok(())
    }

    /// Shows that one more component has been loaded.
    pub(super) fn one_loaded(&self, component: usize) {
        if let (Some(startup), Some(component)) = (&self.startup, self.plan.components.get(component)) {
            startup.step(&component.name);
        }
    }

    /// Ends the loading, and the progress on the terminal.
    pub(super) fn end_loading(&mut self) {
        self.startup = None;
    }

    /// Starts one generation: its server makes its first instance.
    pub(super) fn start(&mut self, id: GenerationId) {
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Instance(id, event)));
        let link = Link::new(self.runtime.clock().clone(), tell);
        let source = |channel| self.options.output.source(channel, GUEST_QUOTA);
        let Some(record) = self.registry.get_mut(id) else { return };
        record.begins(self.now, link.clone());
        let new = || [source(Channel::Stdout), source(Channel::Stderr)];
        let sources = record.sources.get_or_insert_with(new).clone();
        let make_stdio = stdio_maker(record.plan.name.clone(), sources, self.plan.passthrough);
        let grace = record.plan.grace.unwrap_or(self.plan.app.grace);
        if let Some(servers) = self.servers.as_mut() {
            servers.start(id, StartParts { link, make_stdio, grace });
        }
    }

    /// Tells that a component never starts: one that it comes after has ended and was never ready.
    pub(super) fn cannot_start(&mut self, id: GenerationId) {
        let needed = self.registry.get(id).map(|record| record.plan.after.clone()).unwrap_or_default();
        let lost = |name: &&String| {
            let id = self.registry.id_of(name);
            id.is_none_or(|id| self.machine.phase(id) == Phase::Ended && !self.machine.is_ready(id))
        };
        let lost: Vec<_> = needed.iter().filter(lost).map(String::as_str).collect();
        let why = format!("it comes after {}, which has ended and was never ready", lost.join(", "));
        log_events::cannot_start(&self.name(id), &why);
        self.note_failure(id, why.clone());
        if let Some(record) = self.registry.get_mut(id) {
            record.lost = Some(Failure { summary: why.clone(), backtrace: None, exit_code: None });
        }
        self.never_ready(id, &why);
    }

    /// Tells that a component was not ready within its `start-timeout`.
    pub(super) fn fail_start(&mut self, id: GenerationId) {
        let entered = self.machine.phase(id) > Phase::Starting
            && self.registry.get(id).is_some_and(GenerationRecord::has_entered);
        let Some(record) = self.registry.get_mut(id) else { return };
        let limit = format_duration(record.plan.start_timeout);
        let what = match (&record.loaded, entered) {
            (Some(loaded), false) => loaded.kind.words.not_started,
            _ => "it did not say that it is ready (`ready` of `curfew:lifecycle/host`)",
        };
        let summary = format!("{what} within its start-timeout of {limit}");
        let failure = Failure { summary, backtrace: None, exit_code: None };
        log_events::failed(&record.plan.name, &failure);
        // A pool has counted those of its instances that failed.
        let alone = record.stats.as_ref().filter(|_| !record.is(|kind| kind.is_pooled));
        alone.into_iter().for_each(|stats| stats.instance_failed());
        record.failure = Some(failure.clone());
        self.note_failure(id, failure.summary);
    }
}
