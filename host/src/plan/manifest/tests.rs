//! What a good manifest becomes, and what is told of a bad one, word for word. Here are manifests as a whole;
//! units, addresses and names are tested where they are read.

mod app;
mod http;
mod supervision;
mod together;
mod values;

use std::time::Duration;

use proptest::prelude::*;

use super::super::error::PlanErrorKind;
use super::super::json_schema::tests::validate;
use super::super::types::{Peer, PeerHost};
use super::*;

/// The start of a valid manifest of one component; its keys can go on from line 3.
const WEB: &str = "[component.web]\nsource = \"web.wasm\"\n";

/// A folder with `web.wasm`, a certificate and its key, and the directory `data`.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["web.wasm", "cert.pem", "key.pem"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    std::fs::create_dir(dir.path().join("data")).unwrap();
    dir
}

fn plan(text: &str) -> Result<Plan, PlanError> {
    let plan = Plan::from_str(text, &folder().path().join("curfew.toml"));
    if plan.is_ok() {
        assert_eq!(validate(text), Ok(()), "an editor refuses what is taken:\n{text}");
    }
    plan
}

/// What is said of `text`: place, message and hint; without the excerpt, the folder as `DIR`.
fn told(text: &str) -> String {
    let dir = folder();
    match Plan::from_str(text, &dir.path().join("curfew.toml")) {
        Err(PlanError::Invalid(found)) => {
            let hint = found.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{}:{}: {}{hint}", found.line, found.column, found.message)
                .replace(&dir.path().display().to_string(), "DIR")
        }
        other => panic!("{text}\nwas not refused as invalid: {other:?}"),
    }
}

/// Each case is what follows [`WEB`], and what is said of it.
fn refused_in_component(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        assert_eq!(told(&format!("{WEB}{text}")), *message, "{text}");
    }
}

fn refused(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        assert_eq!(told(text), *message, "{text}");
    }
}

#[test]
fn the_whole_message_has_place_excerpt_and_hint() {
    let text = format!("{WEB}grcae = \"10s\"\n");
    let error = Plan::from_str(&text, Path::new("curfew.toml")).unwrap_err();
    assert_eq!(error.kind(), PlanErrorKind::Invalid);
    // `source` does not exist here, and stands first.
    assert!(error.to_string().starts_with("curfew.toml:2:10: `source` names a file that does not exist: /"));
    let text = format!("{}{WEB}", "[app]\ngrcae = \"10s\"\n");
    assert_eq!(
        Plan::from_str(&text, Path::new("curfew.toml")).unwrap_err().to_string(),
        "curfew.toml:2:1: unknown key `grcae` in [app]\n    2 | grcae = \"10s\"\n      | ^^^^^\n\
         hint: did you mean `grace`?"
    );
}

#[test]
fn syntax_errors_are_told_in_our_form() {
    refused_in_component(&[
        ("grace = 10s\n", "3:9: a string stands in quotes; found `10s` (did you mean \"10s\"?)"),
        ("grace = 10 s # x\n", "3:9: a string stands in quotes; found `10 s` (did you mean \"10s\"?)"),
        ("hook = at-start", "3:8: a string stands in quotes; found `at-start` (did you mean \"at-start\"?)"),
        ("grace = \"10s\n", "3:13: this is not TOML: the closing `\"` is missing"),
        ("grace =\n", "3:8: a value is missing after `=`"),
        ("grace\n", "3:6: this is not TOML: key with no value, expected `=`"),
        ("stdin = True\n", "3:9: this is not TOML: invalid boolean, expected `true` (did you mean true?)"),
        ("grace = \"1s\"\ngrace = \"2s\"\n", "4:1: `grace` is given twice in one table"),
        (
            "[component.web]\n",
            "3:12: there are two components `web`; the first is on line 1 (the names of components are unique)",
        ),
    ]);
    refused(&[
        ("[app\n", "1:5: this is not TOML: unclosed table, expected `]`"),
        ("app = 1\n[app.x]\n", "2:2: `app` has a value already, it cannot be a table as well"),
    ]);
}

const FULL: &str = r#"
[app]
name = "shop"
grace = "20s"
fail-grace = "4s"
drain-delay = "250ms"
signals = "nginx"
access-log = "json"
admin = "127.0.0.1:9900"
control = "run/curfew.sock"

[component.web]
source = "web.wasm"
grace = "1m"
hook = "after-drain"
on-exit = "ignore"
on-failure = "restart"
restart = { max = 3, within = "2m", backoff = ["1s", "9s"] }
after = ["a"]
ready = "said"
health = { path = "/healthz?deep=1", every = "4s", timeout = "1s", failures = 2 }
start-timeout = "3s"
memory = "1GiB"
stdin = true
args = ["-v", "x"]
env = { LOG = "info" }
dirs = [{ host = "data", guest = "/data", access = "read-write" }, { host = ".", guest = "/" }]
network = { listen = ["127.0.0.1:0"], connect = ["redis:6379", "*"], names = true }
config = { greeting = "hello" }
listen = ["127.0.0.1:8080", "[::1]:0", "unix:web.sock", "fd:web"]
routes = ["*.Example.com", "/static/"]
tls = { cert = "cert.pem", key = "key.pem" }
instances = { max = 4, concurrency = 16, requests = 100, queue = 0, idle = "5s" }
request-timeout = "7s"
limits = { connections = 9, header-size = "8KiB", body-size = "2GiB", header-timeout = "1s", idle-timeout = "2s" }
forwarded = "append"
outbound-http = ["https://api.example.com", "http://*.internal:8080"]

