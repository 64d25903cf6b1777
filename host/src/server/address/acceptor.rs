//! A socket on which an address accepts connections, from its opening until it closes: alone when the address is heard
//! elsewhere from now on, or with its address when that drains.
//!
//! Invariant: accepting never fails for good. When it ends, clients that were connected already are accepted, and no
//! others: a client that is left in the queue of a socket that closes would be reset. A socket that was given to us stays open
//! when we let go of it: its queue is for the process that accepts from it next.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use nix::libc;
use socket2::{SockFilter, SockRef, Socket};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::SetOnce;

use super::address::{Address, CountedConnection, Intake, Stage};
use super::listener::{Listener, SocketFile};
use crate::plan::ListenAddress;
use crate::server::worker::{ConnectionSlot, Workers};

/// Pause after an error that only time or other processes can mend, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);
/// Time for clients that were about to connect to a socket whose address is heard elsewhere from now on.
const HANDSHAKES: Duration = Duration::from_secs(1);
/// The client's name on a unix socket.
const UNIX_CLIENT: &str = "unix";

/// A filter that lets no new client begin, while others still shake hands: it drops segments with the flag SYN.
const NOBODY_NEW: [SockFilter; 4] = [
    // Load the byte with the flags of the TCP header; if SYN is set in it let nothing pass, else everything.
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Serves a connection to its end, on the worker of this slot.
pub(crate) type Serve = fn(Accepted, usize, ConnectionSlot) -> ServeFuture;

pub(crate) type ServeFuture = BoxFuture<'static, ()>;

/// A stream as it was accepted.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection on its way to the thread that serves it.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Its stream, which does not block.
    pub(crate) stream: Stream,
    /// The client's address.
    pub(crate) client: String,
    pub(crate) address: Arc<Address>,
    /// The threads that serve it.
    pub(crate) host: Arc<Workers>,
    /// It can bring requests.
    pub(crate) intake: Intake,
    pub(crate) counted: CountedConnection,
}

/// One listening socket of an address.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listens_on: ListenAddress,
    socket: Mutex<Option<Arc<ListeningSocket>>>,
    file: Option<Arc<SocketFile>>,
    closes: SetOnce<()>,
    /// The log has told that it listens.
    announced: AtomicBool,
}

/// An acceptor that is to be opened.
#[derive(Debug)]
pub(crate) struct PendingAcceptor {
    pub(crate) acceptor: Arc<Acceptor>,
    pub(crate) address: Arc<Address>,
    pub(crate) listener: Listener,
    /// It can bring connections.
    pub(crate) intake: Intake,
}

impl Acceptor {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<ListeningSocket>>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether its port can be shared by a socket that binds it now.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn share(&self, shared: bool) -> io::Result<()> {
        match self.lock().as_deref() {
            Some(ListeningSocket::Tcp(listener)) => SockRef::from(listener).set_reuse_port(shared),
            Some(ListeningSocket::Unix(_)) | None => Ok(()),
        }
    }

    /// Removes the file of a unix socket of ours: new clients do not find it any more.
    pub(crate) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Closes it, while its address serves on.
    pub(crate) fn close(&self) {
        let _again = self.closes.set(());
    }

    /// Logs that it listens, the first time. A client that connects from now on is served.
    pub(crate) fn announce(&self, address: &Address) {
        if !self.announced.swap(true, Ordering::Relaxed) {
            self.log(address, "listening");
        }
    }

    fn log(&self, address: &Address, message: &str) {
        tracing::info!(component = address.routing().names(), address = self.url(address), "{message}");
    }

    /// Returns its address as users write it.
    pub(crate) fn url(&self, address: &Address) -> String {
        let routing = address.routing();
        match &self.listens_on {
            ListenAddress::Ip(ip) => {
                let [plain, tls] = routing.members.first().map_or(["", ""], |first| first.protocol.schemes);
                format!("{}://{ip}", if routing.tls.is_some() { tls } else { plain })
            }
            other => other.to_string(),
        }
    }
}

impl PendingAcceptor {
    /// Returns what opens an acceptor of an address.
    pub(crate) fn new(address: &Arc<Address>, listener: Listener) -> Self {
        let (listens_on, file) = (listener.address.clone(), listener.file.clone());
        let acceptor = Arc::new(Acceptor {
            listens_on,
            socket: Mutex::default(),
            file,
            closes: SetOnce::new(),
            announced: AtomicBool::new(false),
        });
        Self { acceptor, address: address.clone(), listener, intake: address.intake() }
    }

