//! The pause after an instance has failed, where a failure means a restart: how long it is, the supervisor says.
//!
//! Invariant: after a failure no instance is started before the supervisor has answered to it, or to a later one, and the
//! pause of its last answer is over. Slots that want one meanwhile are not forgotten.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::sleep;

use crate::plan::OnEnd;
use crate::runtime::Link;

/// See the module's documentation.
pub(crate) struct RestartPause {
    link: Arc<Link>,
    is_used: bool,
    /// The answers that are known.
    seen: u64,
    pause: Option<Pin<Box<dyn Future<Output = u64> + Send>>>,
    slots: Vec<usize>,
}

impl RestartPause {
    /// Returns one that holds nothing yet; and never will, unless a failure means a restart.
    pub(crate) fn new(link: Arc<Link>, on_failure: OnEnd) -> Self {
        let is_used = on_failure == OnEnd::Restart;
        Self { link, is_used, seen: 0, pause: None, slots: Vec::new() }
    }

    /// Returns whether a failure means a restart.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Returns whether nothing may be started.
    pub(crate) fn holds(&self) -> bool {
        self.pause.is_some()
    }

    /// Notes that an instance has failed.
    pub(crate) fn begin(&mut self) {
        if !self.is_used {
            return;
        }
        while let Some((count, _)) = self.link.restarts.may_restart(self.seen).now_or_never() {
            self.seen = count;
        }
        self.pause = Some(Box::pin(pause(self.link.clone(), self.seen)));
    }

    /// Notes that an instance is wanted in this slot. False: it may be started now.
    pub(crate) fn keeps(&mut self, slot: usize) -> bool {
        if self.holds() {
            self.slots.push(slot);
        }
        self.holds()
    }

    /// Returns the slots that have waited, once the pause is over. Waits for ever where there is none.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(crate) async fn over(&mut self) -> Vec<usize> {
        match self.pause.as_mut() {
            Some(pause) => self.seen = pause.await,
            None => std::future::pending().await,
        }
        self.release()
    }

    /// Ends the pause, and returns the slots that have waited.
    pub(crate) fn release(&mut self) -> Vec<usize> {
        self.pause = None;
        std::mem::take(&mut self.slots)
    }
}

/// Returns when the pause of the last answer is over, and how many answers there have been.
async fn pause(link: Arc<Link>, seen: u64) -> u64 {
    let (mut count, mut pause): (u64, Duration) = link.restarts.may_restart(seen).await;
    loop {
        tokio::select! {
            () = sleep(pause) => return count,
            later = link.restarts.may_restart(count) => (count, pause) = later,
        }
    }
}
