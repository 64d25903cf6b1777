//! The machine is short of something: that is neither a bug nor a component's failure. Before the app runs it is one line and 69;
//! later it is a line, an error to whoever asked, and on: a sibling under load notices nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};

use artifacts::{HELLO_HTTP, HOSTILE_ASYNC, HTTP_LAB, HTTP_LAB_CLASSIC, HTTP_LAB_PLAIN, SERVER};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{
    App, Cgroup, Host, Load, Output, Refused, Target, Wire, app, component, keys, start_threads, until, web,
};
use crate::http::lab::MS;

/// A sibling that is served all the time.
struct Sibling(Load);

impl Sibling {
    fn manifest() -> String {
        web("sibling", HELLO_HTTP, "")
    }

    /// Its threads are there from now on.
    fn of(app: &App) -> Sibling {
        let address = app.address("sibling");
        start_threads(&address);
        let load = Load::start(200, &[Target::new("sibling", address, "/")]);
        load.wait_for_answers(20);
        Sibling(load)
    }

    #[track_caller]
    fn noticed_nothing(self) {
        let tally = self.0.end();
        assert!(tally.answered("sibling", 200) >= 20, "{tally:?}");
        assert_eq!(tally.count(|_, _, end| *end != crate::harness::End::Answered(200)), 0, "{tally:?}");
    }
}

