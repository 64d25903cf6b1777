//! A socket that is bound: before anything starts, or before a switch.
//!
//! Invariant: binding disturbs no socket that listens already. A socket that another process has given us stays its own: no
//! file of it is removed, and nothing is set on it that would outlast us.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, SockAddr, Socket, Type};

use super::acceptor::Acceptor;
use crate::plan::ListenAddress;
use crate::stale_socket;
use crate::systemd;

/// Connections that the system keeps for us.
const BACKLOG: i32 = 4096;

/// A socket that is bound. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// As it was bound: with the port that the system chose.
    pub(crate) address: ListenAddress,
    /// Clients can connect.
    listens: bool,
    /// It ends with us. A socket that was given to us does not.
    pub(crate) is_ours: bool,
    /// Its file, if it is a unix socket.
    pub(crate) file: Option<Arc<SocketFile>>,
}

/// The file of a unix socket that is ours. Dropping it removes the file. It is removed once: another process can have put its
/// own there since.
#[derive(Debug)]
pub(crate) struct SocketFile(Mutex<Option<PathBuf>>);

impl SocketFile {
    /// Removes the file, so that no new client finds the socket.
    pub(crate) fn remove(&self) {
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
    /// Binds an address. No client is accepted yet, but clients can connect.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn bind(address: &ListenAddress) -> io::Result<Self> {
        let mut listener = Self::bound(address, false)?;
        listener.listen()?;
        Ok(listener)
    }

    /// Binds an address that is a part of what these listen on, or the other way round. Clients cannot connect before
    /// [`Listener::listen_beside`]: it would take them away from the others.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn bind_beside(address: &ListenAddress, acceptors: &[Arc<Acceptor>]) -> io::Result<Self> {
        beside(acceptors, || {
            let listener = Self::bound(address, true)?;
            listener.share(false)?;
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
        Ok(Self { socket, address, listens: false, is_ours: true, file })
    }

    /// Returns the sockets of this name that the service manager listens on already.
    ///
    /// # Errors
    /// When there is none, or it is of a family that is not served.
    pub(crate) fn activated(name: &str) -> io::Result<Vec<Self>> {
        let address = ListenAddress::Activated(name.to_owned());
        systemd::take(name)
            .map_err(io::Error::other)?
            .into_iter()
            .map(|fd| Self::adopt(fd, &address))
            .collect()
    }

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// When it does not listen, is neither TCP nor a unix socket, or the system refuses.
    pub(crate) fn adopt(fd: OwnedFd, address: &ListenAddress) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if !socket.is_listener()? {
            return Err(io::Error::other("it is no socket that listens"));
        }
        let local = socket.local_addr()?;
        let address = match (local.as_socket(), local.is_unix()) {
            (Some(address), _) => ListenAddress::Ip(address),
            (None, true) => local
                .as_pathname()
                .map_or_else(|| address.clone(), |path| ListenAddress::Unix(path.to_owned())),
            (None, false) => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        Ok(Self { socket, address, listens: true, is_ours: false, file: None })
    }

    fn listen(&mut self) -> io::Result<()> {
        if !self.listens {
            self.socket.listen(BACKLOG)?;
            self.listens = true;
        }
        Ok(())
    }

    /// Lets clients connect, beside these.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen_beside(&mut self, acceptors: &[Arc<Acceptor>]) -> io::Result<()> {
        if self.listens {
            return Ok(());
        }
        beside(acceptors, || {
            self.share(true)?;
            self.listen()?;
            self.share(false)
        })
    }

    fn share(&self, shared: bool) -> io::Result<()> {
        self.socket.set_reuse_port(shared)
    }

    /// Gives the socket away.
    pub(crate) fn into_socket(self) -> Socket {
        self.socket
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
        let listener = Listener::bind(&ListenAddress::Unix(path.clone())).unwrap();
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    }
}
