//! The server of kinds that have one instance at a time, each on an OS thread of its own.
//!
//! Invariant: the supervisor hears of the thread's end, once, whatever happens on it. The end of the instance, or the order
//! to cut it off, ends the thread.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::lifecycle::{InstanceSpec, KindWork, live};
use super::runtime::{BusyTime, InstanceRuntime, spawn};
use crate::fail_point;
use crate::runtime::{Failure, InstanceEvent, Link, Outbound, Runtime, Stdio};
use crate::server::generation::{RunInFlight, Stats};
use crate::server::servers::{IncomingGeneration, PrepareError, Server, ServerParts, StartParts};
use crate::teardown::{GenerationId, Outcome};

/// Time between two looks at the clients of a service that is to stop.
const LOOK: Duration = Duration::from_millis(10);

/// The work of a kind that has one instance at a time.
pub trait SingleWork: KindWork + Default + 'static {
    /// Returns the outcome of the component, given that of its instance.
    #[doc(hidden)]
    fn outcome(&self, outcome: Outcome, _link: &Link) -> Outcome {
        outcome
    }
}

/// The server of kinds whose instances do the work `W`.
pub(crate) struct SingleServer<W> {
    runtime: Runtime,
    generations: BTreeMap<GenerationId, Single>,
    work: PhantomData<fn() -> W>,
}

/// One generation: it can be started again and again.
struct Single {
    incoming: IncomingGeneration,
    stats: Arc<Stats>,
    lives: Arc<AtomicBool>,
    busy: Arc<BusyTime>,
    /// It is only prepared, and goes when that is taken back.
    on_trial: bool,
}

impl<W: SingleWork> SingleServer<W> {
    pub(crate) fn new(parts: &ServerParts) -> Self {
        Self { runtime: parts.runtime.clone(), generations: BTreeMap::new(), work: PhantomData }
    }

    /// Returns a generation whose instance lives.
    fn alive(&self, id: GenerationId) -> Option<&Single> {
        self.generations.get(&id).filter(|single| single.lives.load(Ordering::Acquire))
    }
}

impl<W: SingleWork> Server for SingleServer<W> {
    fn prepare(
        &mut self,
        incoming: Vec<IncomingGeneration>,
        _outgoing: &[GenerationId],
    ) -> Result<(), PrepareError> {
        self.roll_back();
        for incoming in incoming {
            let (stats, lives, busy) = (Arc::new(Stats::new(None, 1)), Arc::default(), Arc::default());
            self.generations.insert(incoming.id, Single { incoming, stats, lives, busy, on_trial: true });
        }
        Ok(())
    }

    fn switch(&mut self) {
        self.generations.values_mut().for_each(|single| single.on_trial = false);
    }

    fn roll_back(&mut self) {
        let started = |single: &Single| single.stats.counts().instances > 0;
        self.generations.retain(|_, single| !single.on_trial || started(single));
    }

    fn start(&mut self, id: GenerationId, parts: StartParts) {
        let Some(Single { incoming, stats, lives, busy, .. }) = self.generations.get(&id) else { return };
        let StartParts { link, make_stdio, .. } = parts;
        let (stdio, finish) = make_stdio();
        let spec = Arc::new(InstanceSpec {
            runtime: self.runtime.clone(),
            loaded: incoming.loaded.clone(),
            plan: incoming.plan.clone(),
            link: link.clone(),
            run: Some(RunInFlight::begin(stats.clone())),
        });
        stats.instance_started();
        lives.store(true, Ordering::Release);
        let (alive, its, busy) = (lives.clone(), spec.clone(), busy.clone());
        let work = move || {
            let outcome = run::<W>(&spec, stdio, &busy);
            finish();
            outcome
        };
        let spawned = spawn(&incoming.plan.name, work, move |outcome| {
            alive.store(false, Ordering::Release);
            if outcome.is_none() {
                its.link.tell(InstanceEvent::HostBug);
            }
            // Before its run counts as ended.
            its.link.tell(InstanceEvent::Ended(outcome.unwrap_or(Outcome::Failed)));
        });
        if let Err(error) = spawned {
            lives.store(false, Ordering::Release);
            stats.instance_failed();
            let failure = Failure::shortage(format!("could not be started: no thread for it: {error}"));
            link.tell(InstanceEvent::Failed(failure));
            link.tell(InstanceEvent::Ended(Outcome::Failed));
        }
    }

    fn forget(&mut self, id: GenerationId) {
        self.generations.remove(&id);
    }

    fn stats(&self, id: GenerationId) -> Option<Arc<Stats>> {
        self.generations.get(&id).map(|single| single.stats.clone())
    }

    fn instances(&self, id: GenerationId) -> usize {
        usize::from(self.alive(id).is_some())
    }

    fn busy(&self, id: GenerationId) -> Duration {
        self.alive(id).map_or(Duration::ZERO, |single| single.busy.get())
    }
}

fn run<W: SingleWork>(spec: &InstanceSpec, stdio: Stdio, busy: &Arc<BusyTime>) -> Outcome {
    let link = &spec.link;
    let runtime = match InstanceRuntime::new(busy) {
        Ok(runtime) => runtime,
        Err(error) => {
            spec.fail(Failure::shortage(format!("could not be started: {error}")));
            return Outcome::Failed;
        }
    };
    fail_point::reach("instance");
    let work = W::default();
    let ended = runtime.run(async {
        let mut life = pin!(live(spec, stdio, Outbound::default(), &work));
        let turns = poll_fn(|context| link.turn(|| life.as_mut().poll(context)));
        tokio::select! {
            biased;
            // A guest makes thousands of calls in one poll; tokio's budget of 128 would make its ready sockets
            // look idle, and a guest that polls them would spin.
            end = tokio::task::unconstrained(turns) => {
                let outcome = end.unwrap_or_else(|failure| {
                    spec.fail(failure);
                    Outcome::Failed
                });
                work.outcome(outcome, link)
            }
            () = is_left_alone(spec) => {
                spec.run.iter().for_each(RunInFlight::end);
                work.outcome(Outcome::Stopped, link)
            }
            () = link.orders.must_drop() => match link.orders.is_abandoned() {
                true => Outcome::NotStarted,
                false => Outcome::CutOff,
            },
        }
    });
    match ended {
        (Outcome::CutOff, true) => Outcome::Leaked,
        (outcome, _) => outcome,
    }
}

/// Returns once a service that listens, cannot hear of the stop, and was asked to stop has no client left. It would wait for the
/// next one for ever.
async fn is_left_alone(spec: &InstanceSpec) {
    if spec.loaded.hears_of_a_stop() {
        return std::future::pending().await;
    }
    spec.link.orders.asked().await;
    while !spec.link.listeners.are_idle() {
        tokio::time::sleep(LOOK).await;
    }
}
