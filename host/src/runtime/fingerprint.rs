//! Whether a file is still what it was when it was read.
//!
//! Invariant: two stamps that are equal mean the same content, as far as the system tells: the time of the last change of the
//! file's data or attributes cannot be set by anybody.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the system tells of one version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Returns the stamp of a file. Look before it is read: what is written meanwhile is seen the next time.
    ///
    /// # Errors
    /// When the file cannot be reached.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}
