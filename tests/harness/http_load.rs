//! Open-loop load: requests at a fixed rate whatever becomes of them, over new connections, kept ones and HTTP/2.
//!
//! Invariant: each request that was begun is in the tally exactly once, with what became of it. A request may be
//! sent again only when a standard says that it is safe: RFC 9112 §9.3.1 (a reused connection was closed before any
//! byte of the answer) and RFC 9113 §8.7 (the server says that it did not begin with it).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};

use super::http_clients::Pool;
use super::{Address, block_on};

/// What is asked, of whom.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    pub address: Address,
    pub path: String,
    /// Whether a balancer sends requests there; it can change at any time.
    pub in_rotation: Arc<AtomicBool>,
}

impl Target {
    pub fn new(name: &str, address: Address, path: &str) -> Target {
        let in_rotation = Arc::new(AtomicBool::new(true));
        Target { name: name.to_string(), address, path: path.to_string(), in_rotation }
    }

    /// The same with a balancer's word on whether it is to be asked.
    pub fn balanced(self, in_rotation: Arc<AtomicBool>) -> Target {
        Target { in_rotation, ..self }
    }
}

/// How a request is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    NewConnection,
    KeptConnection,
    Http2,
}

const WAYS: [Way; 3] = [Way::NewConnection, Way::KeptConnection, Way::Http2];

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A whole answer with this status.
    Answered(u16),
    /// No connection was to be had.
    Refused,
    /// Its new connection ended before the first byte of an answer.
    Unanswered,
    /// Its answer began and was cut off, or its client cannot know whether it was begun.
    Aborted,
    /// Nothing came for very long.
    Hung,
}

/// Counts of ends, by target and way.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    ends: BTreeMap<(String, Way, End), u64>,
    /// Requests that were sent a second time.
    pub sent_again: u64,
}

impl Tally {
    fn add(&mut self, (end, again): ((String, Way, End), bool)) {
        *self.ends.entry(end).or_default() += 1;
        self.sent_again += u64::from(again);
    }

    pub fn count(&self, mut is: impl FnMut(&str, Way, &End) -> bool) -> u64 {
        self.ends.iter().filter(|((name, way, end), _)| is(name, *way, end)).map(|(_, count)| count).sum()
    }

    pub fn answered(&self, name: &str, status: u16) -> u64 {
        self.count(|of, _, end| of == name && *end == End::Answered(status))
    }

    /// Whatever is neither answered with 200 nor one of these.
    pub fn others(&self, accepted: &[End]) -> Vec<String> {
        let odd =
            self.ends.iter().filter(|((_, _, end), _)| *end != End::Answered(200) && !accepted.contains(end));
        odd.map(|(key, count)| format!("{key:?}: {count}")).collect()
    }
}

/// Clients at work on a thread of their own.
#[must_use = "clients are waited for by `end`"]
pub struct Load {
    leave: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: JoinHandle<Tally>,
}

impl Load {
    /// So many requests a second; each target in rotation is asked in each way in turn.
    pub fn start(per_second: u32, targets: &[Target]) -> Load {
        let (leave, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let plan = Plan {
            every: Duration::from_secs(1) / per_second,
            targets: targets.to_vec(),
            leave: leave.clone(),
            answers: answers.clone(),
        };
        let thread = std::thread::spawn(move || block_on(LocalSet::new().run_until(drive(plan))));
        Load { leave, answers, thread }
    }

    /// Waits for so many whole answers since the start.
    #[track_caller]
    pub fn wait_for_answers(&self, count: u64) {
        super::until(&format!("{count} answers"), || (self.answers.load(SeqCst) >= count).then_some(()));
    }

    /// No new requests; waits until each one under way has its end.
    #[track_caller]
    pub fn end(self) -> Tally {
        self.leave.store(true, SeqCst);
        self.thread.join().expect("the clients do not fail")
    }
}

struct Plan {
    every: Duration,
    targets: Vec<Target>,
    leave: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
}

/// Begins requests by the clock and waits for their ends when there are to be no more.
async fn drive(plan: Plan) -> Tally {
    let pools: Vec<Pool> = plan.targets.iter().map(Pool::new).collect();
    let mut under_way = JoinSet::new();
    let mut tally = Tally::default();
    // A tick that comes late is made up for: that is what makes the loop open.
    let mut clock = tokio::time::interval(plan.every);
    for number in 0_usize.. {
        clock.tick().await;
        if plan.leave.load(SeqCst) {
            break;
        }
        let way = WAYS[number / pools.len() % WAYS.len()];
        let mut in_turn = (number..number + pools.len()).map(|at| &pools[at % pools.len()]);
        let Some(pool) = in_turn.find(|pool| pool.is_in_rotation()).cloned() else {
            tally.add((("nobody".to_string(), way, End::Refused), false));
            continue;
        };
        let (name, answers) = (pool.name(), plan.answers.clone());
        under_way.spawn_local(async move {
            let (end, again) = pool.ask(way).await;
            answers.fetch_add(u64::from(matches!(end, End::Answered(_))), SeqCst);
            ((name, way, end), again)
        });
        while let Some(ended) = under_way.try_join_next() {
            tally.add(ended.expect("a client does not fail"));
        }
    }
    while let Some(ended) = under_way.join_next().await {
        tally.add(ended.expect("a client does not fail"));
    }
    tally
}
