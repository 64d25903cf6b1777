//! Does what the machine says: the hands of the control thread. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use super::board::{finisher, millis};
use super::control::Control;
use super::inbox::Message;
use super::narrate;
use super::report::{CauseReport, Report};
use crate::output::{Channel, GUEST_QUOTA, GuestStream, Progress, Source};
use crate::plan::units::format_duration;
use crate::runtime::{Failure, InstanceEvent, Kind, Link, Loaded, Notice, NoticeCause, Stdio, load_all};
use crate::server::http::{AccessLog, FreshComponent, Front, MakeStdio};
use crate::server::{self, Spawned};
use crate::teardown::{Action, Cause, ComponentId, Event, ExitCode, Level, Outcome, Requester};

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

impl Control {
    /// Begins to load all components.
    pub(super) fn load(&mut self) -> Result<(), AppError> {
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Load(event)));
        let total = u64::try_from(self.components.len()).unwrap_or(u64::MAX);
        let terminal = self.options.output.is_terminal(Channel::Stderr);
        self.progress = Some(Progress::new(&self.options.output, total, terminal));
        let loading = load_all(&self.runtime, &self.plan, tell);
        self.loading = Some(loading.map_err(|cause| AppError::System { what: "start a thread", cause })?);
        Ok(())
    }

    /// Takes what was loaded and lets the components start.
    ///
    /// # Errors
    /// When an address cannot be had; nothing has started then.
    pub(super) fn loaded(&mut self, loaded: Vec<Arc<Loaded>>) -> Result<(), AppError> {
        self.end_loading();
        if self.machine.level() == Level::Running {
            self.bind(&loaded)?;
        }
        for (at, (record, loaded)) in self.records.iter_mut().zip(loaded).enumerate() {
            record.stats = self.front.as_ref().and_then(|front| front.stats(ComponentId(at)));
            record.loaded = Some(loaded);
        }
        self.feed(Event::Loaded);
        Ok(())
    }

    fn bind(&mut self, loaded: &[Arc<Loaded>]) -> Result<(), AppError> {
        let all = self.components.iter().zip(loaded).enumerate();
        let fresh = all.filter(|(_, (_, loaded))| loaded.kind == Kind::Http).map(|(at, (plan, loaded))| {
            FreshComponent { id: ComponentId(at), plan: plan.clone(), loaded: loaded.clone() }
        });
        let source = self.options.output.source(Channel::Stdout, GUEST_QUOTA);
        let inbox = self.inbox.clone();
        let died = move || inbox.send(Message::HostBug("the thread that accepts connections"));
        let access = AccessLog::new(self.plan.app.access_log, source);
        let mut front = Front::new(self.runtime.clone(), access, Box::new(died));
        front.prepare(fresh.collect(), &[])?;
        front.switch();
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
            Action::Raise(level) => {
                let cause = self.cause().map(|cause| cause.to_string()).unwrap_or_default();
                narrate::raised(level, &cause, self.machine.deadlines(), now);
                if level == Level::Delay {
                    self.records.iter().filter_map(|record| record.link.as_deref()).for_each(Link::wind_down);
                }
                self.tell_deadlines();
            }
            Action::Ask { id, cause, deadline } => self.ask(now, id, cause, deadline),
            Action::Cut(id) => {
                self.with_link(id, |link| link.cut());
                self.runtime.bump();
                narrate::cut_off(&self.name(id));
            }
            Action::NoteSignal(signal) => {
                let end = self.machine.deadlines().map_or(now, |deadlines| deadlines.end);
                narrate::noted(signal, end.saturating_sub(now));
            }
            Action::RefuseReload => narrate::no_reload(),
            Action::PrintStatus => self.print_status(now),
            Action::Leave(code) => {
                self.end_loading();
                self.left = Some(code);
            }
        }
    }

    /// Tells those who were asked before that the app's end has moved closer to them.
    fn tell_deadlines(&self) {
        for (at, record) in self.records.iter().enumerate() {
            if let (Some(link), Some(deadline)) = (&record.link, self.machine.deadline(ComponentId(at))) {
                link.set_deadline(deadline);
            }
        }
    }

    fn with_link(&self, id: ComponentId, order: impl FnOnce(&Link)) {
        if let Some(link) = self.records.get(id.0).and_then(|record| record.link.as_deref()) {
            order(link);
        }
    }

    fn start(&mut self, id: ComponentId) {
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Instance(id, event)));
        let link = Link::new(self.runtime.clock().clone(), tell);
        let (Some(plan), Some(record)) = (self.components.get(id.0), self.records.get_mut(id.0)) else {
            return;
        };
        let Some(loaded) = record.loaded.clone() else {
            return;
        };
        record.link = Some(link.clone());
        let source = |channel| self.options.output.source(channel, GUEST_QUOTA);
        let sources = [source(Channel::Stdout), source(Channel::Stderr)];
        record.sources = sources.clone().into();
        let make_stdio = stdio_maker(plan.name.clone(), sources, self.plan.passthrough);
        if let Some(front) = self.front.as_ref().filter(|_| loaded.kind == Kind::Http) {
            let grace = plan.grace.unwrap_or(self.plan.app.grace);
            front.start(id, link, make_stdio, grace);
            return;
        }
        let (stdio, finish) = make_stdio();
        let spawned = Spawned { loaded, plan: plan.clone(), link: link.clone() };
        if let Err(error) = server::spawn(self.runtime.clone(), spawned, stdio, finish) {
            let summary = format!("no thread for it: {error}");
            link.tell(InstanceEvent::Failed(Failure { summary, backtrace: None, exit_code: None }));
            link.tell(InstanceEvent::Ended(Outcome::Failed));
        }
    }

    fn fail_start(&mut self, id: ComponentId) {
        let (Some(plan), Some(record)) = (self.components.get(id.0), self.records.get_mut(id.0)) else {
            return;
        };
        let limit = format_duration(plan.start_timeout);
        let what = match record.stats {
            Some(_) => "it took no requests",
            None => "its `run` was not entered",
        };
        let summary = format!("{what} within its start-timeout of {limit}");
        let failure = Failure { summary, backtrace: None, exit_code: None };
        narrate::failed(&plan.name, &failure);
        record.failure = Some(failure);
    }

    fn ask(&mut self, now: Duration, id: ComponentId, cause: Cause, deadline: Duration) {
        let grace = deadline.saturating_sub(now);
        let cause = match cause {
            Cause::Signal(signal) => NoticeCause::Signal(signal.name().to_owned()),
            Cause::Failure(id) => NoticeCause::Failure(self.name(id)),
            Cause::Finished(id) => NoticeCause::Finished(self.name(id)),
            Cause::Request(Requester::Operator) => NoticeCause::Request("operator".to_owned()),
            Cause::Request(Requester::Component(id)) => NoticeCause::Request(self.name(id)),
            Cause::HostBug(_) => NoticeCause::Failure("curfew".to_owned()),
        };
        narrate::asked(&self.name(id), grace);
        if let Some(record) = self.records.get_mut(id.0) {
            record.asked = Some(now);
            record.in_flight_asked = Some(record.in_flight());
        }
        self.with_link(id, |link| link.ask(Notice { cause, grace }, deadline));
    }

    fn print_status(&self, now: Duration) {
        narrate::status_app(self.machine.level(), self.machine.deadlines(), now);
        for (at, record) in self.records.iter().enumerate() {
            let id = ComponentId(at);
            let status = record.link.as_ref().map(|link| link.status()).unwrap_or_default();
            let left = self.machine.deadline(id).map(|deadline| deadline.saturating_sub(now));
            let doing = record.doing(self.machine.phase(id));
            let requests = record.stats.as_ref().map(|stats| stats.in_flight());
            narrate::status(&self.name(id), doing, requests, record.hook_time(now), left, &status);
        }
    }

    fn cause(&self) -> Option<CauseReport> {
        self.machine.cause().map(|cause| CauseReport::new(cause, |id| self.name(id)))
    }

    /// Returns the report of the app as it is now.
    pub(super) fn report(&self) -> Report {
        let now = self.now;
        let components = self.records.iter().enumerate().map(|(at, record)| {
            let id = ComponentId(at);
            record.report(&self.name(id), self.machine.outcome(id), now)
        });
        Report {
            app: self.plan.app.name.clone(),
            cause: self.cause(),
            exit_code: self.final_code().0,
            duration_ms: millis(now),
            stop_ms: self.stop_began.map(|began| millis(now.saturating_sub(began))),
            components: components.collect(),
        }
    }

    /// Returns the exit code. A single bare file that failed by its own exit status passes that on, as users
    /// of `wasmtime run` expect.
    fn final_code(&self) -> ExitCode {
        let code = self.left.unwrap_or_else(|| self.machine.exit_code());
        let own = self.records.first().and_then(|record| record.failure.as_ref()?.exit_code);
        match own {
            Some(own) if self.plan.passthrough && code == ExitCode::FAILED => ExitCode(own),
            _ => code,
        }
    }
}
