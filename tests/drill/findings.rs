//! What is found: nothing in apps that stop well, and in each of those that do not what is wrong with it.

use artifacts::{
    EVENTS, HELLO_HTTP, HELLO_HTTP_CLASSIC, HOSTILE_ASYNC, HOSTILE_CLASSIC, HTTP_LAB, HTTP_LAB_CLASSIC,
    NO_HOOK, SERVER, SERVER_CLASSIC, TCP_ECHO,
};

use super::{Drilled, drill};
use crate::harness::{Host, Trust, app, component, free_port, keys, web};

const ALL: [&str; 6] = ["term", "int", "quit", "start", "peer", "reload"];

fn shop() -> String {
    let port = free_port();
    let on = |routes: &str| format!("listen = [\"127.0.0.1:{port}\"]\n{routes}");
    app("grace = \"20s\"")
        + &component("queue", SERVER, "")
        + &component("clock", SERVER_CLASSIC, "after = [\"queue\"]")
        + &component("hello", HELLO_HTTP, &on("routes = [\"shop.example/hello\"]"))
        + &component("events", EVENTS, &on("routes = [\"/events\"]"))
        + &component("rest", HELLO_HTTP_CLASSIC, &on(""))
        + &component("private", HELLO_HTTP_CLASSIC, "listen = [\"unix:private.sock\"]")
}

#[track_caller]
fn expect_all_well(drilled: &Drilled, loads: bool) {
    drilled.expect(0);
    for name in ALL {
        for load in [false, true].into_iter().filter(|load| !load || loads) {
            let tried = drilled.tried(name, load);
            assert_eq!(tried["verdict"], "ok", "{tried:#}");
            assert_eq!(tried["runs"], if name == "start" { 10 } else { 1 });
            assert_eq!(tried["exit_code"], i32::from(name == "peer"), "{tried:#}");
            let requests = &tried["requests"];
            assert_eq!((requests.is_object(), load), (load, load), "{tried:#}");
            if load && name != "start" {
                assert!(requests["answered"].as_u64() > Some(0) && requests["lost"] == 0, "{tried:#}");
            }
        }
    }
}

/// Issue 5: services and http components of both generations, on shared addresses and a Unix socket, with endless answers.
#[test]
fn an_app_that_stops_well_passes() {
    let drilled = drill(Host::manifest(&shop()), &[]);
    expect_all_well(&drilled, true);
    let grace = drilled.tried("term", true)["grace"].as_array().unwrap().len();
    assert_eq!(grace, 6, "each component's share of its grace");
}

#[test]
fn a_single_file_passes() {
    for (file, flags, loads) in [
        (SERVER, &[][..], false),
        (HELLO_HTTP, &["--listen", "127.0.0.1:0"], true),
        (
            HELLO_HTTP_CLASSIC,
            &["--listen", "unix:web.sock", "--only", "term,int,quit,start,peer,reload"],
            true,
        ),
    ] {
        let flags: Vec<&str> = [file].into_iter().chain(flags.iter().copied()).collect();
        let drilled = drill(Host::manifest(""), &flags);
        drilled.expect(0);
        let under_load = drilled.tries().iter().filter(|tried| tried["load"] == true).count();
        assert_eq!(under_load > 0, loads, "{:#}", drilled.document);
        let told = drilled.expect_finding("reload", false, "no-manifest");
        assert!(told.contains("there is no manifest"), "{told}");
    }
}

#[test]
fn arguments_of_a_single_file_reach_it() {
    let flags = [HOSTILE_ASYNC, "--only", "term", "--", "hook=error"];
    let drilled = drill(Host::manifest(""), &flags);
    drilled.expect(1).expect_finding("term", false, "hook-error");
}

#[test]
fn addresses_with_tls_are_under_load_too() {
    let manifest = app("") + &web("web", HELLO_HTTP, "tls = { cert = \"cert.pem\", key = \"key.pem\" }");
    let (host, _) = Trust::install(Host::manifest(&manifest));
    let drilled = drill(host, &["--only", "term,reload"]);
    drilled.expect(0);
    assert!(drilled.tried("term", true)["requests"]["answered"].as_u64() > Some(0), "{:#}", drilled.document);
}

/// A guest, how it is asked, and what is found of it when it is stopped by TERM.
struct Case {
    source: &'static str,
    keys: String,
    path: &'static str,
    code: &'static str,
    texts: &'static [&'static str],
}

fn service(source: &'static str, args: &[&str], code: &'static str, texts: &'static [&'static str]) -> Case {
    Case { source, keys: keys(args), path: "", code, texts }
}

