//! Lifecycle state of one generation, shared with the other components on its addresses; and what an address makes of it.
//!
//! Invariant: it only goes on: started, ready, asked, over.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct GenerationState {
    started: AtomicBool,
    ready: AtomicBool,
    call: watch::Sender<Call>,
    over: AtomicBool,
}

/// The order to a generation. It only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// To serve.
    #[default]
    Serve,
    /// To finish what it has: it was asked to stop.
    Finish,
    /// To end now: it is cut off.
    Cut,
}

impl GenerationState {
    /// Notes that it starts.
    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::SeqCst);
    }

    /// Notes that it takes requests, or never will: nobody has to wait for it any more.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Notes that it was asked to stop.
    pub(crate) fn set_asked(&self) {
        self.call(Call::Finish);
    }

    /// Notes that it is cut off.
    pub(crate) fn set_cut(&self) {
        self.call(Call::Cut);
    }

    fn call(&self, call: Call) {
        self.call.send_if_modified(|now| {
            let higher = call > *now;
            *now = (*now).max(call);
            higher
        });
    }

    /// Returns a view on what it is called to do, for connections that are its own.
    pub(crate) fn watch(&self) -> watch::Receiver<Call> {
        self.call.subscribe()
    }

    /// Notes that it has no more use for connections.
    pub(crate) fn set_over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Returns whether it has been started.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    fn is_asked(&self) -> bool {
        *self.call.borrow() >= Call::Finish
    }

    /// Returns whether it has no more use for connections. Who has not been started has none.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || !self.is_started()
    }
}

/// Returns whether connections can be accepted: all serve, or never will.
pub(crate) fn all_ready<'a>(mut members: impl Iterator<Item = &'a GenerationState>) -> bool {
    members.all(|member| member.ready.load(Ordering::SeqCst))
}

/// Returns whether an address drains: somebody was asked to stop, and nobody serves on.
pub(crate) fn all_asked<'a>(members: impl Iterator<Item = &'a GenerationState> + Clone) -> bool {
    let serves = |member: &GenerationState| member.is_started() && !member.is_asked();
    members.clone().any(GenerationState::is_asked) && !members.clone().any(serves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_opens_when_all_are_ready_and_drains_when_all_were_asked() {
        let [a, b] = [GenerationState::default(), GenerationState::default()];
        let both = || [&a, &b].into_iter();
        assert!(!all_ready(both()) && !all_asked(both()), "nobody has been started");
        a.set_started();
        a.set_ready();
        assert!(!all_ready(both()) && all_ready([&a].into_iter()));
        b.set_started();
        b.set_ready();
        assert!(all_ready(both()) && !all_asked(both()));
        b.set_asked();
        assert!(!all_asked(both()) && all_asked([&b].into_iter()), "one of them serves on");
        b.set_over();
        assert!(b.is_over() && !a.is_over());
        a.set_asked();
        assert!(all_asked(both()));
    }

    #[test]
    fn nobody_waits_for_one_that_was_never_started() {
        let [a, idle] = [GenerationState::default(), GenerationState::default()];
        a.set_started();
        a.set_asked();
        assert!(all_asked([&a, &idle].into_iter()) && idle.is_over());
    }
}
