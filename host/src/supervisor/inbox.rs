//! The queue of the control thread, and a descriptor that is readable while the queue holds something.
//! Invariant: sending never blocks and never fails. The callers bound the messages that a guest can cause.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::admin::{Operator, OperatorRequest};
use crate::plan::{Plan, PlanError};
use crate::runtime::{InstanceEvent, LoadEvent};
use crate::teardown::GenerationId;

#[derive(Debug)]
pub(super) enum Message {
    /// Loading for the start got further.
    Load(LoadEvent),
    Instance(GenerationId, InstanceEvent),
    Reload(ReloadEvent),
    OperatorRequest(OperatorRequest),
    /// The embedder asks for a graceful stop.
    Stop,
    HostBug(&'static str),
}

#[derive(Debug)]
pub(super) enum ReloadEvent {
    Read(Box<Result<Plan, PlanError>>),
    Load(LoadEvent),
}

/// The queue. Clones send to and take from the same one.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    queue: Arc<Mutex<Vec<Message>>>,
    wake: Arc<EventFd>,
}

impl Inbox {
    /// Makes an empty queue. Fails when the process has no descriptor left.
    pub(super) fn new() -> std::io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { queue: Arc::default(), wake: Arc::new(wake) })
    }

    /// Adds a message and wakes the control thread.
    pub(super) fn send(&self, message: Message) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = queue.is_empty();
        queue.push(message);
        drop(queue);
        // `take` looks at the descriptor before it takes the queue: once is enough until the queue is empty again.
        if was_empty {
            // It can only fail when the counter is full, and then the descriptor is readable anyway.
            let _full = self.wake.write(1);
        }
    }

    /// Takes everything that is there, oldest first.
    pub(super) fn take(&self) -> Vec<Message> {
        let _empty = self.wake.read();
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns a notice for a thread to hold. A panic that drops it reports the death of the thread.
    pub(super) fn on_death(&self, what: &'static str) -> OnDeath {
        OnDeath { inbox: self.clone(), what }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[derive(Debug)]
pub(super) struct OnDeath {
    inbox: Inbox,
    what: &'static str,
}

impl Drop for OnDeath {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inbox.send(Message::HostBug(self.what));
        }
    }
}

impl Operator for Inbox {
    fn ask(&self, request: OperatorRequest) {
        self.send(Message::OperatorRequest(request));
    }
}
