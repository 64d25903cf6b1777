//! The metrics of the process itself, under the names that Prometheus' clients use.
//!
//! Invariant: a figure that the system does not tell is left out, and reading waits for nothing.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;

/// Ticks of a second in `/proc`, on all architectures of Linux but two old ones.
const USER_HZ: f64 = 100.0;

/// Resources of the process, now. `None`: the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProcessMetrics {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_fds: Option<f64>,
    pub(super) max_fds: Option<f64>,
    pub(super) virtual_bytes: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) threads: Option<f64>,
    /// In seconds since 1970.
    pub(super) start_seconds: Option<f64>,
}

impl ProcessMetrics {
    pub(super) fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let [status, stat, system] = ["/proc/self/status", "/proc/self/stat", "/proc/stat"].map(read);
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        Self {
            cpu_seconds: usage
                .map(|usage| (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6),
            // The one that lists them is not one of them.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft as f64),
            virtual_bytes: number(&status, "VmSize:").map(|kib| kib * 1024.0),
            resident_bytes: number(&status, "VmRSS:").map(|kib| kib * 1024.0),
            threads: number(&status, "Threads:"),
            start_seconds: number(&system, "btime ").zip(start(&stat)).map(|(boot, after)| boot + after),
        }
    }
}

/// Returns the number behind a key at the begin of a line.
fn number(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Returns the start of the process in seconds since the boot: field 22 of proc(5). Field 2, the name, can hold anything.
fn start(stat: &str) -> Option<f64> {
    let (_, from_the_third) = stat.rsplit_once(") ")?;
    let ticks: f64 = from_the_third.split(' ').nth(19)?.parse().ok()?;
    Some(ticks / USER_HZ)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_figures_are_those_of_this_process() {
        let file = fs::File::open("/dev/null").unwrap();
        let before = ProcessMetrics::read();
        let threads = std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || receiver.recv());
            let now = ProcessMetrics::read().threads;
            drop(sender);
            now
        });
        assert!(before.open_fds >= Some(1.0) && before.max_fds >= before.open_fds, "{before:?}");
        assert!(
            before.resident_bytes > Some(1e6) && before.virtual_bytes >= before.resident_bytes,
            "{before:?}"
        );
        assert!(before.threads >= Some(1.0) && threads >= Some(2.0), "{before:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - before.start_seconds.unwrap();
        assert!((-5.0..3600.0).contains(&age), "{age}");
        assert!(before.cpu_seconds.is_some_and(|seconds| (0.0..3600.0).contains(&seconds)), "{before:?}");
        drop(file);
    }

    #[test]
    fn a_name_can_hold_anything() {
        let stat = "1 (a ) 7 (b)) S 0 1 1 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        assert_eq!((start(stat), start("1 (a) S 0"), start("")), (Some(2.5), None, None));
    }
}
