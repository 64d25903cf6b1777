//! The life of one generation of a component of kind `http`: its first instance, those that follow, and how all of them
//! end. What becomes of single instances is in `instances`, the pause after a failure in `hold`.
//!
//! Invariant: the supervisor hears that the component has started when its first instance takes requests, and that
//! it has ended, once, when nothing of it is left: no instance, no connection, no thread, as far as those are not for
//! others. The order of a stop is: notice to the guests, listeners closed, idle connections closed, requests answered,
//! hooks, end. Who was replaced has no listeners, but requests on connections perhaps; who is asked alone on a shared
//! address leaves both to the others. Each ends with its own requests: whoever is the last on an address that drains, of
//! whatever generation, sees its connections closed.

mod health;
mod hold;
mod instances;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Sleep, sleep};

use health::Health;
use hold::Hold;

use super::component::{Component, Ears};
use super::group::{Group, Stage};
use super::instance::Instance;
use super::lane::{InstanceParts, LaneEvent};
use super::ticker::Ticker;
use crate::plan::HookTiming;
use crate::runtime::{InstanceEvent, Link, Notice, Stdio};
use crate::teardown::Outcome;

/// How long connections may take to send what is left to say when their component was cut off.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long one who was asked to stop waits for the others on its address to be asked, too: those who stop together are
/// asked one after the other, and the address drains like any other then.
const TOGETHER: Duration = Duration::from_millis(10);

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

/// What a conductor is made from.
pub struct ConductorParts {
    /// Whom it conducts.
    pub component: Arc<Component>,
    /// The addresses that are, or will be, the component's.
    pub groups: Vec<Arc<Group>>,
    /// The conversation with the supervisor.
    pub link: Arc<Link>,
    /// The streams of its instances.
    pub make_stdio: MakeStdio,
    /// Who watches for guests that compute for long.
    pub ticker: Arc<Ticker>,
    /// What its instances have in common.
    pub parts: Arc<InstanceParts>,
}

/// See the module's documentation.
pub struct Conductor {
    component: Arc<Component>,
    groups: Vec<Arc<Group>>,
    link: Arc<Link>,
    make_stdio: MakeStdio,
    ticker: Arc<Ticker>,
    parts: Arc<InstanceParts>,
    tell: UnboundedSender<LaneEvent>,
    instances: BTreeMap<usize, Arc<Instance>>,
    serial: u32,
    progress: Progress,
    notice: Option<Notice>,
    hold: Hold,
    health: Health,
    half: Option<Pin<Box<Sleep>>>,
    together: Option<Pin<Box<Sleep>>>,
    last_words: Option<Pin<Box<Sleep>>>,
    /// Whether it leaves addresses to others who serve on.
    alone: bool,
    disconnected: bool,
    /// Whether its connections have had their time for last words.
    said_all: bool,
    failed_to_start: bool,
    hook_failed: bool,
    cut_off: bool,
    leaked: bool,
}

impl Conductor {
    /// Conducts the component from its start to its end.
    pub async fn conduct(parts: ConductorParts, ears: Ears) {
        let Ears { starts, events, tell } = ears;
        let mut conductor = Self::new(parts, tell);
        conductor.lead(starts, events).await;
        conductor.end().await;
    }

    fn new(from: ConductorParts, tell: UnboundedSender<LaneEvent>) -> Self {
        let ConductorParts { component, groups, link, make_stdio, ticker, parts } = from;
        Self {
            hold: Hold::new(link.clone(), component.plan.on_failure),
            health: Health::new(component.plan.health.as_ref(), component.pool.clone()),
            component,
            groups,
            link,
            make_stdio,
            ticker,
            parts,
            tell,
            instances: BTreeMap::new(),
            serial: 0,
            progress: Progress::Starting,
            notice: None,
            half: None,
            together: None,
            last_words: None,
            alone: false,
            disconnected: false,
            said_all: false,
            failed_to_start: false,
            hook_failed: false,
            cut_off: false,
            leaked: false,
        }
    }

    async fn lead(&mut self, mut starts: UnboundedReceiver<usize>, mut events: UnboundedReceiver<LaneEvent>) {
        self.component.pool.want(0);
        let mut winding = false;
        while !self.is_over() {
            let (link, component) = (self.link.clone(), self.component.clone());
            let draining = self.progress >= Progress::Draining;
            let serving = self.progress == Progress::Serving && !self.hold.holds();
            tokio::select! {
                biased;
                () = link.orders.must_drop(), if self.progress < Progress::Cut => self.cut(),
                notice = link.orders.asked(), if !draining => self.drain(notice),
                () = link.orders.winding_down(), if !winding && !draining => {
                    winding = true;
                    self.own_groups().for_each(|group| group.raise(Stage::Delay));
                }
                Some(event) = events.recv() => self.hear(event),
                Some(slot) = starts.recv() => self.start(slot),
                slots = self.hold.over() => slots.into_iter().for_each(|slot| self.start(slot)),
                Some(()) = OptionFuture::from(self.half.as_mut()) => {
                    self.half = None;
                    self.component.pool.call_hooks_now();
                }
                Some(()) = OptionFuture::from(self.together.as_mut()) => {
                    self.together = None;
                    self.alone = true;
                }
                Some(()) = OptionFuture::from(self.last_words.as_mut()) => {
                    self.last_words = None;
                    self.said_all = true;
                    self.set_over();
                }
                what = self.health.failed(), if serving => self.link.tell(InstanceEvent::Unhealthy(what)),
                () = component.rung(), if draining => {}
            }
            self.look();
        }
    }