fn lab(source: &'static str, path: &'static str, code: &'static str, texts: &'static [&'static str]) -> Case {
    Case { source, keys: String::new(), path, code, texts }
}

fn fifo(args: &[&str]) -> Case {
    let keys = format!("{}\ndirs = [{{ host = \"data\", guest = \"/data\" }}]", keys(args));
    Case {
        source: HOSTILE_CLASSIC,
        keys,
        path: "",
        code: "leaked",
        texts: &["blocked in a call of the system"],
    }
}

fn cases() -> Vec<Case> {
    vec![
        service(HOSTILE_ASYNC, &["hook=spin"], "hook-cut-off", &["still at work", "500 ms"]),
        service(HOSTILE_CLASSIC, &["hook=park"], "hook-cut-off", &["still at work"]),
        service(HOSTILE_ASYNC, &["hook=trap"], "hook-trapped", &["`unreachable` instruction"]),
        service(HOSTILE_CLASSIC, &["hook=error"], "hook-error", &["the hook failed on purpose"]),
        service(HOSTILE_ASYNC, &["hook=exit0"], "hook-exit", &["called exit"]),
        service(HOSTILE_ASYNC, &["run=spin"], "hook-not-entered", &["never entered"]),
        service(HOSTILE_CLASSIC, &["run=park"], "hook-not-entered", &["never entered"]),
        service(HOSTILE_ASYNC, &["run=park"], "run-goes-on", &["its hook returned"]),
        service(HOSTILE_CLASSIC, &["run=trap-on-stop"], "failed", &["trapped"]),
        service(HOSTILE_ASYNC, &["run=error-on-stop"], "failed", &["returned an error"]),
        service(NO_HOOK, &["sleep"], "cut-off", &["went on to the end of its grace"]),
        fifo(&["run=fifo", "path=/data/fifo"]),
        lab(HTTP_LAB, "/endless", "requests-cut", &["still under way"]),
        lab(HTTP_LAB, "/endless", "lost", &["were cut short"]),
        lab(HTTP_LAB_CLASSIC, "/trap-mid", "lost", &["cut short"]),
        lab(HTTP_LAB, "/sleep?ms=1300", "lost", &["which did not occur before"]),
        lab(HTTP_LAB_CLASSIC, "/sleep?ms=1300", "requests-cut", &["still under way"]),
    ]
}

/// Each check can fail, and says what the matter is.
#[test]
fn what_is_wrong_is_found() {
    crate::in_parallel(2, cases(), |case| {
        let port = free_port();
        let http = !case.path.is_empty();
        let listen = if http { format!("listen = [\"127.0.0.1:{port}\"]\n") } else { String::new() };
        let manifest =
            app("grace = \"500ms\"") + &component("bad", case.source, &format!("{listen}{}", case.keys));
        let host = Host::manifest(&manifest).file("data/x", "");
        nix::unistd::mkfifo(&host.path().join("data/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let url = format!("http://127.0.0.1:{port}{}", case.path);
        let mut flags = vec!["--only", "term"];
        if http {
            flags.extend(["--load", &url]);
        }
        let drilled = drill(host, &flags);
        drilled.expect(1);
        let told = drilled.expect_finding("term", http, case.code);
        for text in case.texts {
            assert!(told.contains(text), "{text:?} is missing in {told:?}");
        }
        let said = &drilled.tried("term", http)["output"];
        assert!(said.as_array().is_some_and(|lines| !lines.is_empty()), "no output is shown");
    });
}

/// A hook that needs its grace passes, and its author is told.
#[test]
fn a_hook_that_takes_most_of_its_grace_is_told() {
    let manifest =
        app("grace = \"1500ms\"") + &component("slow", HOSTILE_ASYNC, &keys(&["hook=slow", "ms=1300"]));
    let drilled = drill(Host::manifest(&manifest), &["--only", "term,quit"]);
    drilled.expect(0);
    let told = drilled.expect_finding("term", false, "slow-hook");
    assert!(told.starts_with("its hook took 1.3 s of 1.5 s"), "{told}");
    let share = drilled.tried("term", false)["grace"][0]["percent"].as_u64().unwrap();
    assert!((85..=100).contains(&share), "{share}");
    assert!(drilled.codes("quit", false, "warning").is_empty(), "QUIT has four times the grace");
}

/// What fails at each try fails at a peer's failure and a restart, too; QUIT is left out when it would only take longer.
#[test]
fn a_hook_without_an_end_is_found_in_every_try() {
    let manifest = app("grace = \"2s\"\nfail-grace = \"300ms\"")
        + &component("bad", HOSTILE_ASYNC, &keys(&["hook=spin"]));
    let drilled = drill(Host::manifest(&manifest), &[]);
    drilled.expect(1);
    for name in ["term", "start", "peer", "reload"] {
        drilled.expect_finding(name, false, "hook-cut-off");
    }
    assert_eq!(drilled.codes("reload", false, "failure"), ["hook-cut-off"]);
    let quit = drilled.tried("quit", false);
    assert!(quit["skipped_because"].as_str().unwrap().contains("four times"), "{quit}");
    let int = drilled.tried("int", false);
    assert_eq!(
        (&int["verdict"], &int["exit_code"]),
        (&"ok".into(), &130.into()),
        "the second INT ends it: {int:#}"
    );
}

/// A try is not left out because the app did not live to say where it can be asked.
#[test]
fn an_app_that_dies_when_it_is_asked_for_its_addresses_is_found() {
    let manifest = app("") + &web("web", HELLO_HTTP, "");
    let host = Host::manifest(&manifest).env("CURFEW_FAIL_POINT", "admin");
    let drilled = drill(host, &["--only", "term"]);
    drilled.expect(1);
    assert_eq!(drilled.tried("term", false)["verdict"], "ok");
    assert_eq!(drilled.codes("term", true, "failure"), ["ended-by-itself"]);
}

/// Who is called like the component that the drill adds is judged like everybody else.
#[test]
fn the_name_of_the_drills_own_component_excuses_nobody() {
    let names = ["drill-peer", "drill-peering"];
    let bad = |name: &&str| component(name, HOSTILE_CLASSIC, &keys(&["hook=error", "run=good"]));
    let manifest = app("") + &names.iter().map(bad).collect::<String>();
    let drilled = drill(Host::manifest(&manifest), &["--only", "peer"]);
    drilled.expect(1);
    assert_eq!(drilled.codes("peer", false, "failure"), ["hook-error", "hook-error"]);
    assert_eq!(drilled.tried("peer", false)["exit_code"], 1);
}

#[test]
fn descriptors_that_are_never_closed_are_found() {
    let dirs = "dirs = [{ host = \"data\", guest = \"/data\" }]";
    let port = free_port();
    let listen = format!("listen = [\"127.0.0.1:{port}\"]\n{dirs}");
    let manifest = app("") + &component("leaky", HTTP_LAB, &listen);
    let host = Host::manifest(&manifest).file("data/leak", "x");
    let url = format!("http://127.0.0.1:{port}/leak");
    let drilled = drill(host, &["--only", "reload", "--clients", "24", "--load", &url]);
    drilled.expect(1);
    let told = drilled.expect_finding("reload", true, "descriptors-grow");
    assert!(told.contains("after it, with nobody connected any more"), "{told}");
}

/// I12, seen from outside; the fail points leave a descriptor and a thread behind at each restart, or at each reload.
#[test]
fn what_a_restart_or_a_reload_leaves_behind_is_found() {
    for point in ["restart", "reload-leaves"] {
        let manifest = app("") + &component("server", SERVER, "");
        let host = Host::manifest(&manifest).env("CURFEW_FAIL_POINT", point);
        let drilled = drill(host, &["--only", "reload"]);
        drilled.expect(1);
        drilled.expect_finding("reload", false, "descriptors-left");
        drilled.expect_finding("reload", false, "threads-left");
    }
}

/// They cost requests that no grace would have saved.
#[test]
fn instances_that_fail_are_told() {
    let port = free_port();
    let listen = format!("listen = [\"127.0.0.1:{port}\"]");
    let manifest = app("grace = \"2s\"") + &component("bad", HTTP_LAB_CLASSIC, &listen);
    let url = format!("http://127.0.0.1:{port}/trap-mid");
    let drilled = drill(Host::manifest(&manifest), &["--only", "term", "--load", &url]);
    drilled.expect(1);
    assert!(drilled.codes("term", true, "note").contains(&"instance-failed".to_owned()));
    let findings = drilled.tried("term", true)["findings"].clone();
    let lost = findings.as_array().unwrap().iter().find(|finding| finding["code"] == "lost").unwrap();
    assert!(lost["advice"].as_str().unwrap().contains("an instance failed"), "{lost:#}");
}

/// Issue 12: errors of the component's own fail a drill, whether or not it stops; unless they are allowed.
#[test]
fn answers_with_errors_are_found_and_can_be_allowed() {
    for (path, allowed) in
        [("/status-line?code=500", false), ("/status-line?code=500", true), ("/status-line?code=404", false)]
    {
        let port = free_port();
        let manifest = app("") + &component("web", HTTP_LAB, &format!("listen = [\"127.0.0.1:{port}\"]"));
        let url = format!("http://127.0.0.1:{port}{path}");
        let mut flags = vec!["--only", "term,reload", "--load", &url, "--junit", "drill.xml"];
        flags.extend(allowed.then_some("--allow-errors"));
        let drilled = drill(Host::manifest(&manifest), &flags);
        let fails = path.contains("500") && !allowed;
        drilled.expect(i32::from(fails));
        for name in ["term", "reload"] {
            let requests = drilled.tried(name, true)["requests"].clone();
            assert!(requests["answered"].as_u64() > Some(0) && requests["lost"] == 0, "{requests}");
            let expected = if path.contains("500") { requests["answered"].clone() } else { 0.into() };
            assert_eq!(requests["errors"], expected, "{requests}");
            if path.contains("500") {
                let told = drilled.expect_finding(name, true, "server-errors");
                assert!(told.contains("answers (100.0 %) had a status of 5xx"), "{told}");
            }
        }
        let weight = if allowed { "note" } else { "failure" };
        let codes = drilled.codes("term", true, weight);
        assert_eq!(codes.contains(&"server-errors".to_owned()), path.contains("500"), "{codes:?}");
        let xml = std::fs::read_to_string(drilled.output.dir.path().join("drill.xml")).unwrap();
        assert_eq!(xml.matches("<failure").count(), if fails { 2 } else { 0 }, "{xml}");
    }
}

/// A component that answers well once and then with 502 for ever: the share is in the table.
#[test]
fn the_table_has_the_share_of_errors() {
    let port = free_port();
    let manifest = app("") + &component("web", HTTP_LAB, &format!("listen = [\"127.0.0.1:{port}\"]"));
    let url = format!("http://127.0.0.1:{port}/status-line?code=503");
    let output = Host::manifest(&manifest).call(&["drill", "--only", "term", "--load", &url]);
    output.expect_code(1);
    let told = output.stdout_text();
    assert!(told.contains(" answered (100.0 % 5xx), 0 lost\n"), "{told}");
    assert!(told.contains("--allow-errors accepts them"), "{told}");
}

#[test]
fn what_ends_by_itself_is_not_drilled() {
    let manifest = app("") + &component("short", HOSTILE_ASYNC, &keys(&["run=return"]));
    let drilled = drill(Host::manifest(&manifest), &[]);
    drilled.expect(0);
    // Where the signal came first, it was an ordinary stop.
    let ended = drilled.tries().iter().position(|tried| tried["findings"][0]["code"] == "ended-by-itself");
    let ended = ended.unwrap_or_else(|| panic!("it never ended by itself: {:#}", drilled.document));
    for tried in &drilled.tries()[ended + 1..] {
        assert_eq!(tried["skipped_because"], "the app ends by itself", "{tried:#}");
    }
}

/// A job that begins anew when it ends pauses in between, for longer than a peer lives.
#[test]
fn a_job_that_begins_anew_is_no_app_that_does_not_start() {
    let restart =
        "on-exit = \"restart\"\nrestart = { max = 1000, within = \"24h\", backoff = [\"2s\", \"2s\"] }";
    let manifest = app("")
        + &component("server", SERVER, "")
        + &component("job", HOSTILE_ASYNC, &format!("{}\n{restart}", keys(&["run=return"])));
    let drilled = drill(Host::manifest(&manifest), &["--only", "peer"]);
    drilled.expect(0);
    assert_eq!(drilled.tried("peer", false)["verdict"], "ok");
}

/// The `nginx` profile cuts off at TERM and INT: only QUIT and what comes without a signal can be judged.
#[test]
fn the_nginx_profile_is_drilled_by_quit() {
    let manifest = app("signals = \"nginx\"") + &component("server", SERVER, "");
    let drilled = drill(Host::manifest(&manifest), &["--only", "term,int,quit,start,peer"]);
    drilled.expect(0);
    for (name, verdict) in
        [("term", "skipped"), ("int", "skipped"), ("quit", "ok"), ("start", "skipped"), ("peer", "ok")]
    {
        assert_eq!(drilled.tried(name, false)["verdict"], verdict, "{name}");
    }
}

/// A service that owns its sockets gets them back at each restart.
#[test]
fn a_service_with_a_socket_of_its_own_passes() {
    let port = free_port();
    let args =
        format!("args = [\"127.0.0.1:{port}\", \"0\"]\nnetwork = {{ listen = [\"127.0.0.1:{port}\"] }}");
    let manifest = app("") + &component("echo", TCP_ECHO, &args);
    drill(Host::manifest(&manifest), &[]).expect(0);
}
