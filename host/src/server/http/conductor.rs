//! The life of one component of kind `http`: its first instance, those that follow, and how all of them end.
//!
//! Invariant: the supervisor hears that the component has started when its first instance takes requests, and that
//! it has ended, once, when nothing of it is left: no instance, no connection, no thread. The order of a stop is:
//! notice to the guests, listeners closed, idle connections closed, requests answered, hooks, end.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use tokio::time::{Sleep, sleep};

use super::component::{Component, Ears};
use super::driver::End;
use super::group::{Group, Stage};
use super::instance::{Instance, Why};
use super::lane::{LaneEvent, LaneOrder, LaneParts};
use super::ticker::Ticker;
use crate::plan::HookTiming;
use crate::runtime::{Failure, InstanceEvent, Link, Notice, Stdio};
use crate::teardown::Outcome;

/// How long connections may take to send what is left to say when their component was cut off.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Makes the streams of one instance, and what is done with them when it has ended.
pub type MakeStdio = Box<dyn Fn() -> (Stdio, Box<dyn FnOnce() + Send>) + Send>;

/// How far a component is. The order is the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Starting,
    Serving,
    Draining,
    Cut,
}

/// See the module's documentation.
pub struct Conductor {
    pub(super) component: Arc<Component>,
    pub(super) groups: Vec<Arc<Group>>,
    pub(super) link: Arc<Link>,
    pub(super) make_stdio: MakeStdio,
    pub(super) ticker: Arc<Ticker>,
    instances: BTreeMap<usize, Arc<Instance>>,
    serial: u32,
    progress: Progress,
    notice: Option<Notice>,
    half: Option<Pin<Box<Sleep>>>,
    last_words: Option<Pin<Box<Sleep>>>,
    disconnected: bool,
    /// Whether its connections have had their time for last words.
    said_all: bool,
    gone: usize,
    failed_to_start: bool,
    hook_failed: bool,
    cut_off: bool,
    leaked: bool,
}

impl Conductor {
    /// Returns a conductor that has done nothing yet.
    pub fn new(
        component: Arc<Component>,
        groups: Vec<Arc<Group>>,
        link: Arc<Link>,
        make_stdio: MakeStdio,
        ticker: Arc<Ticker>,
    ) -> Self {
        Self {
            component,
            groups,
            link,
            make_stdio,
            ticker,
            instances: BTreeMap::new(),
            serial: 0,
            progress: Progress::Starting,
            notice: None,
            half: None,
            last_words: None,
            disconnected: false,
            said_all: false,
            gone: 0,
            failed_to_start: false,
            hook_failed: false,
            cut_off: false,
            leaked: false,
        }
    }

    /// Conducts the component from its start to its end.
    pub async fn conduct(mut self, parts: LaneParts, ears: Ears) {
        let (mut starts, mut events) = ears;
        self.component.equip(parts);
        self.component.pool.want(0);
        let mut winding = false;
        while !self.is_over() {
            let (link, component) = (self.link.clone(), self.component.clone());
            let draining = self.progress >= Progress::Draining;
            tokio::select! {
                biased;
                () = link.must_drop(), if self.progress < Progress::Cut => self.cut(),
                notice = link.asked(), if !draining => self.drain(notice),
                () = link.winding_down(), if !winding && !draining => {
                    winding = true;
                    self.groups.iter().for_each(|group| group.raise(Stage::Delay));
                }
                Some(event) = events.recv() => self.hear(event),
                Some(slot) = starts.recv() => self.start(slot),
                Some(()) = OptionFuture::from(self.half.as_mut()) => {
                    self.half = None;
                    self.component.pool.call_hooks_now();
                }
                Some(()) = OptionFuture::from(self.last_words.as_mut()) => {
                    self.last_words = None;
                    self.groups.iter().for_each(|group| group.member_over());
                    self.said_all = true;
                }
                () = component.no_clients(), if draining && !self.disconnected => {
                    self.disconnected = true;
                    self.link.tell(InstanceEvent::Drained);
                }
            }
        }
        if !self.said_all {
            self.groups.iter().for_each(|group| group.member_over());
        }
        let lanes = self.component.dismiss_lanes();
        // Threads that still serve connections for others end with those.
        let waits = !self.groups.iter().any(|group| group.is_shared());
        while waits && self.gone < lanes {
            let Some(event) = events.recv().await else { break };
            self.hear(event);
        }
        self.link.tell(InstanceEvent::Ended(self.outcome()));
    }

    fn is_over(&self) -> bool {
        let is_shared = || self.groups.iter().any(|group| group.is_shared());
        let disconnected = self.disconnected || (self.said_all && is_shared());
        self.progress >= Progress::Draining && disconnected && self.instances.is_empty()
    }

