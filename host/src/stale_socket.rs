//! Removing the unix socket of a process that has died.
//!
//! Invariant: looking never blocks. The file of a living process is never removed, even if it hangs with its queue full.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketPath {
    Free,
    NoSocket,
    Taken,
}

/// Removes the file of a socket that no process listens on any more. Returns the state of the path after that.
pub(crate) fn clear(path: &Path) -> io::Result<SocketPath> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SocketPath::Free),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(SocketPath::NoSocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map(|()| SocketPath::Free)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SocketPath::Free),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => Ok(SocketPath::Taken),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A socket whose queue is full: a client that waits for it waits for ever.
    fn hung(path: &Path) -> (Socket, Vec<Socket>) {
        let new = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        let address = SockAddr::unix(path).unwrap();
        let listener = new();
        listener.bind(&address).unwrap();
        listener.listen(0).unwrap();
        let mut clients = Vec::new();
        while clients.len() < 100 {
            let client = new();
            if client.connect(&address).is_err() {
                return (listener, clients);
            }
            clients.push(client);
        }
        panic!("the queue never fills");
    }

    #[test]
    fn only_a_dead_ones_file_goes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert_eq!(clear(&at("none")).unwrap(), SocketPath::Free);
        std::fs::write(at("file"), "mine").unwrap();
        assert_eq!(clear(&at("file")).unwrap(), SocketPath::NoSocket);
        let living = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(clear(&at("socket")).unwrap(), SocketPath::Taken);
        drop(living);
        assert_eq!(clear(&at("socket")).unwrap(), SocketPath::Free);
        assert!(at("file").exists() && !at("socket").exists());
    }

    #[test]
    fn one_that_hangs_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _hung = hung(&path);
        assert_eq!(clear(&path).unwrap(), SocketPath::Taken);
        assert!(path.exists());
    }
}
