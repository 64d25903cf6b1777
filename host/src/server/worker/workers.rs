//! The threads of a component, shared by its generations: a connection keeps its thread when another generation takes over.
//!
//! Invariant: a thread is there for as long as some generation has a slot for it, or a connection is on it; when the
//! last generation has ended, none is started any more. Connections go to the thread with fewest of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::worker;
use super::worker::{ConnectionTask, Worker, WorkerEvent, WorkerOrder};
use crate::teardown::GenerationId;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Workers {
    name: String,
    state: Mutex<State>,
    ended: AtomicBool,
    connections: Arc<AtomicUsize>,
    gone: watch::Sender<Gone>,
}

#[derive(Debug, Default)]
struct State {
    workers: Vec<Option<Worker>>,
    generations: BTreeMap<GenerationId, Generation>,
    spawned: usize,
}

#[derive(Debug)]
struct Generation {
    slots: usize,
    inputs: UnboundedSender<WorkerEvent>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    threads: usize,
    leaked: bool,
}

/// A connection's place on a worker, while it is there.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    on_lane: Arc<AtomicUsize>,
    on_all: Arc<AtomicUsize>,
}

impl ConnectionSlot {
    fn take(on_lane: Arc<AtomicUsize>, on_all: Arc<AtomicUsize>) -> Self {
        on_lane.fetch_add(1, Ordering::SeqCst);
        on_all.fetch_add(1, Ordering::SeqCst);
        Self { on_lane, on_all }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.on_lane.fetch_sub(1, Ordering::SeqCst);
        self.on_all.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Workers {
    /// Returns the workers of a component of this name; no thread is started yet.
    pub(crate) fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::default(),
            ended: AtomicBool::new(false),
            connections: Arc::default(),
            gone: watch::Sender::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a generation, and where it hears of its instances. False: the last one has ended.
    pub(crate) fn join(&self, id: GenerationId, slots: usize, inputs: UnboundedSender<WorkerEvent>) -> bool {
        let mut state = self.lock();
        let lives = !self.has_ended();
        if lives {
            state.generations.insert(id, Generation { slots, inputs });
        }
        lives
    }

    /// Takes a generation away that has ended. Returns whether it was the last.
    pub(crate) fn leave(&self, id: GenerationId) -> bool {
        let mut state = self.lock();
        let known = state.generations.remove(&id).is_some();
        let needed = state.generations.values().map(|other| other.slots).max().unwrap_or(0);
        let most = needed.min(state.workers.len());
        // They get no more orders, and end with their connections.
        let surplus = state.workers.split_off(most);
        let last = known && state.generations.is_empty();
        if last {
            self.ended.store(true, Ordering::SeqCst);
        }
        drop(state);
        drop(surplus);
        last
    }

    /// Returns whether nothing can be served on its threads any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Gives an order to the worker of a slot, which is started if need be.
    ///
    /// # Errors
    /// When the system gives no thread, or the last generation has ended.
    pub(crate) fn order(self: &Arc<Self>, slot: usize, order: WorkerOrder) -> std::io::Result<()> {
        match self.worker(slot)?.order(order) {
            true => Ok(()),
            false => Err(std::io::Error::other("the thread has ended")),
        }
    }

    fn worker(self: &Arc<Self>, slot: usize) -> std::io::Result<Worker> {
        let mut state = self.lock();
        if self.has_ended() {
            return Err(std::io::Error::other("the component has ended"));
        }
        if let Some(Some(worker)) = state.workers.get(slot) {
            return Ok(worker.clone());
        }
        let worker = worker::spawn(slot, &self.name, Arc::downgrade(self))?;
        state.spawned += 1;
        if state.workers.len() <= slot {
            state.workers.resize(slot + 1, None);
        }
        if let Some(place) = state.workers.get_mut(slot) {
            *place = Some(worker.clone());
        }
        Ok(worker)
    }

    /// Hands a connection to the thread with fewest. Without a thread it is dropped, and so closed.
    pub(crate) fn place(self: &Arc<Self>, serve: ConnectionTask) {
        // Where the system gives no more threads, those that are there serve it.
        match self.homes().into_iter().find_map(|slot| self.worker(slot).ok()) {
            Some(worker) => {
                let slot = ConnectionSlot::take(worker.connections.clone(), self.connections.clone());
                let _ended_meanwhile = worker.order(WorkerOrder::Connection(serve, slot));
            }
            None => tracing::warn!(component = self.name, "a connection cannot be served"),
        }
    }

    /// Returns the slots whose threads take connections, those with fewest first.
    fn homes(&self) -> Vec<usize> {
        let state = self.lock();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = state.generations.values().next_back().map_or(0, |newest| newest.slots);
        let load = |slot: usize| {
            state
                .workers
                .get(slot)
                .and_then(Option::as_ref)
                .map_or(0, |worker| worker.connections.load(Ordering::SeqCst))
        };
        let mut homes: Vec<_> = (0..slots.min(cores)).map(|slot| (load(slot), slot)).collect();
        homes.sort_unstable();
        homes.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Returns how many connections are on its threads.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Notes that a thread has ended: whether something was left behind, and whether it died of a bug.
    pub(crate) fn thread_gone(&self, slot: usize, leaked: bool, died: bool) {
        if died {
            for generation in self.lock().generations.values() {
                // A controller that is gone wants to know nothing more.
                let _unheard = generation.inputs.send(WorkerEvent::Died(slot));
            }
        }
        self.gone.send_modify(|gone| {
            gone.threads += 1;
            gone.leaked |= leaked;
        });
    }

    /// Returns once all threads have ended, and whether something was left behind.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(crate) async fn all_gone(&self) -> bool {
        let spawned = self.lock().spawned;
        // The sender is a part of `self`: the channel cannot close while this waits.
        let mut changes = self.gone.subscribe();
        let gone = changes.wait_for(|gone| gone.threads >= spawned).await.map(|gone| gone.leaked);
        gone.unwrap_or(false)
    }
}
