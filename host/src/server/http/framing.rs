//! The boundary between two requests of an HTTP/1 connection, where it can be in doubt: behind a chunked body.
//!
//! hyper 1.12 reads trailers up to an empty line that ends by CR LF, and takes their fields up to one that may end by LF alone. What
//! stands between the two is lost: a proxy in front may take it for a request.
//!
//! Invariant: no request is served behind a chunked body whose end was not seen, or whose trailers may have had such a line end.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Longest wait of a request for the end of the body before it, which all has come: a guest that keeps it and does not read on
/// leaves it in doubt.
const WAIT: Duration = Duration::from_secs(1);

const SURE: u8 = 0;
const OPEN: u8 = 1;
const LOST: u8 = 2;

/// State of the boundary.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: AtomicU8,
    /// A line ended by LF alone since the last time at which no request was in flight.
    bare_line_end: AtomicBool,
    changed: Notify,
}

impl Framing {
    /// Notes the next bytes of the client, behind this one. `is_idle`: no request is in flight.
    pub(super) fn read(&self, before: u8, bytes: &[u8], is_idle: bool) {
        // One pass without branches: each request pays for it.
        let bare = |before: u8, byte: u8| (byte == b'\n') & (before != b'\r');
        let first = bytes.first().is_some_and(|byte| bare(before, *byte));
        let is_bare = bytes
            .iter()
            .zip(bytes.get(1..).unwrap_or_default())
            .fold(first, |any, (b, c)| any | bare(*b, *c));
        if is_bare {
            self.bare_line_end.store(true, SeqCst);
        } else if is_idle {
            self.bare_line_end.store(false, SeqCst);
        }
    }

    /// Returns whether the trailers that have come end where the next request begins.
    pub(super) fn are_trailers_sure(&self) -> bool {
        !self.bare_line_end.load(SeqCst)
    }

    /// Notes that a chunked body has begun.
    pub(super) fn body_began(&self) {
        let _lost = self.state.compare_exchange(SURE, OPEN, SeqCst, SeqCst);
    }

    /// Notes that the body has ended.
    pub(super) fn body_ended(&self) {
        let _lost = self.state.compare_exchange(OPEN, SURE, SeqCst, SeqCst);
        self.changed.notify_one();
    }

    /// Notes that the boundary is in doubt, now and for ever.
    pub(super) fn lose(&self) {
        self.state.store(LOST, SeqCst);
        self.changed.notify_one();
    }

    /// Returns whether the request that has come begins where the one before it ended.
    pub(super) async fn is_sure(&self) -> bool {
        if self.state.load(SeqCst) == OPEN {
            let settled = async {
                while self.state.load(SeqCst) == OPEN {
                    self.changed.notified().await;
                }
            };
            let _late = timeout(WAIT, settled).await;
        }
        self.state.load(SeqCst) == SURE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::testing::cases;

    /// Reads the bytes in pieces of these lengths, behind which nothing is idle.
    fn read(bytes: &[u8], lengths: &[usize]) -> Framing {
        let framing = Framing::default();
        let (mut before, mut rest) = (0, bytes);
        for length in lengths.iter().chain([&usize::MAX]) {
            let (piece, more) = rest.split_at((*length).min(rest.len()));
            framing.read(before, piece, false);
            before = piece.last().copied().unwrap_or(before);
            rest = more;
        }
        framing
    }

    proptest! {
        #![proptest_config(cases())]

        /// In whichever pieces they come: a line end by LF alone is seen, and nothing else is taken for one.
        #[test]
        fn a_bare_line_end_is_seen_in_any_pieces(
            bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40),
            lengths in prop::collection::vec(0_usize..6, 0..20),
        ) {
            let lone = |at: usize| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r');
            prop_assert_eq!(read(&bytes, &lengths).are_trailers_sure(), !(0..bytes.len()).any(lone));
        }
    }

    #[test]
    fn a_line_end_of_the_request_before_does_not_count() {
        let framing = read(b"text\ntext", &[]);
        framing.read(b't', b"POST / HTTP/1.1\r\n", true);
        assert!(framing.are_trailers_sure());
    }

    #[test]
    fn a_request_waits_for_the_end_of_the_body_before_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let framing = Framing::default();
            assert!(framing.is_sure().await);
            framing.body_began();
            let (sure, ()) = tokio::join!(framing.is_sure(), async { framing.body_ended() });
            assert!(sure);
            framing.body_began();
            assert!(!framing.is_sure().await, "nobody reads it on");
            framing.lose();
            framing.body_began();
            framing.body_ended();
            assert!(!framing.is_sure().await, "it is lost for ever");
        });
    }
}
