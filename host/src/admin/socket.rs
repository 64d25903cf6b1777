//! The control socket as a file that only its owner can use, at any time, and the socket of the admin listener.
//!
//! Invariant: the file of a living process is never removed, that of a dead one is replaced.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::stale_socket::{self, SocketPath};

const BACKLOG: i32 = 128;

/// Reasons why a control socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketProblem {
    /// A process listens there, or is about to.
    #[error(
        "another process listens there; does this app run already? (`curfew status --control PATH` tells)"
    )]
    Taken,
    /// The path names something else.
    #[error("there is a file of that name which is no socket; remove it, or choose another path")]
    NoSocket,
    /// The folder does not exist.
    #[error("its folder does not exist")]
    NoFolder,
    /// The error of the system.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// The file of a control socket. Dropping it removes the file, unless another process has put its own there. Drop it
/// before the listener, which keeps the file's inode number from being used again.
#[derive(Debug)]
pub(super) struct ControlFile {
    pub(super) path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
}

impl ControlFile {
    pub(super) fn bind(path: &Path) -> Result<(Self, UnixListener), ControlSocketProblem> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let name = path.file_name().unwrap_or_else(|| OsStr::new(""));
        let _alone = claim(folder.unwrap_or(Path::new(".")), name)?;
        match stale_socket::clear(path)? {
            SocketPath::Free => {}
            SocketPath::NoSocket => return Err(ControlSocketProblem::NoSocket),
            SocketPath::Taken => return Err(ControlSocketProblem::Taken),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        // Linux creates the file with the mode of the socket, so there is no moment with another mode.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(io::Error::from)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = Self { path: path.to_owned(), identity: identity(path)? };
        socket.listen(BACKLOG)?;
        Ok((file, socket.into()))
    }
}

impl Drop for ControlFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _gone_already = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Keeps two processes that start at the same time from each taking the other's file for a stale one. An abstract socket
/// is the lock: the system frees it when its holder drops it, or dies.
fn claim(folder: &Path, name: &OsStr) -> Result<UnixListener, ControlSocketProblem> {
    let found = std::fs::metadata(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ControlSocketProblem::NoFolder,
        _ => ControlSocketProblem::System(error),
    })?;
    let mut hasher = DefaultHasher::new();
    (found.dev(), found.ino(), name).hash(&mut hasher);
    let lock = format!("curfew-control-{:016x}", hasher.finish());
    let lock = std::os::unix::net::SocketAddr::from_abstract_name(lock)?;
    UnixListener::bind_addr(&lock).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ControlSocketProblem::Taken,
        _ => ControlSocketProblem::System(error),
    })
}

/// Binds the admin address, and returns it with the port that it got.
pub(super) fn bind_admin(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    Ok((listener.local_addr()?, listener))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        (folder, path)
    }

    #[test]
    fn only_its_owner_can_use_it_and_it_goes_with_its_owner() {
        let (_folder, path) = folder();
        let (file, _listener) = ControlFile::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_leftover_is_replaced_and_a_living_one_refused() {
        let (_folder, path) = folder();
        drop(UnixListener::bind(&path).unwrap());
        let (_file, _listener) = ControlFile::bind(&path).unwrap();
        assert!(matches!(ControlFile::bind(&path), Err(ControlSocketProblem::Taken)));
    }

    #[test]
    fn a_file_that_another_process_has_put_there_stays() {
        let (_folder, path) = folder();
        let (file, _listener) = ControlFile::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (second, _second_listener) = ControlFile::bind(&path).unwrap();
        drop(file);
        assert!(path.exists(), "it is the second one's");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn of_two_at_the_same_time_one_is_refused() {
        let (folder, path) = folder();
        let claimed = claim(folder.path(), path.file_name().unwrap()).unwrap();
        assert!(matches!(ControlFile::bind(&path), Err(ControlSocketProblem::Taken)));
        drop(claimed);
        ControlFile::bind(&path).unwrap();
    }

    #[test]
    fn other_files_stay_and_a_missing_folder_is_named() {
        let (folder, path) = folder();
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(ControlFile::bind(&path), Err(ControlSocketProblem::NoSocket)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let path = folder.path().join("none").join("control.sock");
        assert!(matches!(ControlFile::bind(&path), Err(ControlSocketProblem::NoFolder)));
    }
}
