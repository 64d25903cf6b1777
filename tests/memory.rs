//! The memory of an app that does nothing.

use std::fs;

use artifacts::SERVER;

use crate::harness::{App, Host, app, component};

/// Which of its modes the kernel has for transparent huge pages: `always`, `madvise` or `never`. `None` where it has none.
fn huge_pages() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// Memory in huge pages, in MiB.
fn in_huge_pages(app: &App) -> f64 {
    let sums = fs::read_to_string(format!("/proc/{}/smaps_rollup", app.pid())).unwrap();
    let line = sums.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
}

/// Each instance has a thread, and each thread a part of the heap: as huge pages these would cost 2 MiB an instance. Some
/// MiB are taken before the host can say so.
#[test]
fn idle_instances_take_no_huge_pages() {
    match huge_pages().as_deref() {
        None | Some("never") => {
            eprintln!("skipped: this kernel gives no transparent huge pages");
            return;
        }
        Some(_) => {}
    }
    let services: String = (0..32).map(|number| component(&format!("c{number}"), SERVER, "")).collect();
    let app = Host::manifest(&(app("") + &services)).start();
    app.wait_for_log("app started", "");
    let huge = in_huge_pages(&app);
    assert!(huge <= 16.0, "{huge} MiB in huge pages");
    app.stop().expect_code(0);
}