/// The statuses of so many requests at a time, each on a connection of its own.
fn crowd(app: &App, component: &str, path: &'static str, count: usize) -> Vec<u16> {
    let (address, together) = (app.address(component), Arc::new(Barrier::new(count)));
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let (address, together) = (address.clone(), together.clone());
            std::thread::spawn(move || {
                let mut wire = Wire::connect(&address);
                together.wait();
                wire.get(path).status
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

fn in_group(app: &App, controller: &str) -> Option<Cgroup> {
    let group = Cgroup::new(controller)?;
    group.take(app);
    Some(group)
}

/// Issue 12, 3: the first file operation of a guest panicked when the system gave no thread for it.
#[test]
fn files_are_read_when_there_are_no_more_threads() {
    let dir = "dirs = [{ host = \"data\", guest = \"/data\" }]\ninstances = { max = 1 }";
    for lab in [HTTP_LAB, HTTP_LAB_CLASSIC, HTTP_LAB_PLAIN] {
        let host = Host::manifest(&(app("") + &web("lab", lab, dir) + &Sibling::manifest()));
        let app = host.file("data/file", "its content").start_ready();
        let sibling = Sibling::of(&app);
        start_threads(&app.address("lab"));
        let Some(group) = in_group(&app, "pids") else { return };
        group.allow_no_more_threads();
        for _ in 0..3 {
            assert_eq!(Wire::connect(&app.address("lab")).get("/file").expect(200).text(), "its content");
        }
        sibling.noticed_nothing();
        expect_no_restarts(&app.stop(), ["lab", "sibling"]);
    }
}

/// Issue 12, 3: one instance more was a panic in the thread that accepts, and requests were lost.
#[test]
fn no_request_is_lost_when_there_is_no_thread_for_one_more_instance() {
    // Fresh instances have no other threads than those that take connections.
    for lab in [HTTP_LAB_CLASSIC, HTTP_LAB_PLAIN] {
        let app = Host::manifest(&(app("") + &web("lab", lab, "") + &Sibling::manifest())).start_ready();
        let sibling = Sibling::of(&app);
        start_threads(&app.address("lab"));
        let Some(group) = in_group(&app, "pids") else { return };
        group.allow_no_more_threads();
        // The instances that are there are held, so that one more is wanted.
        let mut held: Vec<_> = (0..cores()).map(|_| Wire::connect(&app.address("lab"))).collect();
        held.iter_mut().for_each(Wire::hold);
        let statuses = std::thread::scope(|scope| {
            let statuses = scope.spawn(|| crowd(&app, "lab", "/sleep?ms=20", 40));
            if lab == HTTP_LAB_CLASSIC {
                let told = &app.wait_for_logs("one more instance cannot be started", "lab", 1)[0];
                assert!(told.text("error").contains("no thread for it"), "{told:?}");
            }
            held.iter_mut().for_each(Wire::release);
            statuses.join().unwrap()
        });
        assert_eq!(statuses, [200; 40]);
        sibling.noticed_nothing();
        expect_no_restarts(&app.stop(), ["lab", "sibling"]);
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[track_caller]
fn expect_no_restarts(output: &Output, components: [&str; 2]) {
    output.expect_code(0);
    for component in components {
        output.expect_outcome(component, "stopped");
        assert_eq!(output.row(component).number("restarts"), 0.0, "{}", output.said());
    }
}

/// Whatever thread of the start is the one too many: one line, and 69.
#[test]
fn a_start_without_enough_threads_says_so() {
    let manifest =
        app("control = \"curfew.sock\"") + &web("web", HELLO_HTTP, "") + &component("a", SERVER, "");
    let starts = |most: usize| -> Option<bool> {
        let group = Cgroup::new("pids")?;
        group.limit_threads(most);
        let app = Host::manifest(&manifest).under("sh", &["-c", &group.enter()]).start();
        let has_started = || !app.records("app started", "").is_empty();
        until("its start or its end", || (has_started() || app.has_ended()).then_some(()));
        if !app.has_ended() {
            app.stop().expect_code(0);
            return Some(true);
        }
        let output = app.wait();
        expect_too_small(&output);
        Some(false)
    };
    for most in 1.. {
        match starts(most) {
            Some(true) => return assert!(most > 5, "it started with {most} threads"),
            Some(false) => assert!(most < 64, "it never starts"),
            None => return,
        }
    }
}

/// The machine was too small for the start: one error, or one for each of the two components, and nothing of a bug.
#[track_caller]
fn expect_too_small(output: &Output) {
    output.expect_code(69);
    let told = output.stderr.iter().filter(|line| line.starts_with("error: ")).count();
    let failed = output.records.iter().filter(|record| record.text("level") == "ERROR").count();
    assert!((told == 1 && failed == 0) || (told == 0 && (1..=2).contains(&failed)), "{}", output.said());
    assert!(!output.stderr_text().contains("panic"), "{}", output.said());
}

/// Limits the address space of a host that runs to what it has, and a little for the heap.
fn limit_address_space(app: &App) {
    let status = fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    let limit = format!("--as={}", (kib << 10) + (512 << 20));
    let set = Command::new("prlimit").args(["--pid", &app.pid().to_string(), &limit]).status().unwrap();
    assert!(set.success());
}

/// Issue 12, 3: `ulimit -v`. An instance more that cannot be made costs nothing while others serve.
#[test]
fn no_request_is_lost_when_there_is_no_address_space_for_one_more_instance() {
    for lab in [HTTP_LAB_CLASSIC, HTTP_LAB_PLAIN] {
        let app = Host::manifest(&(app("") + &web("lab", lab, "") + &Sibling::manifest())).start_ready();
        let sibling = Sibling::of(&app);
        start_threads(&app.address("lab"));
        limit_address_space(&app);
        assert_eq!(crowd(&app, "lab", "/sleep?ms=20", 40), [200; 40]);
        sibling.noticed_nothing();
        expect_no_restarts(&app.stop(), ["lab", "sibling"]);
    }
}

/// An instance reserves 4 GiB.
#[test]
fn a_start_without_enough_address_space_says_so() {
    for kib in ["4000000", "6000000"] {
        let script = format!("ulimit -v {kib} && exec \"$0\" \"$@\"");
        let manifest = app("") + &web("web", HELLO_HTTP, "") + &component("a", SERVER, "");
        let output = Host::manifest(&manifest).under("sh", &["-c", &script]).run();
        expect_too_small(&output);
        assert!(output.stderr_text().contains("memory"), "{}", output.said());
    }
}

/// Issue 12, 3: `MemoryDenyWriteExecute` was "not a valid component".
#[test]
fn a_system_without_executable_memory_is_no_fault_of_a_component() {
    let hint = ["no executable memory", "MemoryDenyWriteExecute"];
    let manifest = app("") + &component("a", SERVER, "") + &component("b", SERVER, "");
    let output = Host::manifest(&manifest).refused(Refused::ExecutableMemory).run();
    output.expect_refused(69, &hint);
    expect_too_small(&output);
    let output = Host::manifest(&manifest).refused(Refused::ExecutableMemory).call(&["check"]);
    output.expect_refused(69, &hint);
}

/// Issue 12, 3: without `memfd_create` each instance failed.
#[test]
fn instances_start_without_files_in_memory() {
    let manifest = app("") + &web("web", HELLO_HTTP, "") + &component("a", SERVER, "");
    let app = Host::manifest(&manifest).refused(Refused::MemfdCreate).start_ready();
    Wire::connect(&app.address("web")).get("/").expect(200);
    let output = app.stop();
    output.expect_code(0).expect_hook("web", "ok").expect_hook("a", "ok");
    let told = output.records.iter().filter(|record| record.text("reason").contains("memfd_create")).count();
    assert_eq!(told, 1, "{}", output.said());
}

/// The processes whose parent is this one and that have ended.
fn zombies(app: &App) -> usize {
    let is_zombie = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut words = stat.rsplit(')').next()?.split_whitespace();
        let (state, parent) = (words.next()?, words.next()?);
        (state == "Z" && parent == app.pid().to_string()).then_some(())
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(is_zombie).count()
}

/// Issue 12, 3: as process 1, orphans stayed as zombies.
#[test]
fn orphans_are_reaped() {
    let script = "for i in $(seq 20); do sleep 0.$((i % 5)) & done; exec \"$0\" \"$@\"";
    let host = Host::manifest(&(app("") + &component("a", SERVER, "")));
    let app = host.under("sh", &["-c", script]).adopting().start_ready();
    // A child that nobody is left to wait for.
    let children =
        || fs::read_to_string(format!("/proc/{0}/task/{0}/children", app.pid())).unwrap_or_default();
    until("the end of all children", || (children().trim().is_empty() && zombies(&app) == 0).then_some(()));
    app.stop().expect_code(0);
}

fn entries(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().flatten();
    names.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm")).count()
}

/// Issue 12, 3: a folder of mode 0777, as every `emptyDir` of Kubernetes is, kept nothing.
#[test]
fn a_cache_in_a_folder_of_everybody_is_a_folder_of_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let volume = tempfile::tempdir().unwrap();
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let own = volume.path().join(format!("curfew-{}", nix::unistd::geteuid()));
    for _ in 0..2 {
        let host = Host::manifest(&(app("") + &component("a", SERVER, "")));
        let output = host.env("CURFEW_CACHE_DIR", volume.path()).start_ready().stop();
        output.expect_code(0);
        assert!(!output.stderr_text().contains("compile"), "{}", output.said());
        assert_eq!((entries(&own), entries(volume.path())), (1, 0));
    }
}

#[test]
fn a_cache_that_keeps_nothing_says_so_once() {
    let manifest = app("") + &component("a", SERVER, "") + &web("web", HELLO_HTTP, "");
    let nowhere = ["-u", "CURFEW_CACHE_DIR", "-u", "XDG_CACHE_HOME", "-u", "HOME"];
    let output = Host::manifest(&manifest).under("env", &nowhere).start_ready().stop();
    let told = output.records("no compile cache: each start compiles anew", "");
    assert!(told.len() == 1 && told[0].text("error").contains("HOME"), "{}", output.said());
    // No file can be larger than a block; those in memory are files, too.
    let script = "ulimit -f 1; exec \"$0\" \"$@\"";
    let full = Host::manifest(&manifest).empty_cache().under("sh", &["-c", script]);
    let output = full.refused(Refused::MemfdCreate).start_ready().stop();
    let told = output.records("compiled components cannot be kept: each start compiles them again", "");
    assert_eq!(told.len(), 1, "{}", output.said());
    output.expect_code(0);
}

/// Issue 12, 3: the time in a freezer (`podman pause`) is given back, as that of SIGSTOP is.
#[test]
fn the_time_in_a_freezer_is_not_counted_as_grace() {
    let manifest = app("grace = \"2s\"")
        + &component("slow", HOSTILE_ASYNC, &keys(&["run=good", "hook=slow", "ms=1000"]))
        + &component("fine", SERVER, "");
    let app = Host::manifest(&manifest).start_ready();
    let Some(group) = in_group(&app, "freezer") else { return };
    app.signal(SIGTERM);
    // Signals after this one are heard in another turn, which sees the gap.
    app.wait_for_logs("hook started", "slow", 1);
    group.freeze();
    // The scenario is about this time: longer than the grace.
    std::thread::sleep(4000 * MS);
    group.thaw();
    let output = app.wait();
    output.expect_code(0).expect_outcome("slow", "stopped").expect_hook("slow", "ok");
    assert!(output.stderr_text().contains("a freezer"), "{}", output.said());
}

/// Issue 12, 3: a limit for all instances together. Those that fit serve all.
#[test]
fn the_memory_of_an_app_is_limited_as_a_whole() {
    let manifest = app("memory = \"6MiB\"") + &web("lab", HTTP_LAB_CLASSIC, "") + &Sibling::manifest();
    let app = Host::manifest(&manifest).start_ready();
    let sibling = Sibling::of(&app);
    assert_eq!(crowd(&app, "lab", "/sleep?ms=20", 40), [200; 40]);
    sibling.noticed_nothing();
    let output = app.stop();
    expect_no_restarts(&output, ["lab", "sibling"]);
    let told = output.records("the memory of the app is full: a component gets no more", "");
    assert_eq!(told.len(), 1, "{}", output.said());
    let manifest = app_of_one(&["memory = \"64KiB\""]);
    let output = Host::manifest(&manifest).run();
    expect_too_small(&output);
    assert!(output.stderr_text().contains("the memory of the app is full"), "{}", output.said());
}

/// Each request needs an instance of its own: it waits for another to end, and is refused if there is none.
#[test]
fn a_request_whose_instance_cannot_be_made_waits_and_is_nobodys_failure() {
    let lab = "instances = { max = 40 }\non-failure = \"stop-app\"";
    let kept = "instances = { requests = 0, max = 1 }";
    let manifest = app("memory = \"8MiB\"")
        + &web("lab", HTTP_LAB_PLAIN, lab)
        + &web("kept", HTTP_LAB_PLAIN, kept)
        + &Sibling::manifest();
    let app = Host::manifest(&manifest).start_ready();
    let sibling = Sibling::of(&app);
    start_threads(&app.address("lab"));
    let mut held = Wire::connect(&app.address("lab"));
    held.hold();
    assert_eq!(crowd(&app, "lab", "/sleep?ms=20", 40), [200; 40]);
    held.release();
    let mut kept = Wire::connect(&app.address("kept"));
    while kept.get("/grow?mib=1").status == 200 {}
    let refused = Wire::connect(&app.address("lab")).get("/grow?mib=1");
    assert_eq!(refused.expect(503).header("retry-after"), Some("1"));
    sibling.noticed_nothing();
    let output = app.stop();
    expect_no_restarts(&output, ["lab", "sibling"]);
    let refused = output.records("request failed", "lab");
    assert!(refused[0].text("error").contains("the memory of the app is full"), "{}", output.said());
}

/// The only instance is gone and cannot be made again: that costs no restart, and the requests wait until it can.
#[test]
fn an_instance_that_the_machine_has_no_room_for_is_tried_until_it_has() {
    let manifest = |memory: &str| {
        let keys = "instances = { max = 1 }\nrestart = { max = 1 }";
        app(&format!("memory = {memory:?}")) + &web("lab", HTTP_LAB_CLASSIC, keys) + &Sibling::manifest()
    };
    let app = Host::manifest(&manifest("64MiB")).start_ready();
    let sibling = Sibling::of(&app);
    Wire::connect(&app.address("lab")).get("/").expect(200);
    let reloaded = app.reload(&manifest("1KiB"));
    assert!(reloaded.text("what").contains("memory from 64MiB to 1KiB"), "{reloaded:?}");
    Wire::connect(&app.address("lab")).get("/trap").expect(502);
    let mut waits = Wire::connect(&app.address("lab"));
    waits.begin_get("/");
    // The trap, and more tries than there are restarts.
    let failures = app.wait_for_logs("instance failed", "lab", 4);
    assert!(failures[3].text("error").contains("the memory of the app is full"), "{failures:?}");
    app.reload(&manifest("64MiB"));
    waits.fate().answered().expect(200);
    sibling.noticed_nothing();
    expect_no_restarts(&app.stop(), ["lab", "sibling"]);
}

fn app_of_one(app_keys: &[&str]) -> String {
    app(&app_keys.join("\n")) + &web("lab", HTTP_LAB, "")
}

/// Issue 12, 3: 256 MiB for each of 32 instances, in a container that has less.
#[test]
fn limits_above_those_of_the_container_are_told() {
    let Some(group) = Cgroup::new("memory") else { return };
    group.limit_memory(512 << 20);
    let manifest = |app_keys: &str| app(app_keys) + &web("lab", HTTP_LAB_CLASSIC, "");
    let host = |app_keys: &str| Host::manifest(&manifest(app_keys)).under("sh", &["-c", &group.enter()]);
    let warning = "the limits of the components allow 8192MiB of memory, and the container has 512MiB";
    let output = host("").call(&["check"]);
    assert!(output.stdout_text().contains(warning), "{}", output.said());
    let output = host("").start_ready().stop();
    assert!(output.expect_code(0).stderr_text().contains(warning), "{}", output.said());
    let output = host("memory = \"384MiB\"").start_ready().stop();
    assert!(!output.expect_code(0).stderr_text().contains("the container has"), "{}", output.said());
}
