//! The threads of a component, shared by its generations: a connection keeps its thread when another generation takes over.
//!
//! Invariant: a thread is there for as long as some generation has a slot for it, or a connection is on it; when the last
//! generation has ended, none is started any more. Connections go to the thread with fewest of them. Controllers hear of a
//! thread that dies.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::fail_point;
use crate::runtime::{Failure, Outbound};
use crate::server::instance::{BusyTime, InstanceEnd, InstanceHandle, InstanceRuntime, spawn};
use crate::teardown::GenerationId;

/// A task for a worker: an instance, or a connection. It gets the client of the thread for outgoing requests.
pub(crate) type WorkerTask = Box<dyn FnOnce(Outbound) -> BoxFuture<'static, ()> + Send>;

#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// The instance of this slot takes requests.
    Up(usize),
    /// A fresh instance of this slot failed.
    Failed(Arc<InstanceHandle>, Failure),
    /// The instance of this slot has ended.
    Ended(usize, Arc<InstanceHandle>, InstanceEnd),
    /// The worker of this slot has died of a bug.
    Died(usize),
}

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
    workers: BTreeMap<usize, Worker>,
    generations: BTreeMap<GenerationId, Generation>,
    spawned: usize,
}

/// One thread: it runs the instances of one slot, one after the other (those of another generation beside them), and the
/// connections that it is handed. It ends with its last task when all holders of this have let go.
#[derive(Clone, Debug)]
struct Worker {
    tasks: UnboundedSender<WorkerTask>,
    connections: Arc<AtomicUsize>,
    busy: Arc<BusyTime>,
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

/// A connection's place, counted on its worker and on all, while it is there.
#[derive(Debug)]
pub(crate) struct ConnectionSlot([Arc<AtomicUsize>; 2]);

impl ConnectionSlot {
    fn take(counts: [&Arc<AtomicUsize>; 2]) -> Self {
        Self(counts.map(|count| {
            count.fetch_add(1, SeqCst);
            count.clone()
        }))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        for count in &self.0 {
            count.fetch_sub(1, SeqCst);
        }
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
        // They get no more tasks, and end with their connections.
        let surplus = state.workers.split_off(&needed);
        let last = known && state.generations.is_empty();
        if last {
            self.ended.store(true, SeqCst);
        }
        drop(state);
        drop(surplus);
        last
    }

    /// Returns whether nothing can be served on its threads any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    /// Gives a task to the worker of a slot, which is started if need be.
    ///
    /// # Errors
    /// When the system gives no thread, or the last generation has ended.
    pub(crate) fn run(self: &Arc<Self>, slot: usize, task: WorkerTask) -> io::Result<()> {
        self.worker(slot)?.tasks.send(task).map_err(|_ended| io::Error::other("the thread has ended"))
    }

    fn worker(self: &Arc<Self>, slot: usize) -> io::Result<Worker> {
        let mut state = self.lock();
        if self.has_ended() {
            return Err(io::Error::other("the component has ended"));
        }
        if let Some(worker) = state.workers.get(&slot) {
            return Ok(worker.clone());
        }
        let (give, executor) = mpsc::channel::<InstanceRuntime>();
        let (tasks, received) = unbounded_channel();
        let workers = Arc::downgrade(self);
        let work = move || {
            executor.recv().is_ok_and(|executor| {
                fail_point::reach("lane");
                executor.run(run_all(received)).1
            })
        };
        spawn(&self.name, work, move |leaked| {
            // If no one holds the workers any more, the end has no listener.
            if let Some(workers) = workers.upgrade() {
                workers.thread_gone(slot, leaked);
            }
        })?;
        state.spawned += 1;
        // Made when its thread is there: tokio panics when one is dropped on this thread, which runs another.
        let busy = Arc::default();
        let _received = give.send(InstanceRuntime::new(&busy)?);
        let worker = Worker { tasks, connections: Arc::default(), busy };
        state.workers.insert(slot, worker.clone());
        Ok(worker)
    }

    /// Notes that a thread has ended: whether something was left behind, or `None` when it died of a bug.
    fn thread_gone(&self, slot: usize, leaked: Option<bool>) {
        if leaked.is_none() {
            for generation in self.lock().generations.values() {
                // A controller that is gone wants to know nothing more.
                let _unheard = generation.inputs.send(WorkerEvent::Died(slot));
            }
        }
        self.gone.send_modify(|gone| {
            gone.threads += 1;
            gone.leaked |= leaked.unwrap_or(false);
        });
    }

    /// Hands a connection to the thread with fewest: `serve` gets the slot of its worker, and its place there. Without a thread
    /// it is dropped, and so closed.
    pub(crate) fn place<F>(self: &Arc<Self>, serve: F)
    where
        F: FnOnce(usize, ConnectionSlot) -> BoxFuture<'static, ()> + Send + 'static,
    {
        // The existing threads serve it if the system gives no more.
        match self.homes().into_iter().find_map(|at| Some((at, self.worker(at).ok()?))) {
            Some((at, worker)) => {
                let slot = ConnectionSlot::take([&worker.connections, &self.connections]);
                let _ended_meanwhile = worker.tasks.send(Box::new(move |_| serve(at, slot)));
            }
            None => tracing::warn!(component = self.name, "a connection cannot be served"),
        }
    }

    /// Returns the slots whose threads take connections, those with fewest first.
    fn homes(&self) -> Vec<usize> {
        let state = self.lock();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = state.generations.values().next_back().map_or(0, |newest| newest.slots);
        let mut homes: Vec<_> = (0..slots.min(cores)).collect();
        let load = |at: &usize| state.workers.get(at).map_or(0, |worker| worker.connections.load(SeqCst));
        homes.sort_by_cached_key(load);
        homes
    }

    /// Returns the longest time for which one of its threads has not paused.
    pub(crate) fn busy(&self) -> Duration {
        self.lock().workers.values().map(|worker| worker.busy.get()).max().unwrap_or_default()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
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

async fn run_all(mut received: UnboundedReceiver<WorkerTask>) {
    let outbound = Outbound::default();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            task = received.recv() => match task {
                Some(task) => drop(tasks.spawn(task(outbound.clone()))),
                None => break,
            },
            Some(done) = tasks.join_next() => resume(done),
        }
    }
    while let Some(done) = tasks.join_next().await {
        resume(done);
    }
}

/// A panic on the worker is a bug of the host, and ends the worker.
fn resume(done: Result<(), JoinError>) {
    if let Err(error) = done
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}
