//! A control group of the test's own. Where this process may not make one, the test has to pass by.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::App;

/// The groups that this process has made.
static GROUPS: AtomicUsize = AtomicUsize::new(0);

/// A control group, which is removed when it is dropped: by then it has to be empty.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a group with a controller: `pids`, `memory` or `freezer`. `None` says why on standard error.
    pub fn new(controller: &str) -> Option<Cgroup> {
        let root = Path::new("/sys/fs/cgroup");
        let (top, is_one_tree) = match root.join("cgroup.controllers").is_file() {
            true => (root.to_owned(), true),
            false => (root.join(controller), false),
        };
        if is_one_tree && controller != "freezer" {
            // Where it fails, the file of the controller is not there.
            let _ = fs::write(top.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let group = Cgroup(top.join(format!("curfew-{}-{number}", std::process::id())));
        let made = fs::create_dir(&group.0);
        let knob = group.knob(controller);
        if made.is_err() || !knob.is_file() {
            eprintln!("skipped: no control group with `{controller}` can be made here ({made:?})");
            return None;
        }
        Some(group)
    }

    fn is_v2(&self) -> bool {
        self.0.join("cgroup.controllers").is_file()
    }

    /// The file that limits, or freezes.
    fn knob(&self, controller: &str) -> PathBuf {
        self.0.join(match (controller, self.is_v2()) {
            ("pids", _) => "pids.max",
            ("memory", true) => "memory.max",
            ("memory", false) => "memory.limit_in_bytes",
            (_, true) => "cgroup.freeze",
            (_, false) => "freezer.state",
        })
    }

    /// Moves a host into it, with all its threads.
    pub fn take(&self, app: &App) {
        fs::write(self.0.join("cgroup.procs"), app.pid().to_string()).unwrap();
    }

    /// The script of a shell that enters the group before it becomes the host.
    pub fn enter(&self) -> String {
        format!("echo $$ > {} && exec \"$0\" \"$@\"", self.0.join("cgroup.procs").display())
    }

    pub fn limit_memory(&self, bytes: u64) {
        fs::write(self.knob("memory"), bytes.to_string()).unwrap();
    }

    pub fn limit_threads(&self, most: usize) {
        fs::write(self.knob("pids"), most.to_string()).unwrap();
    }

    /// Allows as many threads as there are.
    pub fn allow_no_more_threads(&self) {
        let now = fs::read_to_string(self.0.join("pids.current")).unwrap();
        self.limit_threads(now.trim().parse().unwrap());
    }

    pub fn freeze(&self) {
        fs::write(self.knob("freezer"), if self.is_v2() { "1" } else { "FROZEN" }).unwrap();
    }

    pub fn thaw(&self) {
        fs::write(self.knob("freezer"), if self.is_v2() { "0" } else { "THAWED" }).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.knob("freezer").is_file() {
            // A test that fails leaves no frozen process.
            let _ = fs::write(self.knob("freezer"), if self.is_v2() { "0" } else { "THAWED" });
        }
        let _ = fs::remove_dir(&self.0);
    }
}
