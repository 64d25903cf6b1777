//! What a process that died has left under the path of a unix socket.
//!
//! Invariant: looking blocks nobody, and the file of a living process is never taken away: one that hangs, with its queue
//! full, lives all the same.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// What is under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or nothing any more.
    Nothing,
    /// A file of another kind.
    NoSocket,
    /// A socket that a living process has.
    Taken,
}

/// Removes the file of a socket that nobody listens on any more. Returns what is there then.
///
/// # Errors
/// When the system refuses to tell, or to remove it.
pub fn clear(path: &Path) -> io::Result<Found> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(Found::NoSocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map(|()| Found::Nothing)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => Ok(Found::Taken),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A socket whose queue is full: whoever connects and waits for it waits for ever.
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
        assert_eq!(clear(&at("none")).unwrap(), Found::Nothing);
        std::fs::write(at("file"), "mine").unwrap();
        assert_eq!(clear(&at("file")).unwrap(), Found::NoSocket);
        let living = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(clear(&at("socket")).unwrap(), Found::Taken);
        drop(living);
        assert_eq!(clear(&at("socket")).unwrap(), Found::Nothing);
        assert!(at("file").exists() && !at("socket").exists());
    }

    #[test]
    fn one_that_hangs_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _hung = hung(&path);
        assert_eq!(clear(&path).unwrap(), Found::Taken);
        assert!(path.exists());
    }
}
