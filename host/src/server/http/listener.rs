//! A listening socket: bound before anything starts, accepted from until its address drains.
//!
//! Invariant: accepting never fails for good; and when it ends, whoever was connected already is accepted, and
//! nobody else is: what is left in the queue when a socket is closed would be reset.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use socket2::{Domain, SockAddr, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::connection::{Accepted, Stream};
use super::group::{Group, Stage};
use crate::plan::ListenAddress;

/// Connections that the system keeps for us.
const BACKLOG: i32 = 4096;
/// Pause after an error that only time or others can mend, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);
/// A filter that lets no packet pass (`BPF_RET | BPF_K`, 0 bytes): nobody else connects.
const NOBODY: u16 = 0x06;

/// What the client of a unix socket is called.
const UNIX_CLIENT: &str = "unix";

/// A socket that is bound and listens. Dropping it closes it, and removes a unix socket's file.
#[derive(Debug)]
pub struct Listener {
    socket: Option<Socket>,
    /// As it was bound: with the port that the system chose.
    pub address: ListenAddress,
}

impl Listener {
    /// Binds an address. Nobody is accepted yet, but clients can connect.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn bind(address: &ListenAddress) -> io::Result<Self> {
        let (domain, name) = match address {
            ListenAddress::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            ListenAddress::Unix(path) => {
                remove_leftover(path)?;
                (Domain::UNIX, SockAddr::unix(path)?)
            }
            ListenAddress::Activated(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
        if let ListenAddress::Ip(_) = address {
            socket.set_reuse_address(true)?;
        }
        if let ListenAddress::Ip(std::net::SocketAddr::V6(_)) = address {
            // `[::]` is every IPv6 address and no IPv4 one, whatever the system's default.
            socket.set_only_v6(true)?;
        }
        socket.bind(&name)?;
        socket.listen(BACKLOG)?;
        let bound = socket.local_addr()?.as_socket();
        let address = bound.map_or_else(|| address.clone(), ListenAddress::Ip);
        Ok(Self { socket: Some(socket), address })
    }

    /// Accepts connections into a group until it drains.
    pub async fn accept(mut self, group: Arc<Group>) {
        let Some(socket) = self.socket.take() else { return };
        let address = self.address.clone();
        let intake = group.intake();
        let mut stage = group.watch();
        let entrance = match &address {
            ListenAddress::Ip(_) => TcpListener::from_std(socket.into()).map(Entrance::Tcp),
            ListenAddress::Unix(_) | ListenAddress::Activated(_) => {
                UnixListener::from_std(socket.into()).map(Entrance::Unix)
            }
        };
        match entrance {
            Ok(entrance) => {
                tokio::select! {
                    biased;
                    _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
                    () = accept_for_ever(&entrance, &group) => {}
                }
                if let Err(error) = close(entrance, &address, &group) {
                    tracing::debug!(%error, "a client that connects in this moment can be reset");
                }
            }
            Err(error) => tracing::error!(address = group.url, %error, "cannot be accepted from"),
        }
        drop(intake);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let (Some(_), ListenAddress::Unix(path)) = (&self.socket, &self.address) {
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

/// A listening socket in the hands of the thread's event loop.
enum Entrance {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Entrance {
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

/// Lets nobody else connect, accepts those who have, and closes.
fn close(entrance: Entrance, address: &ListenAddress, group: &Arc<Group>) -> io::Result<()> {
    match entrance {
        Entrance::Tcp(listener) => {
            let listener = listener.into_std()?;
            let filtered = SockRef::from(&listener).attach_filter(&[SockFilter::new(NOBODY, 0, 0, 0)]);
            while let Ok((stream, peer)) = listener.accept() {
                stream.set_nonblocking(true)?;
                hand_over(group, Stream::Tcp(stream), client(peer));
            }
            filtered
        }
        Entrance::Unix(listener) => {
            let listener = listener.into_std()?;
            if let ListenAddress::Unix(path) = address {
                let _gone_already = std::fs::remove_file(path);
            }
            while let Ok((stream, _unnamed)) = listener.accept() {
                stream.set_nonblocking(true)?;
                hand_over(group, Stream::Unix(stream), UNIX_CLIENT.to_owned());
            }
            Ok(())
        }
    }
}

/// Removes the file of a unix socket that nobody listens on any more.
fn remove_leftover(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

async fn accept_for_ever(entrance: &Entrance, group: &Arc<Group>) {
    let mut told = false;
    loop {
        group.room().await;
        match entrance.accept().await {
            Ok((stream, client)) => {
                told = false;
                hand_over(group, stream, client);
            }
            // The client has left, or the network is in trouble: the next one can be fine.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if !told {
                    tracing::warn!(address = group.url, %error, "cannot accept, trying on");
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

fn hand_over(group: &Arc<Group>, stream: Stream, client: String) {
    if let Stream::Tcp(stream) = &stream {
        // Answers are written whole: waiting for more would only delay them.
        let _slower = stream.set_nodelay(true);
    }
    let (intake, counted) = (group.intake(), group.count());
    if let Some(host) = group.host() {
        let (host, group) = (host.clone(), group.clone());
        host.clone().place(Accepted { stream, client, group, host, intake, counted });
    }
}
