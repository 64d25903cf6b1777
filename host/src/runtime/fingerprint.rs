//! Whether the files that a component was made of are still what they were when they were read.
//!
//! Invariant: equal fingerprints mean equal content, as far as the system tells: no program can set the time of the last
//! change of a file's data or attributes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::plan::ComponentPlan;

/// One version of a file, as the system describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Returns the fingerprint of a file. Take it before the file is read: a write in between is then seen the next time.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
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

/// The files that a component was made of.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceFiles {
    pub(super) component: Option<Fingerprint>,
    /// SHA-256 of the content of its own file.
    pub(super) digest: Option<[u8; 32]>,
    /// Of its certificate and its key.
    pub(super) tls: Vec<Option<Fingerprint>>,
}

impl SourceFiles {
    pub(super) fn tls_of(plan: &ComponentPlan) -> Vec<Option<Fingerprint>> {
        let tls = plan.http.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
        tls.map(|path| Fingerprint::of(path).ok()).collect()
    }
}
