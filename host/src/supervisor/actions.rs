//! Does what the machine says: the hands of the control thread. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use super::event_loop::EventLoop;
use super::generation_record::{GenerationRecord, finisher, millis};
use super::inbox::Message;
use super::log_events;
use super::policies::is_pooled;
use super::report::{ComponentReport, Report};
use crate::output::{Channel, GUEST_QUOTA, GuestStream, Progress, Source};
use crate::runtime::{Failure, InstanceEvent, Known, Link, Loaded, Notice, NoticeCause, Stdio, load_all};
use crate::server::http::{AccessLog, FreshComponent, Front, MakeStdio};
use crate::server::{self, Spawned};
use crate::teardown::{Action, Cause, Event, ExitCode, GenerationId, Level, Outcome, Phase, Requester};
use crate::text::units::format_duration;

/// Returns what makes the streams of a component's instances: they share its quota.
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
        self.progress = Some(Progress::new(&self.options.output, total, terminal));
        let loading = load_all(&self.runtime, &self.plan, Known::new(), tell);
        self.loading = Some(loading.map_err(|cause| AppError::System { what: "start a thread", cause })?);
        Ok(())
    }

    /// Takes what was loaded and lets the components start.
    ///
    /// # Errors
    /// When an address cannot be had; nothing has started then.
    pub(super) fn loaded(&mut self, loaded: Vec<Arc<Loaded>>) -> Result<(), AppError> {
        self.end_loading();
        let names: Vec<_> = self.plan.components.iter().map(|component| component.name.clone()).collect();
        for (name, loaded) in names.iter().zip(loaded) {
            let id = self.registry.id_of(name);
            if let Some(record) = id.and_then(|id| self.registry.get_mut(id)) {
                record.loaded = Some(loaded);
            }
        }
        if self.machine.level() == Level::Running {
            self.open_front()?;
        }
        self.feed(Event::Loaded);
        Ok(())
    }

    fn open_front(&mut self) -> Result<(), AppError> {
        let source = self.options.output.source(Channel::Stdout, GUEST_QUOTA);
        let access = AccessLog::new(self.plan.app.access_log, source);
        let inbox = self.inbox.clone();
        let died = Box::new(move || inbox.send(Message::HostBug("the thread that accepts connections")));
        let mut front = Front::new(self.runtime.clone(), access, died);
        let pooled = self.registry.iter().filter(|(_, record)| is_pooled(&record.plan));
        let fresh = pooled.filter_map(|(id, record)| {
            Some(FreshComponent { id, plan: record.plan.clone(), loaded: record.loaded.clone()? })
        });
        let fresh: Vec<_> = fresh.collect();
        let ids: Vec<_> = fresh.iter().map(|fresh| fresh.id).collect();
        front.prepare(fresh, &[])?;
        front.switch();
        for id in ids {
            if let Some(record) = self.registry.get_mut(id) {
                record.stats = front.stats(id);
            }
        }
        self.front = Some(front);
        Ok(())
    }

    fn end_loading(&mut self) {
        self.loading = None;
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }

    /// Does one thing that the machine says.
    pub(super) fn perform(&mut self, now: Duration, action: Action) {
        match action {
            Action::Start(id) => self.start(id),
            Action::FailStart(id) => self.fail_start(id),
            Action::Abandon(id) => {
                self.with_link(id, |link| link.abandon());
                self.runtime.bump();
            }
            Action::Raise(level) => self.raised(now, level),
            Action::Ask { id, cause, deadline } => self.ask(now, id, cause, deadline),
            Action::Cut(id) => {
                self.with_link(id, |link| link.cut());
                self.runtime.bump();
                log_events::cut_off(&self.name(id));
            }
            Action::Restart { id, pause } => self.restart(id, pause),
            Action::GiveUp(id) => {
                log_events::gave_up(&self.name(id), self.machine.restarts(id));
            }
            Action::CannotStart(id) => self.cannot_start(id),
            Action::Renew(id) => self.renew(id, Cause::Failure(id), None),
            Action::Prepare => self.prepare_reload(),
            Action::Switch => self.switch(),
            Action::RollBack(because) => self.roll_back(because),
            Action::Forget(id) => self.forget(id),
            Action::NoteSignal(signal) => {
                let end = self.machine.deadlines().map_or(now, |deadlines| deadlines.end);
                log_events::noted(signal, end.saturating_sub(now));
            }
            Action::RefuseReload => log_events::no_reload(),
            Action::PrintStatus => self.print_status(now),
            Action::Leave(code) => {
                self.end_loading();
                if let Some(front) = &self.front {
                    front.leave();
                }
                self.left = Some(code);
            }
        }
    }

    fn raised(&mut self, now: Duration, level: Level) {
        let cause = self.cause().map(|cause| cause.to_string()).unwrap_or_default();
        log_events::raised(level, &cause, self.machine.deadlines(), now);
        if level == Level::Delay {
            self.registry.iter().filter_map(|(_, record)| record.link.as_deref()).for_each(Link::wind_down);
        }
        self.tell_deadlines();
    }

    /// Tells those who were asked before that the app's end has moved closer to them.
    fn tell_deadlines(&self) {
        for (id, record) in self.registry.iter() {
            if let (Some(link), Some(deadline)) = (&record.link, self.machine.deadline(id)) {
                link.set_deadline(deadline);
            }
        }
    }

    fn with_link(&self, id: GenerationId, order: impl FnOnce(&Link)) {
        if let Some(link) = self.registry.get(id).and_then(|record| record.link.as_deref()) {
            order(link);
        }
    }

    fn restart(&mut self, id: GenerationId, pause: Duration) {
        let (name, why) = (self.name(id), self.why_failed(id));
        if let Some((record, counters)) = self.registry.with_counters(id) {
            counters.restarts += 1;
            let why = if record.failure.is_none() && record.lost.is_none() { "it has ended" } else { &why };
            log_events::restarts(&name, counters.restarts, pause, why);
        }
        self.with_link(id, |link| link.restart_after(pause));
    }

    fn forget(&mut self, id: GenerationId) {
        self.never_ready(id, "it was replaced, or taken back, before it was ready");
        self.now_ended(id, "it was replaced");
        if let Some(front) = self.front.as_mut() {
            front.forget(id);
        }
        self.registry.forget(id);
    }

    fn start(&mut self, id: GenerationId) {
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Instance(id, event)));
        let link = Link::new(self.runtime.clock().clone(), tell);
        let source = |channel| self.options.output.source(channel, GUEST_QUOTA);
        let Some(record) = self.registry.get_mut(id) else { return };
        let Some(loaded) = record.loaded.clone() else { return };
        record.begins(self.now, link.clone());
        let new = || [source(Channel::Stdout), source(Channel::Stderr)];
        let sources = record.sources.get_or_insert_with(new).clone();
        let plan = record.plan.clone();
        let make_stdio = stdio_maker(plan.name.clone(), sources, self.plan.passthrough);
        if let Some(front) = self.front.as_ref().filter(|_| is_pooled(&plan)) {
            let grace = plan.grace.unwrap_or(self.plan.app.grace);
            return front.start(id, link, make_stdio, grace);
        }
        if let Some((_, counters)) = self.registry.with_counters(id) {
            counters.started += 1;
        }
        let (stdio, finish) = make_stdio();
        let spawned = Spawned { loaded, plan, link: link.clone() };
        if let Err(error) = server::spawn(self.runtime.clone(), spawned, stdio, finish) {
            let summary = format!("no thread for it: {error}");
            link.tell(InstanceEvent::Failed(Failure { summary, backtrace: None, exit_code: None }));
            link.tell(InstanceEvent::Ended(Outcome::Failed));
        }
    }

    fn cannot_start(&mut self, id: GenerationId) {
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

    fn fail_start(&mut self, id: GenerationId) {
        let entered = self.machine.phase(id) > Phase::Starting
            && self.registry.get(id).is_some_and(GenerationRecord::has_entered);
        let Some((record, counters)) = self.registry.with_counters(id) else { return };
        let limit = format_duration(record.plan.start_timeout);
        let what = match (record.stats.is_some(), entered) {
            (_, true) => "it did not say that it is ready (`ready` of `curfew:lifecycle/host`)",
            (true, false) => "it took no requests",
            (false, false) => "its `run` was not entered",
        };
        let summary = format!("{what} within its start-timeout of {limit}");
        let failure = Failure { summary, backtrace: None, exit_code: None };
        log_events::failed(&record.plan.name, &failure);
        counters.traps += u64::from(record.stats.is_none());
        record.failure = Some(failure.clone());
        self.note_failure(id, failure.summary);
    }

    fn ask(&mut self, now: Duration, id: GenerationId, cause: Cause, deadline: Duration) {
        let grace = deadline.saturating_sub(now);
        let cause = match cause {
            Cause::Signal(signal) => NoticeCause::Signal(signal.name().to_owned()),
            Cause::Failure(id) => NoticeCause::Failure(self.name(id)),
            Cause::Finished(id) => NoticeCause::Finished(self.name(id)),
            Cause::Request(Requester::Operator) => NoticeCause::Request("operator".to_owned()),
            Cause::Request(Requester::Component(id)) => NoticeCause::Request(self.name(id)),
            Cause::Reload => NoticeCause::Reload,
            Cause::HostBug(_) => NoticeCause::Failure("curfew".to_owned()),
        };
        log_events::asked(&self.name(id), grace);
        if let Some(record) = self.registry.get_mut(id) {
            record.asked = Some(now);
            record.in_flight_asked = Some(record.in_flight());
        }
        self.with_link(id, |link| link.ask(Notice { cause, grace }, deadline));
    }

    fn print_status(&self, now: Duration) {
        log_events::status_app(self.machine.level(), self.machine.deadlines(), now);
        for (id, record) in self.registry.iter() {
            let status = record.link.as_ref().map(|link| link.status()).unwrap_or_default();
            let asked = self.machine.phase(id) >= Phase::Asked;
            let left =
                self.machine.deadline(id).filter(|_| asked).map(|deadline| deadline.saturating_sub(now));
            let doing = record.doing(self.machine.phase(id));
            let requests = record.stats.as_ref().map(|stats| stats.in_flight());
            log_events::status(&record.plan.name, doing, requests, record.hook_time(now), left, &status);
        }
    }

    /// Returns the report of the app as it is now.
    pub(super) fn report(&self) -> Report {
        let now = self.now;
        let names = self.plan.components.iter().map(|component| component.name.as_str());
        let components =
            self.registry.in_order(names).into_iter().map(|(id, record)| self.report_of(id, record));
        Report {
            app: self.plan.app.name.clone(),
            cause: self.cause(),
            exit_code: self.final_code().0,
            duration_ms: millis(now),
            stop_ms: self.stop_began.map(|began| millis(now.saturating_sub(began))),
            components: components.collect(),
        }
    }

    /// Returns one generation's part of it.
    pub(super) fn report_of(&self, id: GenerationId, record: &GenerationRecord) -> ComponentReport {
        let name = &record.plan.name;
        ComponentReport {
            replaced: self.registry.id_of(name) != Some(id),
            restarts: self.registry.counters(name).map_or(0, |counters| counters.restarts),
            ..record.report(self.machine.outcome(id), self.now)
        }
    }

    /// Returns the exit code. A single bare file that failed by its own exit status passes that on, as users
    /// of `wasmtime run` expect.
    fn final_code(&self) -> ExitCode {
        let code = self.left.unwrap_or_else(|| self.machine.exit_code());
        let own = self.registry.iter().next().and_then(|(_, record)| record.failure.as_ref()?.exit_code);
        match own {
            Some(own) if self.plan.passthrough && code == ExitCode::FAILED => ExitCode(own),
            _ => code,
        }
    }
}
