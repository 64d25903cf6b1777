//! What stands in front of an app: a probe of its admin listener, and a balancer that sends clients only to those that are
//! ready, and notices late when one is not any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Address, Fate, Wire};

/// The time between two looks.
const EVERY: Duration = Duration::from_millis(5);

/// One question to the admin listener.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub asked: Instant,
    pub told: Instant,
    /// The answer; none when nobody listens or the connection was closed.
    pub status: Option<u16>,
}

impl Look {
    pub fn at(address: &Address, path: &str) -> Look {
        let asked = Instant::now();
        let wire = Wire::try_connect(address).and_then(|mut wire| {
            let head = wire.head_of("GET", path, "");
            wire.try_send(head).map(|()| wire)
        });
        let status = wire.ok().and_then(|mut wire| match wire.fate() {
            Fate::Answered(answer) => Some(answer.status),
            _ => None,
        });
        Look { asked, told: Instant::now(), status }
    }

    pub fn is_good(&self) -> bool {
        self.status == Some(200)
    }
}

/// Looks again and again until it is told to end.
#[must_use = "a probe is waited for by `end`"]
pub struct Probe {
    leave: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Look>>,
}

impl Probe {
    pub fn start(address: &Address, path: &'static str) -> Probe {
        Probe::watch(address, path, |_| {})
    }

    fn watch(address: &Address, path: &'static str, mut tell: impl FnMut(Look) + Send + 'static) -> Probe {
        let (address, leave) = (address.clone(), Arc::new(AtomicBool::new(false)));
        let over = leave.clone();
        let thread = thread::spawn(move || {
            let mut looks = Vec::new();
            while !over.load(SeqCst) {
                let look = Look::at(&address, path);
                tell(look);
                looks.push(look);
                thread::sleep(EVERY);
            }
            looks
        });
        Probe { leave, thread }
    }

    /// All that was seen.
    pub fn end(self) -> Vec<Look> {
        self.leave.store(true, SeqCst);
        self.thread.join().expect("a probe does not fail")
    }
}

/// Watches `/readyz` of one instance of an app.
#[must_use = "a balancer is waited for by `end`"]
pub struct Balancer {
    rotation: Arc<AtomicBool>,
    probe: Probe,
}

impl Balancer {
    /// It leaves the instance so long after it has seen that it is not ready, and comes back as soon as it is.
    pub fn start(admin: &Address, late: Duration) -> Balancer {
        let rotation = Arc::new(AtomicBool::new(false));
        let (sends, mut failing) = (rotation.clone(), None);
        let probe = Probe::watch(admin, "/readyz", move |look| {
            if look.is_good() {
                failing = None;
                sends.store(true, SeqCst);
            } else if look.told - *failing.get_or_insert(look.told) >= late {
                sends.store(false, SeqCst);
            }
        });
        Balancer { rotation, probe }
    }

    /// Whether it sends clients there.
    pub fn rotation(&self) -> Arc<AtomicBool> {
        self.rotation.clone()
    }

    pub fn sends(&self) -> bool {
        self.rotation.load(SeqCst)
    }

    pub fn end(self) {
        drop(self.probe.end());
    }
}