    /// Accepts connections from when all can serve until the address drains, or the acceptor closes.
    pub(crate) async fn accept(self) {
        let Self { acceptor, address, listener, intake } = self;
        let is_ours = listener.is_ours;
        let mut stage = address.watch();
        match ListeningSocket::new(listener.into_socket(), &acceptor.listens_on).map(Arc::new) {
            Ok(entrance) => {
                *acceptor.lock() = Some(entrance.clone());
                let accept = async {
                    address.opened().await;
                    acceptor.announce(&address);
                    accept_for_ever(&entrance, &address).await;
                };
                let alone = tokio::select! {
                    biased;
                    _ = stage.wait_for(|stage| *stage >= Stage::Drain) => false,
                    _ = acceptor.closes.wait() => true,
                    () = accept => false,
                };
                drop(acceptor.lock().take());
                // A filter would stay on a socket that is not ours, and nobody could connect to it ever again.
                if is_ours && let Err(error) = close(entrance, &acceptor, &address, alone).await {
                    tracing::debug!(%error, "a client that connects in this moment can be reset");
                }
            }
            Err(error) => tracing::error!(address = %acceptor.listens_on, %error, "cannot be accepted from"),
        }
        address.acceptor_closed(&acceptor);
        if acceptor.announced.load(Ordering::Relaxed) {
            acceptor.log(&address, "listener closed");
        }
        drop(intake);
    }
}

/// A listening socket in the hands of the thread's event loop.
#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    fn new(socket: Socket, listens_on: &ListenAddress) -> io::Result<Self> {
        match listens_on {
            ListenAddress::Ip(_) => TcpListener::from_std(socket.into()).map(Self::Tcp),
            _ => UnixListener::from_std(socket.into()).map(Self::Unix),
        }
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(listener) => SockRef::from(listener),
            Self::Unix(listener) => SockRef::from(listener),
        }
    }

    async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream.into_std()?), client(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _unnamed) = listener.accept().await?;
                Ok((Stream::Unix(stream.into_std()?), UNIX_CLIENT.to_owned()))
            }
        }
    }
}

fn client(peer: SocketAddr) -> String {
    peer.ip().to_canonical().to_string()
}

/// Lets no other client connect, accepts those that have, and closes. `alone`: its address serves on, and clients that were
/// about to connect get the time for it.
async fn close(
    entrance: Arc<ListeningSocket>,
    acceptor: &Acceptor,
    address: &Arc<Address>,
    alone: bool,
) -> io::Result<()> {
    acceptor.remove_file();
    let bolted = match &*entrance {
        ListeningSocket::Tcp(listener) => SockRef::from(listener).attach_filter(&NOBODY_NEW),
        // Its file is gone: it has no new clients.
        ListeningSocket::Unix(_) => Ok(()),
    };
    if alone {
        let mut stage = address.watch();
        tokio::select! {
            _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
            () = tokio::time::sleep(HANDSHAKES) => {}
            () = accept_for_ever(&entrance, address) => {}
        }
    }
    // The system is asked: the event loop may not have heard of all of them.
    while let Ok((stream, peer)) = entrance.socket().accept() {
        stream.set_nonblocking(true)?;
        match peer.as_socket() {
            Some(peer) => hand_over(address, Stream::Tcp(stream.into()), client(peer)),
            None => hand_over(address, Stream::Unix(stream.into()), UNIX_CLIENT.to_owned()),
        }
    }
    bolted
}

async fn accept_for_ever(entrance: &ListeningSocket, address: &Arc<Address>) {
    let mut told = false;
    loop {
        address.room().await;
        match entrance.accept().await {
            Ok((stream, client)) => {
                told = false;
                hand_over(address, stream, client);
            }
            // The client has left, or the network is in trouble: the next one can be fine.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if !told {
                    tracing::warn!(component = address.routing().names(), %error, "cannot accept, trying on");
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// accept(2) names these as errors to go on after.
fn is_the_clients(error: &io::Error) -> bool {
    let codes = [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::EPROTO,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
    ];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn hand_over(address: &Arc<Address>, stream: Stream, client: String) {
    if let Stream::Tcp(stream) = &stream {
        // Answers are written whole: waiting for more would only delay them.
        let _slower = stream.set_nodelay(true);
    }
    let (intake, counted) = (address.intake(), address.count());
    if let Some(host) = address.host() {
        let (address, serve) = (address.clone(), address.serve);
        let accepted = Accepted { stream, client, address, host: host.clone(), intake, counted };
        host.place(Box::new(move |worker, slot| serve(accepted, worker, slot)));
    }
}
