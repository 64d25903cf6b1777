//! Reloads: a new manifest in the place of the old one, the signal, and what the host says about it.

use nix::sys::signal::Signal;

use super::App;
use super::capture::Record;

/// The record of a reload that took place: `generation`, `ms`, `changed`, `added`, `removed`.
const RELOADED: &str = "reloaded";
/// The record of one that changed nothing: `error`.
const FAILED: &str = "reload failed";

impl App {
    /// Puts a manifest in the place of the old one; nobody ever reads half of it.
    pub fn rewrite(&self, manifest: &str) {
        self.replace("curfew.toml", manifest);
    }

    /// The same with any file next to the manifest.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let file = self.path().join(name);
        let staged = self.path().join(format!("{name}.new"));
        std::fs::write(&staged, content).unwrap();
        std::fs::rename(&staged, file).unwrap();
    }

    /// Makes this the manifest, sends HUP and waits until the host has reloaded.
    #[track_caller]
    pub fn reload(&self, manifest: &str) -> Record {
        let record = self.reload_somehow(manifest);
        assert_eq!(record.message(), RELOADED, "{}", record.fields);
        record
    }

    /// The same where it must fail.
    #[track_caller]
    pub fn reload_fails(&self, manifest: &str) -> Record {
        let record = self.reload_somehow(manifest);
        assert_eq!(record.message(), FAILED, "{}", record.fields);
        record
    }

    #[track_caller]
    fn reload_somehow(&self, manifest: &str) -> Record {
        self.rewrite(manifest);
        let before = self.reloads().len();
        self.signal(Signal::SIGHUP);
        self.wait_for_reload(before + 1)
    }

    /// Waits until so many reloads have ended, the failed ones among them, and returns the record of the last.
    #[track_caller]
    pub fn wait_for_reload(&self, count: usize) -> Record {
        self.wait_until(&format!("the end of reload {count}"), |said| {
            said.records.iter().filter(|record| is_end(record)).nth(count - 1).cloned()
        })
    }

    /// The records of all reloads that have ended up to now.
    pub fn reloads(&self) -> Vec<Record> {
        self.look(|said| said.records.iter().filter(|record| is_end(record)).cloned().collect())
    }
}

fn is_end(record: &Record) -> bool {
    [RELOADED, FAILED].contains(&record.message())
}
