//! Tests of `pool`: single rules, and random orders of events with a look at all rules after each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use http_body_util::{BodyExt, Empty};
use proptest::prelude::*;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::claim::{Claim, GuestResponse, Interest, Job, Work};
use super::pool::{Pool, PoolLimits, SubmitError};
use super::share::{Holder, Places};
use crate::runtime::{Link, RunClock};
use crate::server::instance::handle::{CloseReason, InstanceHandle};
use crate::server::worker::fairness::FairnessTicker;

#[derive(Default)]
struct InstanceWaker(AtomicUsize);

impl Wake for InstanceWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Client {
    answer: oneshot::Receiver<GuestResponse>,
    interest: Option<Interest>,
}

/// A pool, and what its surroundings would do.
struct World {
    pool: Arc<Pool>,
    starts: UnboundedReceiver<usize>,
    instances: BTreeMap<usize, (Arc<InstanceHandle>, Arc<InstanceWaker>)>,
    starting: Vec<usize>,
    /// Requests that instances have taken and not finished, with the slot.
    calls: Vec<(usize, Job)>,
    clients: Vec<Client>,
    limits: PoolLimits,
    serial: u32,
}

impl World {
    fn new(max: usize, concurrency: usize, requests: u64, queue: usize) -> Self {
        let limits = PoolLimits { rooms: vec![concurrency; max], requests, queue };
        let (send, starts) = mpsc::unbounded_channel();
        let (instances, starting, calls, clients) = Default::default();
        Self {
            pool: Pool::new(limits.clone(), send),
            starts,
            instances,
            starting,
            calls,
            clients,
            limits,
            serial: 0,
        }
    }

    fn submit(&mut self, home: Option<usize>) -> Result<(), SubmitError> {
        self.submit_of(home, Holder::default())
    }

    fn submit_of(&mut self, home: Option<usize>, holder: Holder) -> Result<(), SubmitError> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let (reply, answer) = oneshot::channel();
        let claim = Claim::new(&self.pool, holder);
        let interest = Some(Interest(claim.clone()));
        let job = Job { work: Work::Request(http::Request::new(body), reply), claim, has_waited: false };
        self.pool.submit(home, job).map_err(|(refusal, _job)| refusal)?;
        self.clients.push(Client { answer, interest });
        Ok(())
    }

    fn hear_starts(&mut self) {
        while let Ok(slot) = self.starts.try_recv() {
            assert!(
                !self.starting.contains(&slot) && !self.instances.contains_key(&slot),
                "one for each slot"
            );
            assert!(slot < self.limits.rooms.len(), "no more than allowed");
            self.starting.push(slot);
        }
    }

    fn open(&mut self, slot: usize) {
        self.starting.retain(|starting| *starting != slot);
        self.serial += 1;
        let link = Link::new(Arc::new(RunClock::start()), Box::new(|_| {}));
        let turn = Arc::new(FairnessTicker::default()).turn();
        let instance = InstanceHandle::new(self.serial, slot, link, turn, [true, false], &self.pool);
        let bell = Arc::new(InstanceWaker::default());
        instance.register(&Waker::from(bell.clone()));
        self.pool.opened(&instance);
        self.instances.insert(slot, (instance, bell));
        self.run(slot);
    }

    /// The loop of an instance, as the driver has it.
    fn run(&mut self, slot: usize) {
        let Some((instance, bell)) = self.instances.get(&slot).cloned() else { return };
        instance.register(&Waker::from(bell.clone()));
        bell.0.store(0, Ordering::SeqCst);
        while !instance.is_closing() {
            let Some(job) = self.pool.take(&instance) else { break };
            self.calls.push((slot, job));
            let mine = self.calls.iter().filter(|(at, _)| *at == slot).count();
            assert!(mine <= self.limits.rooms[0], "no more at a time than allowed");
        }
        self.pool.settle(&instance);
    }

    fn end(&mut self, slot: usize) {
        self.calls.retain(|(at, _)| *at != slot);
        self.instances.remove(&slot);
        self.pool.ended(slot);
    }

    fn run_those_woken(&mut self) {
        loop {
            self.hear_starts();
            let woken = |(slot, (_, bell)): (&usize, &(Arc<InstanceHandle>, Arc<InstanceWaker>))| {
                (bell.0.load(Ordering::SeqCst) > 0).then_some(*slot)
            };
            let Some(slot) = self.instances.iter().find_map(woken) else { return };
            self.run(slot);
        }
    }

    /// Nobody waits while somebody could serve, or could be started.
    fn check(&mut self) {
        self.run_those_woken();
        let waits = |client: &mut Client| {
            let claim = client.interest.as_ref().map(|interest| &interest.0);
            let may_take = |claim: &&Arc<Claim>| claim.taker().is_none() && self.pool.may_take(claim);
            claim.filter(may_take).is_some() && matches!(client.answer.try_recv(), Ok(None))
        };
        let waiting = self.clients.iter_mut().filter_map(|client| waits(client).then_some(())).count();
        let able = self.instances.values().any(|(instance, _)| {
            !instance.is_closing() && instance.busy() < self.limits.rooms[0] && !instance.turn.spins()
        });
        assert!(waiting == 0 || !able, "{waiting} wait while somebody can serve");
        let room = self.instances.len() + self.starting.len() < self.limits.rooms.len();
        assert!(
            waiting == 0 || !room || !self.starting.is_empty() || self.pool.takes_none(),
            "nobody is started"
        );
    }
}