[component.a]
source = "web.wasm"
overlap = true
"#;

#[test]
fn every_key_reaches_the_plan() {
    let dir = folder();
    let path = dir.path().join("curfew.toml");
    let plan = Plan::from_str(FULL, &path).unwrap();
    let secs = Duration::from_secs;
    let app = &plan.app;
    assert_eq!((app.name.as_str(), app.grace, app.fail_grace), ("shop", secs(20), secs(4)));
    assert_eq!((app.drain_delay, app.signals), (Duration::from_millis(250), SignalProfile::Nginx));
    assert_eq!((plan.manifest.as_ref(), plan.passthrough), (Some(&path), false));
    let [web, a] = plan.components.as_slice() else { panic!("two components, in the order of the text") };
    assert_eq!((web.name.as_str(), &web.source), ("web", &dir.path().join("web.wasm")));
    assert_eq!((web.grace, web.start_timeout, web.memory), (Some(secs(60)), secs(3), 1 << 30));
    assert_eq!(
        (web.hook, web.on_exit, web.on_failure),
        (Some(HookTiming::AfterDrain), OnEnd::Ignore, Some(OnEnd::Restart))
    );
    assert!(web.stdin && web.network.names);
    assert_eq!(web.args, ["-v", "x"]);
    assert_eq!((web.env[0].1.as_str(), web.config["greeting"].as_str()), ("info", "hello"));
    assert_eq!((a.grace, a.start_timeout, a.memory), (None, DEFAULT_START_TIMEOUT, DEFAULT_MEMORY));
    assert_eq!((a.hook, a.on_exit, a.on_failure, a.stdin), (None, OnEnd::StopApp, None, false));
    assert!(a.args.is_empty() && a.env.is_empty() && a.dirs.is_empty() && a.config.is_empty());
    assert_eq!(a.network, NetworkGrant::default());
}

#[test]
fn every_grant_reaches_the_plan() {
    let dir = folder();
    let plan = Plan::from_str(FULL, &dir.path().join("curfew.toml")).unwrap();
    let web = &plan.components[0];
    let grant = |host: &str, guest: &str, access| DirGrant {
        host: dir.path().join(host),
        guest: guest.into(),
        access,
    };
    assert_eq!(web.dirs, [grant("data", "/data", Access::ReadWrite), grant(".", "/", Access::ReadOnly)]);
    assert_eq!(web.network.listen, ["127.0.0.1:0".parse().unwrap()]);
    let redis = Peer { host: PeerHost::Name("redis".into()), port: Some(6379) };
    assert_eq!(web.network.connect, [redis, Peer { host: PeerHost::Any, port: None }]);
}

#[test]
fn the_app_has_defaults_and_the_name_of_the_folder() {
    let dir = folder();
    let plan =
        Plan::from_str(&format!("\u{feff}{WEB}").replace('\n', "\r\n"), &dir.path().join("c.toml")).unwrap();
    assert_eq!(Some(plan.app.name.as_str()), dir.path().file_name().and_then(|name| name.to_str()));
    assert_eq!((plan.app.grace, plan.app.fail_grace), (DEFAULT_GRACE, DEFAULT_FAIL_GRACE));
    assert_eq!((plan.app.drain_delay, plan.app.signals), (Duration::ZERO, SignalProfile::Standard));
    assert_eq!(plan.app.access_log, AccessLogFormat::Off);
}

#[test]
fn files_that_are_no_manifest() {
    let dir = folder();
    let write = |bytes: &[u8]| {
        let path = dir.path().join("m.toml");
        std::fs::write(&path, bytes).unwrap();
        Plan::from_manifest(&path).unwrap_err().to_string().replace(&format!("{}/", dir.path().display()), "")
    };
    assert_eq!(write(b"\0asm\x0d\0\x01\0\xff"), "m.toml:1:1: this is a binary, not a manifest");
    assert_eq!(
        write(b"a = 1\nb = \"\xff\""),
        "m.toml:2:6: this is not text: a manifest is UTF-8\n    2 | b = \"\n      |      ^"
    );
    assert_eq!(
        write(&vec![b'#'; 1 << 21]),
        "m.toml:1:1: a manifest has at most 1048576 bytes, this file is larger"
    );
    let missing = Plan::from_manifest(Path::new("none/curfew.toml")).unwrap_err();
    assert_eq!(missing.kind(), PlanErrorKind::Unreadable);
    assert_eq!(missing.to_string(), "cannot read none/curfew.toml: No such file or directory (os error 2)");
    // There is none in the folder that tests run in.
    assert_eq!(
        Plan::from_manifest(Path::new(DEFAULT_MANIFEST)).unwrap_err().to_string(),
        "cannot read curfew.toml: No such file or directory (os error 2)\n\
         hint: give a manifest or .wasm files: curfew run a.wasm"
    );
    assert_eq!(Plan::from_manifest(dir.path()).unwrap_err().kind(), PlanErrorKind::Unreadable);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_panics(text in "\\PC{0,80}|[\\[\\]{}=.\",#a-c'\\n\\r\\t \u{0}é0-9-]{0,60}") {
        let _ = Plan::from_str(&text, Path::new("curfew.toml")).map_err(|error| error.to_string());
    }

    #[test]
    fn no_broken_manifest_panics(at in 0..FULL.len(), cut in 0..12usize, put in "[\\[\\]{}=.\",#'\\n é1a]{0,3}") {
        let end = FULL.len().min(at + cut);
        let _ = plan(&format!("{}{put}{}", &FULL[..at], &FULL[end..])).map_err(|error| error.to_string());
    }
}
