//! Compiled components on disk, so that the second start is fast. A damaged cache costs time, not safety.
//!
//! Invariant: a loaded entry is exactly the one that was stored. Its name is made of the content of the file, the tools that
//! adapt core modules, the engine's settings and our version. Its checksum is verified before its use. A rename puts it in its
//! place, so no process sees half of one. The folder belongs to this user alone: a compiled component is machine code.

use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
    folder: PathBuf,
}

impl Cache {
    /// Opens a cache folder, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or other users own it or can write to it.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let cannot = |verb, error| format!("cannot {verb} the cache folder {}: {error}", folder.display());
        let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        make.map_err(|error: std::io::Error| cannot("make", error))?;
        let meta = std::fs::metadata(folder).map_err(|error| cannot("look at", error))?;
        let me = nix::unistd::geteuid().as_raw();
        if meta.uid() != me || meta.permissions().mode() & 0o022 != 0 {
            return Err(format!(
                "the cache folder {} belongs to others or can be written by others: give it mode 0700",
                folder.display()
            ));
        }
        Ok(Self { folder: folder.to_owned() })
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
        let path = self.path(engine, wasm);
        let entry = std::fs::read(&path).ok()?;
        let code = deserialize(engine, verified(&entry)?)?;
        // An entry whose time cannot be set goes too early, and comes back.
        let _noted = std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(code)
    }

    pub(super) fn store(&self, engine: &Engine, wasm: &[u8], code: &Code) {
        if let Err(error) = self.try_store(engine, wasm, code) {
            tracing::debug!(%error, "a compiled component could not be kept");
        }
    }

    fn try_store(&self, engine: &Engine, wasm: &[u8], code: &Code) -> wasmtime::Result<()> {
        let code = code.serialize()?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(&code))?;
        file.write_all(&code)?;
        file.persist(self.path(engine, wasm))?;
        self.prune(SystemTime::now())?;
        Ok(())
    }

    fn prune(&self, now: SystemTime) -> std::io::Result<()> {
        for found in std::fs::read_dir(&self.folder)? {
            let found = found?;
            let name = found.file_name();
            let stays = match name.to_str() {
                Some(name) if name.starts_with(UNFINISHED) => UNFINISHED_STAYS,
                Some(name) if is_entry(name) => ENTRY_STAYS,
                Some(_) | None => continue,
            };
            // Another process can be faster.
            let used = found.metadata().and_then(|meta| meta.modified());
            if used.is_ok_and(|used| now.duration_since(used).is_ok_and(|idle| idle > stays)) {
                let _gone_already = std::fs::remove_file(found.path());
            }
        }
        Ok(())
    }

    fn path(&self, engine: &Engine, wasm: &[u8]) -> PathBuf {
        let mut settings = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        let mut key = Sha256::new();
        key.update(env!("CARGO_PKG_VERSION"));
        key.update(adapt::MADE_BY);
        key.update(settings.finish().to_le_bytes());
        key.update(wasm);
        let name: String = key.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name + ENTRY)
    }
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
    // SAFETY: `Code::serialize` made these bytes, in this process, or gave them to a process of this user: no other user can write
    // to the folder, and the checksum has just been verified on the bytes in memory. wasmtime itself checks version and settings of the engine.
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
        let (entry, old) = (cache.path(&engine, empty), SystemTime::now() - 2 * ENTRY_STAYS);
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

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Cache::open(folder.path()).is_ok());
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(folder.path()).unwrap_err().contains("0700"));
    }
}