#[test]
fn requests_stay_on_their_thread_as_long_as_it_can() {
    let mut world = World::new(2, 1, 0, 8);
    (0..2).for_each(|slot| world.pool.want(slot));
    world.hear_starts();
    (0..2).for_each(|slot| world.open(slot));
    world.submit(Some(1)).unwrap();
    assert!(world.instances[&1].1.0.load(Ordering::SeqCst) > 0, "its own instance is woken");
    assert_eq!(world.instances[&0].1.0.load(Ordering::SeqCst), 0, "and no other");
    world.run_those_woken();
    assert_eq!(world.calls[0].0, 1);
    world.submit(Some(1)).unwrap();
    world.run_those_woken();
    assert_eq!(world.calls[1].0, 0, "its own is busy: another serves it");
}

#[test]
fn whoever_finds_the_queue_full_is_refused() {
    let mut world = World::new(1, 1, 0, 2);
    let results: Vec<_> = (0..4).map(|_| world.submit(None)).collect();
    assert_eq!(results, [Ok(()), Ok(()), Ok(()), Err(SubmitError::QueueFull)], "one to serve, two to wait");
    world.hear_starts();
    world.open(0);
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.submit(None), Err(SubmitError::QueueFull));
    world.pool.stop();
    assert_eq!(world.submit(None), Err(SubmitError::Stopped));
    let mut world = World::new(1, 1, 0, 2);
    world.pool.leave_service();
    world.pool.stop();
    assert_eq!(world.submit(None), Err(SubmitError::OutOfService), "the first reason counts");
}

/// For another pool that takes it, under the same client.
#[test]
fn who_is_refused_gets_the_request_back() {
    let (old, mut new) = (World::new(1, 1, 0, 2), World::new(1, 1, 0, 2));
    old.pool.stop();
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let (reply, answer) = oneshot::channel();
    let request = http::Request::get("/again").body(body).unwrap();
    let job = Job {
        work: Work::Request(request, reply),
        claim: Claim::new(&old.pool, Holder::default()),
        has_waited: false,
    };
    let (refusal, job) = old.pool.submit(None, job).unwrap_err();
    let Work::Request(request, reply) = job.work else { panic!("it is another job") };
    assert_eq!((refusal, request.uri().path()), (SubmitError::Stopped, "/again"));
    let claim = Claim::new(&new.pool, Holder::default());
    let interest = Some(Interest(claim.clone()));
    let job = Job { work: Work::Request(request, reply), claim, has_waited: false };
    new.pool.submit(None, job).map_err(|_| ()).unwrap();
    new.clients.push(Client { answer, interest });
    new.hear_starts();
    new.open(0);
    assert_eq!(new.calls.len(), 1);
}

#[test]
fn whoever_waits_when_another_takes_over_gets_the_request_back() {
    let (mut old, mut new) = (World::new(1, 1, 0, 2), World::new(1, 1, 0, 1));
    for _ in 0..3 {
        old.submit(Some(0)).unwrap();
    }
    old.hear_starts();
    old.open(0);
    assert_eq!(old.calls.len(), 1);
    old.pool.stop();
    old.pool.give_back();
    assert!(!old.pool.has_waiting());
    assert!(old.clients[0].answer.try_recv().unwrap().is_none(), "one is in hand");
    new.submit(None).unwrap();
    for client in &mut old.clients[1..] {
        assert!(client.answer.try_recv().is_err());
        let claim = &client.interest.as_ref().unwrap().0;
        let (reply, _answer) = oneshot::channel();
        let work = Work::Request(claim.returned().unwrap(), reply);
        // One waits there already, which is all that may: but these have waited before.
        new.pool
            .submit(None, Job { work, claim: Claim::new(&new.pool, Holder::default()), has_waited: true })
            .unwrap();
    }
    assert_eq!(new.submit(None), Err(SubmitError::QueueFull));
}

#[test]
fn an_instance_that_cannot_be_started_lets_nobody_wait() {
    let mut world = World::new(1, 1, 0, 8);
    world.submit(None).unwrap();
    world.hear_starts();
    world.pool.not_started(0);
    assert!(world.clients[0].answer.try_recv().is_err(), "its request is dropped");
    world.hear_starts();
    assert_eq!(world.starting, [0], "and no other start follows from it");
}