    fn start(&mut self, slot: usize) {
        if self.progress == Progress::Cut {
            self.component.pool.not_started(slot);
            return;
        }
        self.serial += 1;
        let (number, events, parent) = (self.serial, self.component.ears(), self.link.clone());
        let tell = move |event| match event {
            InstanceEvent::Entered => {
                // Without a conductor nobody wants to know.
                let _unheard = events.send(LaneEvent::Up(slot));
            }
            event @ (InstanceEvent::HookStarted | InstanceEvent::HookEnded(_)) => {
                parent.tell(InstanceEvent::InPool(number, Box::new(event)));
            }
            InstanceEvent::Ready => parent.set_ready(),
            InstanceEvent::StopRequested => parent.request_stop(),
            event => parent.tell(event),
        };
        let link = Link::child(&self.link, Box::new(tell));
        if let Some(notice) = &self.notice {
            link.ask(notice.clone(), Duration::MAX);
        }
        let (turn, is_async) = (self.ticker.turn(), self.component.loaded.run.is_async);
        let instance = Instance::new(number, slot, link, turn, is_async, &self.component.pool);
        self.component.stats.instance_started();
        self.instances.insert(slot, instance.clone());
        let (stdio, finish) = (self.make_stdio)();
        let order = LaneOrder::Start(instance.clone(), stdio, finish);
        if let Err(error) = self.component.order(slot, order) {
            let summary = format!("no thread for it: {error}");
            let failure = Some(Failure { summary, backtrace: None, exit_code: None });
            self.ended(slot, &instance, End { outcome: Outcome::Failed, failure });
        }
    }

    fn hear(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::Up(slot) => self.up(slot),
            LaneEvent::Ended(slot, instance, end) => self.ended(slot, &instance, end),
            LaneEvent::Gone { slot, leaked, died } => {
                self.gone += 1;
                self.leaked |= leaked;
                if died {
                    self.link.tell(InstanceEvent::HostBug);
                    self.instances.remove(&slot);
                    self.component.pool.ended(slot);
                }
            }
        }
    }

    fn up(&mut self, slot: usize) {
        if let Some(instance) = self.instances.get(&slot) {
            let event = InstanceEvent::InPool(instance.number, Box::new(InstanceEvent::Entered));
            self.link.tell(event);
        }
        if self.progress == Progress::Starting && self.link.enter() {
            self.progress = Progress::Serving;
            self.groups.iter().for_each(|group| group.member_ready());
        }
    }

    fn ended(&mut self, slot: usize, instance: &Arc<Instance>, end: End) {
        self.instances.remove(&slot);
        let number = instance.number;
        let draining = self.progress >= Progress::Draining;
        match (end.outcome, end.failure) {
            (Outcome::Failed, Some(failure)) if self.progress == Progress::Starting => {
                self.failed_to_start = true;
                self.component.stats.instance_failed();
                self.link.tell(InstanceEvent::Failed(failure));
                self.end_without_start();
            }
            (Outcome::Failed, failure) => {
                self.component.stats.instance_failed();
                let failure = failure.unwrap_or_else(unknown);
                self.link.tell(InstanceEvent::InPool(number, Box::new(InstanceEvent::Failed(failure))));
            }
            (Outcome::HookFailed, _) => self.hook_failed |= draining,
            (Outcome::CutOff | Outcome::Leaked, _) => self.cut_off |= draining,
            _ => {}
        }
        let why = instance.why().map_or("failed", Why::word);
        let event = InstanceEvent::Down { why, requests: instance.taken(), outcome: end.outcome };
        self.link.tell(InstanceEvent::InPool(number, Box::new(event)));
        match instance.is_open() {
            true => self.component.pool.ended(slot),
            false => self.component.pool.not_started(slot),
        }
        // The next one is there before its first request, unless nobody needs it: one that fails by itself, without
        // a request, would fail for ever.
        let replace = instance.taken() > 0 && instance.why().is_none_or(|why| why != Why::Idle);
        if self.progress == Progress::Serving && replace {
            self.component.pool.want(slot);
        }
    }

    /// Ends a component that never served.
    fn end_without_start(&mut self) {
        self.progress = Progress::Draining;
        self.component.pool.call_hooks_now();
        for group in &self.groups {
            // Nobody else on the address has to wait for it.
            group.member_ready();
            group.member_asked();
        }
    }

    fn drain(&mut self, notice: Notice) {
        self.progress = Progress::Draining;
        for instance in self.instances.values() {
            instance.link.ask(notice.clone(), Duration::MAX);
        }
        if self.component.loaded.run.is_async && self.component.loaded.timing == HookTiming::AfterDrain {
            self.half = Some(Box::pin(sleep(notice.grace / 2)));
        }
        self.notice = Some(notice);
        self.groups.iter().for_each(|group| group.member_asked());
    }

    /// Cuts off whatever is left, or gives up what has not started.
    fn cut(&mut self) {
        if self.progress < Progress::Draining {
            self.end_without_start();
        }
        self.progress = Progress::Cut;
        self.cut_off |= self.component.stats.in_flight() > 0;
        self.component.stats.note_cut();
        for instance in self.instances.values() {
            instance.link.cut();
        }
        self.half = None;
        self.last_words = Some(Box::pin(sleep(LAST_WORDS)));
    }

    fn outcome(&self) -> Outcome {
        if self.failed_to_start {
            Outcome::Failed
        } else if self.link.is_abandoned() {
            Outcome::NotStarted
        } else if self.leaked && self.cut_off {
            Outcome::Leaked
        } else if self.cut_off {
            Outcome::CutOff
        } else if self.hook_failed {
            Outcome::HookFailed
        } else {
            Outcome::Stopped
        }
    }
}

fn unknown() -> Failure {
    Failure { summary: "failed".to_owned(), backtrace: None, exit_code: None }
}
