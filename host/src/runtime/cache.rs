//! Compiled components on disk, so that the second start is fast. A damaged cache costs time, not safety.
//!
//! Invariant: a loaded entry is exactly the one that was stored. Its name is made of the content of the file, the tools that
//! adapt core modules, the engine's settings and our version. Its checksum is verified before its use. A rename puts it in its
//! place, so no process sees half of one. Only this user and root can write to the folder: a compiled component is machine code.

use std::fs::File;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

use super::adapt;
use super::code::Code;

/// The first bytes of an entry. Change it when the layout changes: magic, checksum of the rest, the rest.
const MAGIC: &[u8; 16] = b"curfew cache v1\n";
const DIGEST: usize = 32;
const ENTRY: &str = ".cwasm";
/// Prefix of an entry that is being written.
const UNFINISHED: &str = ".curfew-";
/// Time after which an unused entry is removed.
const ENTRY_STAYS: Duration = Duration::from_hours(30 * 24);
/// The same for an unfinished entry: its writer is gone by then.
const UNFINISHED_STAYS: Duration = Duration::from_hours(1);

/// A folder of compiled components.
#[derive(Clone, Debug)]
pub struct Cache {
    /// All names are looked up in this very folder: others can put another one in its place.
    folder: Arc<OwnedFd>,
    path: PathBuf,
    /// The log has told that nothing can be kept.
    was_told: Arc<AtomicBool>,
}

impl Cache {
    /// Opens a cache folder, and makes it if it is not there. In a folder that others can write to, as most volumes of containers
    /// are, it is a folder below.
    ///
    /// # Errors
    /// When it cannot be made, or other users own it or can write to it.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let cannot = |verb, path: &Path, error: io::Error| {
            format!("cannot {verb} the cache folder {}: {error}", path.display())
        };
        let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        make.map_err(|error| cannot("make", folder, error))?;
        let named = open_folder(AT_FDCWD, folder, OFlag::empty());
        let named = named.map_err(|error| cannot("open", folder, error.into()))?;
        if is_private(&named) {
            return Ok(Self::of(named, folder.to_owned()));
        }
        let name = format!("curfew-{}", geteuid());
        let path = folder.join(&name);
        match mkdirat(&named, name.as_str(), Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(cannot("make", &path, error.into())),
        }
        let own = open_folder(&named, Path::new(&name), OFlag::O_NOFOLLOW);
        let own = own.map_err(|error| cannot("open", &path, error.into()))?;
        match is_private(&own) {
            true => Ok(Self::of(own, path)),
            false => Err(format!(
                "the cache folder {} belongs to others or can be written by others: remove it, or give it mode 0700",
                path.display()
            )),
        }
    }

    fn of(folder: OwnedFd, path: PathBuf) -> Self {
        Self { folder: Arc::new(folder), path, was_told: Arc::default() }
    }

    /// Returns the default folder: `$CURFEW_CACHE_DIR`, else `curfew` in `$XDG_CACHE_HOME` or `~/.cache`.
    pub fn default_folder() -> Option<PathBuf> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        var("CURFEW_CACHE_DIR")
            .or_else(|| var("XDG_CACHE_HOME").map(|base| base.join("curfew")))
            .or_else(|| var("HOME").map(|home| home.join(".cache").join("curfew")))
    }

    /// Returns the compiled code of a file, `None` if it is missing or damaged. `wasm` is the file, not adapted.
    pub(super) fn load(&self, engine: &Engine, wasm: &[u8]) -> Option<Code> {
        let mut file = self.file(&entry_of(engine, wasm), OFlag::O_RDONLY).ok()?;
        let mut entry = Vec::new();
        file.read_to_end(&mut entry).ok()?;
        let code = deserialize(engine, verified(&entry)?)?;
        // An entry whose time cannot be set goes too early, and comes back.
        let _noted = file.set_modified(SystemTime::now());
        Some(code)
    }

    pub(super) fn store(&self, engine: &Engine, wasm: &[u8], code: &Code) {
        if let Err(error) = self.try_store(engine, wasm, code)
            && !self.was_told.swap(true, Ordering::Relaxed)
        {
            let (folder, hint) =
                (self.path.display(), "name another folder with CURFEW_CACHE_DIR or --cache");
            tracing::warn!(%folder, %error, hint, "compiled components cannot be kept: each start compiles them again");
        }
    }

    fn try_store(&self, engine: &Engine, wasm: &[u8], code: &Code) -> wasmtime::Result<()> {
        let code = code.serialize()?;
        let unfinished = format!("{UNFINISHED}{:016x}", RandomState::new().hash_one(std::process::id()));
        let mut file = self.file(&unfinished, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        let digest = Sha256::digest(&code);
        let parts = [MAGIC.as_slice(), digest.as_slice(), code.as_slice()];
        let written = parts.into_iter().try_for_each(|part| file.write_all(part));
        let name = entry_of(engine, wasm);
        let kept = written
            .and_then(|()| Ok(renameat(&self.folder, unfinished.as_str(), &self.folder, name.as_str())?));
        if let Err(error) = kept {
            let _gone_already = self.remove(&unfinished);
            return Err(error.into());
        }
        self.prune(SystemTime::now())?;
        Ok(())
    }

    fn file(&self, name: &str, flags: OFlag) -> nix::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
    }

    fn remove(&self, name: &str) -> nix::Result<()> {
        unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir)
    }

    fn prune(&self, now: SystemTime) -> nix::Result<()> {
        for found in open_dir(&self.folder)?.iter() {
            let found = found?;
            let Ok(name) = found.file_name().to_str() else { continue };
            let stays = match name {
                name if name.starts_with(UNFINISHED) => UNFINISHED_STAYS,
                name if is_entry(name) => ENTRY_STAYS,
                _ => continue,
            };
            // Another process can be faster.
            let used =
                self.file(name, OFlag::O_RDONLY).ok().and_then(|file| file.metadata().ok()?.modified().ok());
            if used.is_some_and(|used| now.duration_since(used).is_ok_and(|idle| idle > stays)) {
                let _gone_already = self.remove(name);
            }
        }
        Ok(())
    }
}

