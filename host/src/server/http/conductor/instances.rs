//! The instances of a component: how one is started, what is told of it, what follows its end.
//!
//! Invariant: one slot has one instance; each that was started is told as ended, once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Conductor, Progress};
use crate::runtime::{Failure, InstanceEvent, Link};
use crate::server::http::driver::End;
use crate::server::http::instance::{Instance, Why};
use crate::server::http::lane::{LaneEvent, LaneOrder, Start};
use crate::teardown::Outcome;

impl Conductor {
    /// Starts an instance, or notes that it has to wait.
    pub(super) fn start(&mut self, slot: usize) {
        if self.progress == Progress::Cut {
            self.component.pool.not_started(slot);
            return;
        }
        if self.hold.keeps(slot) {
            return;
        }
        self.serial += 1;
        let (number, events, parent) = (self.serial, self.tell.clone(), self.link.clone());
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
            link.orders.ask(notice.clone(), Duration::MAX);
        }
        let (turn, is_async) = (self.ticker.turn(), self.component.loaded.run.is_async);
        let instance = Instance::new(number, slot, link, turn, is_async, &self.component.pool);
        self.component.stats.instance_started();
        self.instances.insert(slot, instance.clone());
        self.count_instances();
        let (stdio, finish) = (self.make_stdio)();
        let (parts, tell) = (self.parts.clone(), self.tell.clone());
        let start = Start { parts, instance: instance.clone(), stdio, finish, tell };
        if let Err(error) = self.component.lanes.order(slot, LaneOrder::Start(Box::new(start))) {
            let summary = format!("no thread for it: {error}");
            let failure = Some(Failure { summary, backtrace: None, exit_code: None });
            self.ended(slot, &instance, End { outcome: Outcome::Failed, failure });
        }
    }

    fn count_instances(&self) {
        self.component.alive.store(self.instances.len(), Ordering::Relaxed);
    }

    pub(super) fn hear(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::Up(slot) => self.up(slot),
            LaneEvent::Ended(slot, instance, end) => self.ended(slot, &instance, end),
            LaneEvent::Died(slot) => {
                self.link.tell(InstanceEvent::HostBug);
                self.instances.remove(&slot);
                self.count_instances();
                self.component.pool.ended(slot);
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
            self.component.standing.set_ready();
            self.own_groups().for_each(|group| group.look());
        }
    }

    fn ended(&mut self, slot: usize, instance: &Arc<Instance>, end: End) {
        self.instances.remove(&slot);
        self.count_instances();
        let number = instance.number;
        let draining = self.progress >= Progress::Draining;
        let failed = end.outcome == Outcome::Failed;
        match end.outcome {
            Outcome::Failed => self.failed(number, end.failure.unwrap_or_else(unknown)),
            Outcome::HookFailed => self.hook_failed |= draining,
            Outcome::CutOff | Outcome::Leaked => self.cut_off |= draining,
            _ => {}
        }
        let why = instance.why().map_or("failed", Why::word);
        let event = InstanceEvent::Down { why, requests: instance.taken(), outcome: end.outcome };
        self.link.tell(InstanceEvent::InPool(number, Box::new(event)));
        let pool = &self.component.pool;
        // Who waits while nobody can be started waits on: there will be another, or the app stops.
        match instance.is_open() || self.hold.holds() {
            true => pool.ended(slot),
            false => pool.not_started(slot),
        }
        // The next one is there before its first request, unless nobody needs it: one that fails by itself, without
        // a request, would fail for ever.
        let replace = instance.taken() > 0 && instance.why().is_none_or(|why| why != Why::Idle);
        let first = failed && self.progress == Progress::Starting;
        if first || (self.progress == Progress::Serving && replace) {
            pool.want(slot);
        }
    }

    fn failed(&mut self, number: u32, failure: Failure) {
        self.component.stats.instance_failed();
        if self.progress == Progress::Starting && !self.hold.is_used() {
            self.failed_to_start = true;
            self.link.tell(InstanceEvent::Failed(failure));
            self.end_without_start();
            return;
        }
        if self.progress < Progress::Draining {
            // Before it is told: the answer to it is the one that counts.
            self.hold.begin();
        }
        self.link.tell(InstanceEvent::InPool(number, Box::new(InstanceEvent::Failed(failure))));
    }
}

fn unknown() -> Failure {
    Failure { summary: "failed".to_owned(), backtrace: None, exit_code: None }
}
