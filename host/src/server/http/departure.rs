//! Requests whose clients have left, or were given up: their guests' answers are read on and discarded.
//!
//! Invariant: a guest does not hear of a departure at once. Within [`READ_ON`] and [`READ_ON_BYTES`] most answers end. Then a call in a fresh instance is ended, and a guest in a kept one hears that nobody reads, unless guests of its component have
//! trapped after that. What is not over at `request-timeout` is ended as any other call that takes too long.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::oneshot;
use http_body_util::BodyExt;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use crate::server::instance::{GuestBody, READ_ON, READ_ON_BYTES};
use crate::server::pool::{Claim, GuestResponse, Pool};

/// Pause after each [`READ_ON_BYTES`] of a guest that is not to hear of it at all.
const PAUSE: Duration = Duration::from_secs(1);

/// The part of an answer that nobody has read.
pub(crate) enum Unread {
    /// The answer has not begun.
    All(oneshot::Receiver<GuestResponse>),
    /// Its body.
    Rest(GuestBody),
}

/// Reads on what the guest answers to a request whose client has left or was given up. A call that is not over at `until` is ended, or
/// its instance retired.
pub(crate) fn read_on(unread: Unread, claim: &Arc<Claim>, until: Instant) {
    claim.give_up();
    if let Some(pool) = claim.pool() {
        tokio::spawn(Departure { claim: claim.clone(), pool, until }.attend(unread));
    }
}

/// Reads on what a guest writes behind an answer that its client has.
pub(crate) fn read_behind(body: GuestBody) {
    tokio::spawn(async move { timeout(READ_ON, discard(&mut { body })).await });
}

struct Departure {
    /// Its place is held as long as its guest may write.
    claim: Arc<Claim>,
    pool: Arc<Pool>,
    until: Instant,
}

impl Departure {
    async fn attend(self, unread: Unread) {
        match unread {
            Unread::Rest(body) => self.read(body).await,
            Unread::All(mut answer) => {
                let answer = match timeout_at(self.until.into(), &mut answer).await {
                    Ok(answer) => answer,
                    Err(_late) => {
                        self.pool.time_out(&self.claim);
                        answer.await
                    }
                };
                if let Ok(Ok(response)) = answer {
                    self.read(response.into_body()).await;
                }
            }
        }
        let Self { claim, pool, until } = self;
        let call = Arc::downgrade(&claim);
        drop(claim);
        if call.strong_count() > 0 {
            sleep_until(until.into()).await;
        }
        if let Some(call) = call.upgrade() {
            pool.time_out(&call);
        }
    }

    async fn read(&self, mut body: GuestBody) {
        let Some(instance) = self.claim.taker() else { return };
        let left = self.until.saturating_duration_since(Instant::now());
        let asked = async {
            // A call of a sync guest holds the end of its instance up, and no other is in it.
            match instance.is_async {
                true => std::future::pending().await,
                false => drop(instance.link.orders.asked().await),
            }
        };
        let is_over = tokio::select! {
            is_over = discard(&mut body) => is_over,
            () = asked => return,
            // A guest that hears of it has as long to end by itself.
            () = sleep(READ_ON.min(left / 2)) => false,
        };
        match is_over {
            true => {}
            false if instance.is_fresh => self.pool.time_out(&self.claim),
            false if self.pool.traps_after_departures() => self.read_to_the_end(body).await,
            false => {}
        }
    }

    /// Reads until the body ends, or its instance.
    async fn read_to_the_end(&self, mut body: GuestBody) {
        let mut end = pin!(async {
            while !discard(&mut body).await {
                sleep(PAUSE).await;
            }
        });
        if timeout_at(self.until.into(), &mut end).await.is_err() {
            self.pool.time_out(&self.claim);
            end.await;
        }
    }
}

/// Reads a body, up to a bound. Returns whether it has ended.
async fn discard(body: &mut GuestBody) -> bool {
    let mut read = 0;
    while read < READ_ON_BYTES {
        let Some(Ok(frame)) = body.frame().await else { return true };
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    false
}
