//! The start of the app: components are loaded, addresses bound, then each component starts when the machine says so.

use std::sync::Arc;

use tracing::{error, warn};

use super::app::AppError;
use super::event_loop::{EventLoop, generation_policy};
use super::generation_record::RunRecord;
use super::inbox::Message;
use crate::output::{Channel, GUEST_QUOTA, GuestStream, LogFormat, Progress, Source};
use crate::runtime::{Failure, Known, Link, Loaded, MakeStdio, Stdio, load_all, memory_warning};
use crate::server::{AccessLog, IncomingGeneration, ServerParts, Servers, StartParts};
use crate::teardown::{Event, GenerationId, Level, Phase};
use crate::text::units::format_duration;

/// Returns the maker of the streams of a component's instances. The streams share the component's quota.
fn stdio_maker(name: String, sources: [Source; 2], passthrough: bool, format: LogFormat) -> MakeStdio {
    Arc::new(move || {
        let [stdout, stderr] = sources.clone();
        let (stdout, stderr) = match (passthrough, format) {
            (true, LogFormat::Text) => (GuestStream::passthrough(stdout), GuestStream::passthrough(stderr)),
            (true, LogFormat::Json) => {
                (GuestStream::passthrough(stdout), GuestStream::records(stderr, &name))
            }
            (false, LogFormat::Text) => {
                (GuestStream::prefixed(stdout, &name), GuestStream::prefixed(stderr, &name))
            }
            (false, LogFormat::Json) => {
                (GuestStream::prefixed(stdout, &name), GuestStream::records(stderr, &name))
            }
        };
        let stdio = Stdio { stdout: Box::new(stdout.clone()), stderr: Box::new(stderr.clone()) };
        let finish = move || {
            stdout.finish();
            stderr.finish();
        };
        (stdio, Box::new(finish))
    })
}

impl EventLoop {
    pub(super) fn load(&mut self) -> Result<(), AppError> {
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Load(event)));
        let total = self.plan.components.len() as u64;
        let terminal = self.options.output.is_terminal(Channel::Stderr);
        let progress = Progress::new(&self.options.output, total, terminal);
        let loading = load_all(&self.runtime, &self.plan, Known::new(), tell);
        let loading = loading.map_err(|cause| AppError::System { what: "start a thread", cause })?;
        self.startup = Some((progress, loading));
        Ok(())
    }

    /// Takes the loaded components and lets them start. Fails, with nothing started, when an address cannot be had.
    pub(super) fn loaded(&mut self, loaded: Vec<Arc<Loaded>>) -> Result<(), AppError> {
        self.startup = None;
        for (component, loaded) in self.plan.components.iter().zip(loaded) {
            let Some(id) = self.registry.id_of(&component.name) else { continue };
            let policy = generation_policy(component, Some(&loaded), &self.registry.current);
            self.machine.set_policy(id, policy);
            if let Some(record) = self.registry.get_mut(id) {
                record.loaded = Some(loaded);
            }
        }
        let components =
            self.registry.iter().filter_map(|(_, record)| Some((&*record.plan, record.loaded.as_deref()?)));
        if let Some(warning) = memory_warning(&self.plan.app, components) {
            warn!("{warning}");
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
        self.registry.set_stats(&servers);
        self.servers = Some(servers);
        Ok(())
    }

    pub(super) fn one_loaded(&self, component: usize) {
        if let (Some((progress, _)), Some(component)) = (&self.startup, self.plan.components.get(component)) {
            progress.step(&component.name);
        }
    }

    /// Starts a generation, or starts it again.
    pub(super) fn start(&mut self, id: GenerationId) {
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Instance(id, event)));
        let link = Link::new(self.runtime.clock().clone(), tell);
        let source = |channel| self.options.output.source(channel, GUEST_QUOTA);
        let format = self.options.output.log_format();
        let Some(record) = self.registry.get_mut(id) else { return };
        record.run = RunRecord { started: Some(self.now), link: Some(link.clone()), ..RunRecord::default() };
        let new = || [Channel::Stdout, Channel::Stderr].map(source);
        let sources = record.sources.get_or_insert_with(new).clone();
        let make_stdio = stdio_maker(record.plan.name.clone(), sources, self.plan.passthrough, format);
        let grace = record.plan.grace.unwrap_or(self.plan.app.grace);
        if let Some(servers) = self.servers.as_mut() {
            servers.start(id, StartParts { link, make_stdio, grace });
        }
    }

    /// Reports that a component does not start, because one that it comes after was never ready or is out of service.
    pub(super) fn cannot_start(&mut self, id: GenerationId) {
        let Some(record) = self.registry.get(id) else { return };
        let lost = |name: &&String| {
            let id = self.registry.id_of(name);
            let is_lost = |id| self.machine.phase(id) == Phase::Ended && !self.machine.is_ready(id);
            id.is_none_or(|id| is_lost(id) || self.machine.is_out_of_service(id))
        };
        let lost: Vec<_> = record.plan.after.iter().filter(lost).map(String::as_str).collect();
        let names = lost.join(", ");
        let why =
            format!("it comes after {names}, which is out of service, or has ended and was never ready");
        error!(component = record.plan.name, why, "component cannot start");
        self.note_failure(id, why.clone());
        if let Some(record) = self.registry.get_mut(id) {
            record.run.lost = Some(Failure { summary: why, ..Failure::default() });
        }
    }

    /// Reports that a component was not ready within its `start-timeout`.
    pub(super) fn fail_start(&mut self, id: GenerationId) {
        let Some(record) = self.registry.get_mut(id) else { return };
        let has_entered = record.run.link.as_ref().is_some_and(|link| link.orders.has_entered());
        let entered = self.machine.phase(id) > Phase::Starting && has_entered;
        let what = match record.kind() {
            Some(kind) if !entered => kind.words.not_started,
            _ => "it did not say that it is ready (`ready` of `curfew:lifecycle/host`)",
        };
        let limit = format_duration(record.plan.start_timeout);
        let summary = format!("{what} within its start-timeout of {limit}");
        let failure = Failure { summary, ..Failure::default() };
        error!(component = record.plan.name, error = %failure, "failed");
        // A pool has counted those of its instances that failed.
        let alone = record.stats.as_ref().filter(|_| !record.is_pooled());
        alone.into_iter().for_each(|stats| stats.instance_failed());
        record.run.failure = Some(failure.clone());
        self.note_failure(id, failure.summary);
    }
}
