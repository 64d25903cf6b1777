//! The end of a connection whose client still sends: closing at once would make the system take the answer back. nginx
//! calls it `lingering_close`. Invariant: it is bounded in time and bytes, and ends with its address at the latest.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::transport::Transport;
use crate::server::address::address::{Address, Stage};

/// The time that a connection without a request in flight has when its address drains.
pub(crate) const STRAGGLE: Duration = Duration::from_secs(1);
/// How long a socket is looked at when its address drains: what has come to it until then is known when the thread has asked
/// the system once more. A timer fires behind that. A task that only yields can be woken before, by something else.
pub(crate) const LAST_LOOK: Duration = Duration::from_millis(1);
/// The time for which such a client is read, unless the app drains.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// The most bytes that are read of it.
const LINGER_BYTES: usize = 64 << 20;

/// Reads what the client still sends, for so long at most, so that it gets its answer.
pub(crate) async fn linger(address: &Address, most: Duration, mut stream: impl Transport) {
    let mut stage = address.watch();
    let read_on = timeout(most, async {
        let mut waste = vec![0; 16 << 10];
        let mut read = 0;
        while let Ok(some @ 1..) = stream.read(&mut waste).await {
            read += some;
            if read > LINGER_BYTES {
                return;
            }
        }
    });
    tokio::select! {
        _over = read_on => {}
        _ = stage.wait_for(|stage| *stage == Stage::Cut) => {}
    }
}
