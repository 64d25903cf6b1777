//! A link with a delay: a relay that passes bytes on later, each way, in their order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{Address, block_on, until};

/// A link to one address. Dropping it ends it.
pub struct Link {
    address: SocketAddr,
    connected: Arc<AtomicUsize>,
    _ends: oneshot::Sender<()>,
}

impl Link {
    /// Bytes take so long in each direction. A connection is there at once, so that a test knows what the host has to accept.
    pub fn start(to: &Address, delay: Duration) -> Link {
        let (to, connected) = (to.socket(), Arc::new(AtomicUsize::new(0)));
        let (ends, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let count = connected.clone();
        std::thread::spawn(move || {
            block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = relay(listener, to, delay, count) => {}
                    _ = ended => {}
                }
            });
        });
        Link { address: told.recv().unwrap(), connected, _ends: ends }
    }

    /// The address of this end, for what speaks the protocol of that one.
    pub fn address(&self, to: &Address) -> Address {
        match to {
            Address::Tls(_) => Address::Tls(self.address),
            _ => Address::Tcp(self.address),
        }
    }

    /// Waits until so many connections have been made to the other end.
    #[track_caller]
    pub fn wait_for_connections(&self, count: usize) {
        until(&format!("{count} connections"), || (self.connected.load(SeqCst) >= count).then_some(()));
    }
}

async fn relay(listener: TcpListener, to: SocketAddr, delay: Duration, connected: Arc<AtomicUsize>) {
    loop {
        let Ok((near, _)) = listener.accept().await else { return };
        // A client that is refused sees its connection end.
        let Ok(far) = TcpStream::connect(to).await else { continue };
        connected.fetch_add(1, SeqCst);
        [&near, &far].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        tokio::spawn(pass(near_read, far_write, delay));
        tokio::spawn(pass(far_read, near_write, delay));
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (give, mut take) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read) = from.read(&mut buffer).await {
            let _gone = give.send((Instant::now() + delay, buffer[..read].to_vec()));
            if read == 0 {
                return;
            }
        }
    });
    while let Some((at, bytes)) = take.recv().await {
        sleep_until(at).await;
        let passed = match bytes.is_empty() {
            true => to.shutdown().await,
            false => to.write_all(&bytes).await,
        };
        if passed.is_err() {
            return;
        }
    }
}
