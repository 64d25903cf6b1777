//! A socket of an address: bound, then accepted from until it closes: alone when the address is heard elsewhere from now on, or
//! with its address when that drains.
//!
//! Invariant: accepting never fails for good. When it ends, clients that were connected already are accepted, and no
//! others: a client that is left in the queue of a socket that closes would be reset. A socket that was given to us stays open
//! when we let go of it: its queue is for the process that accepts from it next.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::{Domain, SockAddr, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::SetOnce;

use super::address::{Address, CountedConnection, Intake, Stage, TooMany};
use super::client_connections::ClientConnection;
use crate::plan::ListenAddress;
use crate::server::generation::ClientFault;
use crate::server::worker::{ConnectionSlot, Workers};
use crate::stale_socket;
use crate::systemd;

/// Connections that the system keeps for us.
const BACKLOG: i32 = 4096;
/// Pause after an error that only time or other processes can mend, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);
/// Time for clients that were about to connect to a socket whose address is heard elsewhere from now on.
const HANDSHAKES: Duration = Duration::from_secs(1);
const UNIX_CLIENT: &str = "unix";

/// A filter that lets no new client begin, while others still shake hands: it drops segments with the flag SYN.
const NOBODY_NEW: [SockFilter; 4] = [
    // Load the byte with the flags of the TCP header; if SYN is set in it let nothing pass, else everything.
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// A socket that is bound: before anything starts, or before a switch. Dropping it closes it.
///
/// Invariant: binding disturbs no socket that listens already. A socket that another process has given us stays its own: no
/// file of it is removed, and nothing is set on it that would outlast us.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// As it was bound: with the port that the system chose.
    address: ListenAddress,
    /// It ends with us. A socket that was given to us does not.
    is_ours: bool,
    /// Its file, if it is a unix socket of ours.
    file: Option<Arc<SocketFile>>,
}

/// The file of a unix socket that is ours. Dropping it removes the file. It is removed once: another process can have put its
/// own there since.
#[derive(Debug)]
struct SocketFile(Mutex<Option<PathBuf>>);