    /// Draws the conclusions from what its addresses and requests say, once it was asked to stop.
    fn look(&mut self) {
        if self.progress < Progress::Draining {
            return;
        }
        let pool = &self.component.pool;
        if !pool.intake_is_over() && self.intake_is_over() {
            pool.stop();
        }
        if !self.disconnected && pool.intake_is_over() && self.is_disconnected() {
            self.disconnected = true;
            // At once: the next one that looks is the last, and waits for the connections.
            self.set_over();
            self.link.tell(InstanceEvent::Drained);
        }
    }

    /// Returns the addresses on which it is at this moment.
    fn own_groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        let id = self.component.id;
        self.groups.iter().filter(move |group| group.routing().has(id))
    }

    /// Returns the addresses whose connections it may work for: also those on which others have taken over.
    fn served_groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        let id = self.component.id;
        self.groups.iter().filter(move |group| group.concerns(id))
    }

    /// Has no more use for connections.
    fn set_over(&self) {
        self.component.standing.set_over();
        self.groups.iter().for_each(|group| group.look());
    }

    /// Returns whether another generation has taken over, wherever this one served.
    fn has_successor(&self) -> bool {
        let (id, name) = (self.component.id, &self.component.plan.name);
        let mut own = self.groups.iter().filter(|group| group.routing().names_one(name)).peekable();
        own.peek().is_some() && own.all(|group| !group.routing().has(id))
    }

    fn intake_is_over(&self) -> bool {
        let over =
            |group: &Arc<Group>| group.intake_is_over() || (self.alone && group.stage() < Stage::Drain);
        self.own_groups().all(over)
    }

    /// Returns whether its requests are answered; and whether the connections on its addresses are closed, where
    /// those close and nobody else is left to see to that.
    fn is_disconnected(&self) -> bool {
        let closed = |group: &Arc<Group>| {
            let stays = group.stage() < Stage::Drain;
            stays || group.connections() == 0 || !group.all_over(Some(self.component.id))
        };
        self.component.stats.in_flight() == 0 && self.served_groups().all(closed)
    }

    fn is_over(&self) -> bool {
        // Connections that are for others, too, are not closed by force when it was cut off.
        let leaves_some = || {
            let mut served = self.served_groups().peekable();
            served.peek().is_none() || served.any(|group| group.stage() < Stage::Cut)
        };
        let disconnected = self.disconnected || (self.said_all && leaves_some());
        self.progress >= Progress::Draining && disconnected && self.instances.is_empty()
    }

    /// Ends a component that never served.
    fn end_without_start(&mut self) {
        self.progress = Progress::Draining;
        self.health = Health::none();
        self.component.drain();
        self.component.pool.call_hooks_now();
        // Nobody else on the address has to wait for it.
        self.component.standing.set_ready();
        self.component.standing.set_asked();
        self.alone = true;
        self.drop_held();
        self.own_groups().for_each(|group| group.look());
    }

    fn drain(&mut self, notice: Notice) {
        self.progress = Progress::Draining;
        self.health = Health::none();
        for instance in self.instances.values() {
            instance.link.orders.ask(notice.clone(), Duration::MAX);
        }
        if self.component.loaded.run.is_async && self.component.loaded.timing == HookTiming::AfterDrain {
            self.half = Some(Box::pin(sleep(notice.grace / 2)));
        }
        self.notice = Some(notice);
        self.component.drain();
        if self.has_successor() {
            self.component.pool.give_back();
        }
        self.component.standing.set_ready();
        self.component.standing.set_asked();
        self.own_groups().for_each(|group| group.look());
        if self.own_groups().any(|group| group.stage() < Stage::Drain) {
            self.together = Some(Box::pin(sleep(TOGETHER)));
        }
        match self.component.pool.has_waiting() {
            true => self.hold.release().into_iter().for_each(|slot| self.start(slot)),
            false => self.drop_held(),
        }
    }

    fn drop_held(&mut self) {
        for slot in self.hold.release() {
            self.component.pool.not_started(slot);
        }
    }

    /// Cuts off whatever is left, or gives up what has not started.
    fn cut(&mut self) {
        if self.progress < Progress::Draining {
            self.end_without_start();
        }
        self.progress = Progress::Cut;
        self.alone = true;
        self.cut_off |= self.component.stats.in_flight() > 0;
        self.component.stats.note_cut();
        self.component.standing.set_cut();
        for instance in self.instances.values() {
            instance.link.orders.cut();
        }
        self.half = None;
        self.last_words = Some(Box::pin(sleep(LAST_WORDS)));
    }

    /// Leaves its addresses and threads to others, or waits until nothing is left of them.
    async fn end(mut self) {
        self.set_over();
        let lanes = self.component.lanes.clone();
        // Threads that still serve connections for others end with those.
        if lanes.leave(self.component.id) && lanes.connections() == 0 {
            self.leaked |= lanes.all_gone().await;
        }
        self.link.tell(InstanceEvent::Ended(self.outcome()));
    }

    fn outcome(&self) -> Outcome {
        if self.failed_to_start {
            Outcome::Failed
        } else if self.link.orders.is_abandoned() {
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
