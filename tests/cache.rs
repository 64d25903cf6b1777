//! The compile cache: safe against damage, and against two processes at once.

use std::fs;
use std::path::{Path, PathBuf};

use artifacts::{SERVER, SERVER_CLASSIC};

use crate::harness::{App, Host, app, component};

fn host(cache: &Path) -> Host {
    let manifest = app("") + &component("a", SERVER, "") + &component("b", SERVER_CLASSIC, "");
    Host::manifest(&manifest).env("CURFEW_CACHE_DIR", cache)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found
}

fn run(cache: &Path) {
    host(cache).start_ready().stop().expect_code(0).expect_hook("a", "ok").expect_hook("b", "ok");
}

/// Issue 2, loading: the cache is safe against damage.
#[test]
fn a_damaged_cache_entry_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    run(&cache);
    let entries = files(&cache);
    assert!(entries.len() >= 2, "nothing was kept: {entries:?}");
    let whole: Vec<Vec<u8>> = entries.iter().map(|path| fs::read(path).unwrap()).collect();
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.iter_mut().for_each(|byte| *byte = 0xff),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
        |bytes| bytes.extend([0; 100]),
    ];
    for damage in damages {
        for (path, content) in entries.iter().zip(&whole) {
            let mut bytes = content.clone();
            damage(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
        run(&cache);
    }
    let left = files(&cache).len();
    assert!(left <= entries.len(), "files are left behind: {:?}", files(&cache));
}

/// Issue 2, loading: the cache is safe against two processes at once.
#[test]
fn several_processes_can_fill_one_cache() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let apps: Vec<App> = (0..4).map(|_| host(&cache).start()).collect();
    for app in apps {
        app.wait_for_log("app started", "");
        app.stop().expect_code(0).expect_hook("a", "ok");
    }
    run(&cache);
}

/// A cache that cannot be used slows the start, and does nothing else.
#[test]
fn a_cache_that_cannot_be_written_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    run(&file);
    run(&file.join("below"));
    run(Path::new("/proc/no/such/place"));
}

/// A killed host leaves no half entry that the next one would take.
#[test]
fn a_host_that_is_killed_while_it_compiles_spoils_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    for delay in [20, 60, 120, 200, 300] {
        let app = host(&cache).start();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        app.signal(nix::sys::signal::Signal::SIGKILL);
        assert!(app.wait().status.code().is_none());
    }
    run(&cache);
}