/// A fresh instance for each request, and the system gives no more than one: it makes room when it ends.
#[test]
fn requests_wait_for_one_that_takes_no_more() {
    let mut world = World::new(2, 1, 1, 8);
    world.submit(None).unwrap();
    world.hear_starts();
    world.open(0);
    world.submit(None).unwrap();
    world.hear_starts();
    world.pool.not_started(1);
    assert!(matches!(world.clients[1].answer.try_recv(), Ok(None)), "its request waits");
}

/// Instances that are about to end keep their places only as long as another one serves.
#[test]
fn a_pool_is_starved_when_all_its_instances_close_and_requests_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let starved = |pool: &Pool| {
        let starved = pool.starved(Duration::from_millis(1));
        runtime.block_on(async { tokio::time::timeout(Duration::from_millis(100), starved).await.is_ok() })
    };
    let mut world = World::new(2, 1, 0, 8);
    for slot in 0..2 {
        world.pool.want(slot);
        world.hear_starts();
        world.open(slot);
        world.submit(Some(slot)).unwrap();
        world.run_those_woken();
    }
    let both = [0, 1].map(|slot| world.instances[&slot].0.clone());
    world.pool.close(&both[0], CloseReason::Timeout);
    world.submit(None).unwrap();
    assert!(!starved(&world.pool), "the other one serves");
    world.pool.close(&both[1], CloseReason::Full);
    assert!(starved(&world.pool));
    world.clients.clear();
    assert!(!starved(&world.pool), "nothing waits");
}

#[test]
fn an_instance_that_spins_gives_its_requests_away() {
    let mut world = World::new(2, 4, 0, 8);
    world.pool.want(0);
    world.hear_starts();
    world.open(0);
    let spinning = world.instances[&0].0.clone();
    world.submit(Some(0)).unwrap();
    world.pool.set_spinning(&spinning, true);
    world.hear_starts();
    assert_eq!(world.starting, [1], "the request that waits for it has another started");
    world.open(1);
    assert_eq!(world.calls.last().map(|(slot, _)| *slot), Some(1));
    world.pool.set_spinning(&spinning, false);
    world.submit(Some(0)).unwrap();
    world.run_those_woken();
    assert_eq!(world.calls.last().map(|(slot, _)| *slot), Some(0), "it is back");
}

#[test]
fn only_surplus_instances_end_for_being_idle() {
    let mut world = World::new(2, 1, 0, 8);
    (0..2).for_each(|slot| world.pool.want(slot));
    world.hear_starts();
    (0..2).for_each(|slot| world.open(slot));
    assert!(world.pool.close_surplus(&world.instances[&0].0.clone()));
    assert!(!world.pool.close_surplus(&world.instances[&1].0.clone()), "the last one stays");
    assert_eq!(world.instances[&0].0.why(), Some(CloseReason::Idle));
}

#[test]
fn when_hooks_are_due_nobody_waits_for_instances_that_are_gone() {
    let mut world = World::new(1, 1, 0, 8);
    (0..2).for_each(|_| world.submit(None).unwrap());
    world.hear_starts();
    world.open(0);
    world.pool.call_hooks_now();
    let instance = world.instances[&0].0.clone();
    world.pool.close(&instance, CloseReason::Stop);
    world.end(0);
    assert!(world.clients[1].answer.try_recv().is_err());
    world.hear_starts();
    assert!(world.starting.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_waits_while_somebody_could_serve(
        max in 1..4_usize,
        concurrency in 1..5_usize,
        requests in 0..4_u64,
        queue in 0..6_usize,
        steps in prop::collection::vec((0..10_u8, any::<prop::sample::Index>()), 1..80),
    ) {
        let mut world = World::new(max, concurrency, requests, queue);
        let connections: [Arc<Places>; 2] = Default::default();
        for (what, which) in steps {
            let slot = which.index(max);
            match what {
                0..=2 => drop(world.submit(Some(slot))),
                3 => drop(world.submit(None)),
                9 => {
                    let places = Some(connections[which.index(2)].clone());
                    let _full = world.submit_of(Some(slot), Holder { places, client: None });
                }
                4 if !world.starting.is_empty() => {
                    let at = which.index(world.starting.len());
                    world.open(world.starting[at]);
                }
                5 if !world.calls.is_empty() => drop(world.calls.remove(which.index(world.calls.len()))),
                6 if !world.clients.is_empty() => {
                    let at = which.index(world.clients.len());
                    world.clients[at].interest = None;
                }
                7 if world.instances.contains_key(&slot) => {
                    let instance = world.instances[&slot].0.clone();
                    world.pool.close(&instance, CloseReason::Timeout);
                    world.run_those_woken();
                    world.end(slot);
                }
                8 if world.instances.get(&slot).is_some_and(|(it, _)| it.is_closing()) => world.end(slot),
                _ => {}
            }
            world.check();
        }
        world.clients.clear();
        world.calls.clear();
        for (instance, _) in world.instances.values() {
            prop_assert_eq!((instance.live(), instance.in_flight()), (0, 0));
        }
    }
}