impl SocketFile {
    fn remove(&self) {
        if let Some(path) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Listener {
    /// Binds an address. No client is accepted yet, but clients can connect. Where the address is a part of what `acceptors`
    /// listen on, or the other way round, they cannot before [`Listener::listen_beside`]: it would take them away from these.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn bind(address: &ListenAddress, acceptors: &[Arc<Acceptor>]) -> io::Result<Self> {
        if acceptors.is_empty() {
            let listener = Self::bound(address, false)?;
            listener.socket.listen(BACKLOG)?;
            return Ok(listener);
        }
        beside(acceptors, || {
            let listener = Self::bound(address, true)?;
            listener.socket.set_reuse_port(false)?;
            Ok(listener)
        })
    }

    fn bound(address: &ListenAddress, shared: bool) -> io::Result<Self> {
        let (domain, name) = match address {
            ListenAddress::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            ListenAddress::Unix(path) => {
                // A path that is taken, or that is no socket, cannot be bound.
                let _found = stale_socket::clear(path)?;
                (Domain::UNIX, SockAddr::unix(path)?)
            }
            ListenAddress::Activated(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
        if let ListenAddress::Ip(_) = address {
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(shared)?;
        }
        if let ListenAddress::Ip(SocketAddr::V6(_)) = address {
            // `[::]` is every IPv6 address and no IPv4 one, whatever the system's default.
            socket.set_only_v6(true)?;
        }
        socket.bind(&name)?;
        let address = socket.local_addr()?.as_socket().map_or_else(|| address.clone(), ListenAddress::Ip);
        let file = match &address {
            ListenAddress::Unix(path) => Some(Arc::new(SocketFile(Mutex::new(Some(path.clone()))))),
            ListenAddress::Ip(_) | ListenAddress::Activated(_) => None,
        };
        Ok(Self { socket, address, is_ours: true, file })
    }

    /// Returns the sockets of this name that the service manager listens on already.
    ///
    /// # Errors
    /// When there is none, or it is of a family that is not served.
    pub(crate) fn activated(name: &str) -> io::Result<Vec<Self>> {
        let address = ListenAddress::Activated(name.to_owned());
        let sockets = systemd::take(name).map_err(io::Error::other)?;
        sockets.into_iter().map(|fd| Self::adopt(fd, &address)).collect()
    }

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// When it does not listen, is neither TCP nor a unix socket, or the system refuses.
    fn adopt(fd: OwnedFd, address: &ListenAddress) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if !socket.is_listener()? {
            return Err(io::Error::other("it is no socket that listens"));
        }
        let local = socket.local_addr()?;
        let address = match (local.as_socket(), local.as_pathname()) {
            (Some(address), _) => ListenAddress::Ip(address),
            (None, Some(path)) => ListenAddress::Unix(path.to_owned()),
            (None, None) if local.is_unix() => address.clone(),
            (None, None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        Ok(Self { socket, address, is_ours: false, file: None })
    }

    /// Lets clients connect, beside these.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen_beside(&self, acceptors: &[Arc<Acceptor>]) -> io::Result<()> {
        let socket = &self.socket;
        if socket.is_listener()? {
            return Ok(());
        }
        beside(acceptors, || {
            socket.set_reuse_port(true)?;
            socket.listen(BACKLOG)?;
            socket.set_reuse_port(false)
        })
    }
}

/// Calls `what` while these sockets share their port. Before and after, no other socket can bind it.
fn beside<T>(acceptors: &[Arc<Acceptor>], what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let opened = acceptors.iter().try_for_each(|acceptor| acceptor.share(true));
    let result = opened.and_then(|()| what());
    for acceptor in acceptors {
        // No reason is known to refuse this.
        let _shared_on = acceptor.share(false);
    }
    result
}

/// Serves a connection to its end, on the worker of this slot.
pub(crate) type Serve = fn(Accepted, usize, ConnectionSlot) -> ServeFuture;

pub(crate) type ServeFuture = BoxFuture<'static, ()>;

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// Returns the same stream with the lowest descriptor that is free.
    ///
    /// # Errors
    /// When none is.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A connection on its way to the thread that serves it.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Its stream, which does not block.
    pub(crate) stream: Stream,
    pub(crate) client: String,
    pub(crate) address: Arc<Address>,
    /// The threads that serve it.
    pub(crate) host: Arc<Workers>,
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

#[derive(Debug)]
pub(crate) struct PendingAcceptor {
    pub(crate) acceptor: Arc<Acceptor>,
    pub(crate) address: Arc<Address>,
    pub(crate) listener: Listener,
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

    pub(crate) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

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
        let Self { acceptor, address, listener: Listener { socket, is_ours, .. }, intake } = self;
        let mut stage = address.watch();
        match ListeningSocket::new(socket, &acceptor.listens_on).map(Arc::new) {
            Ok(entrance) => {
                *acceptor.lock() = Some(entrance.clone());
                let mut arrived = None;
                let accept = async {
                    address.opened.wait().await;
                    acceptor.announce(&address);
                    accept_for_ever(&entrance, &address, &mut arrived).await;
                };
                let alone = tokio::select! {
                    biased;
                    _ = stage.wait_for(|stage| *stage >= Stage::Drain) => false,
                    _ = acceptor.closes.wait() => true,
                    () = accept => false,
                };
                drop(acceptor.lock().take());
                hand_over(&address, arrived);
                // A filter would stay on a socket that is not ours, and it would refuse all clients.
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
        let (mut stage, mut arrived) = (address.watch(), None);
        tokio::select! {
            _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
            () = tokio::time::sleep(HANDSHAKES) => {}
            () = accept_for_ever(&entrance, address, &mut arrived) => {}
        }
        hand_over(address, arrived);
    }
    // The system is asked: the event loop may not have heard of all of them.
    while let Ok((stream, peer)) = entrance.socket().accept() {
        stream.set_nonblocking(true)?;
        let arrived = match peer.as_socket() {
            Some(peer) => Arrived::admit(address, Stream::Tcp(stream.into()), client(peer)),
            None => Arrived::admit(address, Stream::Unix(stream.into()), UNIX_CLIENT.to_owned()),
        };
        hand_over(address, arrived);
    }
    bolted
}

/// Accepts connections, and hands each over when there is a place for it. `arrived` is the one that waits for its place: it is
/// left there when this is dropped.
async fn accept_for_ever(entrance: &ListeningSocket, address: &Arc<Address>, arrived: &mut Option<Arrived>) {
    let mut told = false;
    loop {
        if let Some(Arrived { stream, .. }) = arrived {
            address.room().await;
            address.descriptors.spare(address, stream).await;
            hand_over(address, arrived.take());
        }
        match entrance.accept().await {
            Ok((stream, client)) => {
                told = false;
                *arrived = Arrived::admit(address, stream, client);
            }
            // The client has left, or the network is in trouble: the next one can be fine.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if !told {
                    tracing::warn!(component = address.routing().names(), %error, "cannot accept, trying on");
                    told = true;
                }
                match is_shortage(&error) {
                    true => address.descriptors.room().await,
                    false => tokio::time::sleep(PAUSE).await,
                }
            }
        }
    }
}

/// Returns whether there are no descriptors left.
fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// accept(2) names these as errors to go on after.
fn is_the_clients(error: &io::Error) -> bool {
    use nix::libc::{ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH};
    use nix::libc::{ENONET, ENOPROTOOPT, EOPNOTSUPP, EPERM, EPROTO};
    let network = [EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP, EPROTO];
    let client = [ECONNABORTED, EINTR, EPERM];
    error.raw_os_error().is_some_and(|code| network.contains(&code) || client.contains(&code))
}

/// A connection that was accepted, and has no place yet.
struct Arrived {
    stream: Stream,
    client: String,
    place: Option<ClientConnection>,
}

impl Arrived {
    /// Resets the connection if its client has as many as it may.
    fn admit(address: &Address, stream: Stream, client: String) -> Option<Self> {
        match address.admit(&client) {
            Ok(place) => Some(Self { stream, client, place }),
            Err(TooMany) => {
                let _best_effort = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                address.client_fault(ClientFault::TooManyConnections, &client);
                None
            }
        }
    }
}

fn hand_over(address: &Arc<Address>, arrived: Option<Arrived>) {
    let Some(Arrived { stream, client, place }) = arrived else { return };
    if let Stream::Tcp(stream) = &stream {
        // Answers are written whole: waiting for more would only delay them.
        let _slower = stream.set_nodelay(true);
    }
    let (intake, counted) = (address.intake(), address.count(place));
    if let Some(host) = address.host() {
        let (address, serve) = (address.clone(), address.serve);
        let accepted = Accepted { stream, client, address, host: host.clone(), intake, counted };
        host.place(move |worker, slot| serve(accepted, worker, slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_already_is_taken_over_and_left_where_it_is() {
        let named = ListenAddress::Activated("web".to_owned());
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let adopted = Listener::adopt(tcp.into(), &named).unwrap();
        assert_eq!(adopted.address, ListenAddress::Ip(address));
        assert!(std::net::TcpStream::connect(address).is_ok());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let adopted = Listener::adopt(unix.into(), &named).unwrap();
        assert_eq!(adopted.address, ListenAddress::Unix(path.clone()));
        drop(adopted);
        assert!(path.exists(), "its file is not ours");
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Listener::adopt(datagrams.into(), &named).is_err());
    }

    #[test]
    fn what_was_bound_is_gone_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone()), &[]).unwrap();
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    }
}