/// Returns the name of the entry of a file.
fn entry_of(engine: &Engine, wasm: &[u8]) -> String {
    let mut settings = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    let mut key = Sha256::new();
    key.update(env!("CARGO_PKG_VERSION"));
    key.update(adapt::MADE_BY);
    key.update(settings.finish().to_le_bytes());
    key.update(wasm);
    key.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ENTRY
}

fn open_folder(at: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    openat(at, path, flags | OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

fn open_dir(folder: impl AsFd) -> nix::Result<Dir> {
    Dir::openat(folder, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Returns whether only this user and root, who can change curfew itself, can write to a folder.
fn is_private(folder: impl AsFd) -> bool {
    fstat(folder).is_ok_and(|found| {
        let is_trusted = found.st_uid == geteuid().as_raw() || found.st_uid == 0;
        is_trusted && found.st_mode & 0o022 == 0
    })
}

/// Returns whether a file is an entry: a folder that the user named can have others.
fn is_entry(name: &str) -> bool {
    let digest = name.strip_suffix(ENTRY);
    digest.is_some_and(|digest| {
        digest.len() == 2 * DIGEST && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn verified(entry: &[u8]) -> Option<&[u8]> {
    let rest = entry.strip_prefix(MAGIC)?;
    let (sum, code) = rest.split_at_checked(DIGEST)?;
    (Sha256::digest(code).as_slice() == sum).then_some(code)
}

#[expect(unsafe_code, reason = "compiled code can only be loaded so; see the safety comment")]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<Code> {
    // SAFETY: `Code::serialize` made these bytes, in this process, or gave them to a process of this user or of root: no other can
    // write to the folder, and the checksum has just been verified on the bytes in memory. wasmtime itself checks version and settings
    // of the engine.
    unsafe {
        match Engine::detect_precompiled(code)? {
            Precompiled::Component => Component::deserialize(engine, code).map(Code::Component).ok(),
            Precompiled::Module => Module::deserialize(engine, code).map(Code::Program).ok(),
        }
    }
}

/// Returns compiled code for an engine with the same settings, but another way to allocate.
///
/// # Errors
/// When the engine does not take it.
pub(super) fn copy_to(engine: &Engine, code: &Code) -> wasmtime::Result<Code> {
    // `Code::serialize` has just made these bytes, in this process.
    let copy = deserialize(engine, &code.serialize()?);
    copy.ok_or_else(|| wasmtime::Error::msg("the engine does not take its own code"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_entry_with_any_byte_flipped_or_missing_is_refused() {
        let code = b"some code";
        let mut entry = MAGIC.to_vec();
        entry.extend_from_slice(&Sha256::digest(code));
        entry.extend_from_slice(code);
        assert_eq!(verified(&entry), Some(code.as_slice()));
        for at in 0..entry.len() {
            let mut damaged = entry.clone();
            damaged[at] ^= 1;
            assert_eq!(verified(&damaged), None, "byte {at}");
            assert_eq!(verified(&entry[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn what_is_used_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, engine) = (Cache::open(folder.path()).unwrap(), Engine::default());
        let empty = b"\0asm\x0d\0\x01\0";
        cache.store(&engine, empty, &Code::Component(Component::new(&engine, empty).unwrap()));
        let entry = folder.path().join(entry_of(&engine, empty));
        let old = SystemTime::now() - 2 * ENTRY_STAYS;
        std::fs::File::open(&entry).unwrap().set_modified(old).unwrap();
        assert!(cache.load(&engine, empty).is_some());
        cache.prune(SystemTime::now()).unwrap();
        assert!(entry.exists());
    }

    #[test]
    fn what_nobody_has_used_for_long_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let [old, young] = ["a", "b"].map(|digit| digit.repeat(64) + ENTRY);
        let names = [old.as_str(), &young, ".curfew-a", ".curfew-b", "theirs", "theirs.cwasm"];
        let now = SystemTime::now();
        let hours = [721, 719, 2, 0, 9999, 9999];
        for (name, hours) in names.into_iter().zip(hours) {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(now - Duration::from_hours(hours)).unwrap();
        }
        Cache::open(folder.path()).unwrap().prune(now).unwrap();
        let left: Vec<_> = names.into_iter().filter(|name| folder.path().join(name).exists()).collect();
        assert_eq!(left, [young.as_str(), ".curfew-b", "theirs", "theirs.cwasm"]);
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn in_a_folder_that_others_can_write_it_is_a_folder_below() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Cache::open(folder.path()).unwrap().path, folder.path());
        set_mode(folder.path(), 0o777);
        let below = Cache::open(folder.path()).unwrap().path;
        assert_eq!(below.parent(), Some(folder.path()));
        assert_eq!(std::fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
        set_mode(&below, 0o777);
        assert!(Cache::open(folder.path()).unwrap_err().contains("0700"));
        // Another user's trick: machine code of theirs, in a folder that looks like ours.
        std::fs::remove_dir(&below).unwrap();
        let theirs = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(theirs.path(), &below).unwrap();
        assert!(Cache::open(folder.path()).is_err());
    }

    #[test]
    fn a_folder_that_is_put_in_its_place_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, aside) = (parent.path().join("cache"), parent.path().join("aside"));
        let (cache, engine) = (Cache::open(&folder).unwrap(), Engine::default());
        std::fs::rename(&folder, &aside).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let empty = b"\0asm\x0d\0\x01\0";
        cache.store(&engine, empty, &Code::Component(Component::new(&engine, empty).unwrap()));
        assert!(cache.load(&engine, empty).is_some());
        let count = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
        assert_eq!((count(&folder), count(&aside)), (0, 1));
    }
}
