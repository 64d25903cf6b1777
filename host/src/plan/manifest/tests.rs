//! Good manifests and their plans, bad ones and their exact messages: manifests as a whole, single keys and values, and
//! components that do not go together. Units, addresses and names are tested where they are read.

mod served;
mod supervision;

use std::time::Duration;

use proptest::prelude::*;

use super::super::json_schema::tests::validate;
use super::super::*;
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

/// The errors of `text`: place, message and hint; without the excerpt, the folder as `DIR`.
fn all_told(text: &str) -> Vec<String> {
    let dir = folder();
    let shown = |found: &Diagnostic| {
        let hint = found.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}:{}: {}{hint}", found.place.line, found.place.column, found.message)
            .replace(&dir.path().display().to_string(), "DIR")
    };
    match Plan::from_str(text, &dir.path().join("curfew.toml")) {
        Err(PlanError::Invalid(found)) => found.iter().map(shown).collect(),
        other => panic!("{text}\nwas not refused as invalid: {other:?}"),
    }
}

/// The first of them.
fn told(text: &str) -> String {
    all_told(text).remove(0)
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
    assert!(matches!(error, PlanError::Invalid(_)));
    // `source` does not exist here, and stands first.
    assert!(error.to_string().starts_with("curfew.toml:2:10: `source` names a file that does not exist: /"));
    let text = format!("{}{WEB}", "[app]\ngrcae = \"10s\"\n");
    let error = Plan::from_str(&text, Path::new("curfew.toml")).unwrap_err().to_string();
    let first = "curfew.toml:2:1: unknown key `grcae` in [app]\n    2 | grcae = \"10s\"\n      | ^^^^^\n\
                 hint: did you mean `grace`?\ncurfew.toml:4:10: `source` names a file that does not exist: /";
    assert!(error.starts_with(first), "{error}");
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
    refused(&[("[app\n", "1:5: this is not TOML: unclosed table, expected `]`")]);
    let both = [
        "1:7: `app` takes a table, found an integer",
        "2:2: `app` has a value already, it cannot be a table as well",
    ];
    assert_eq!(all_told("app = 1\n[app.x]\n"), both);
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
limits = { connections = 9, per-client = 3, header-size = "8KiB", body-size = "2GiB", header-timeout = "1s", idle-timeout = "2s", min-rate = "1KiB", rate-window = "3s", outbound = 12 }
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
    assert_eq!((a.grace, a.start_timeout, a.memory), (None, secs(10), 256 << 20));
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
    assert_eq!((plan.app.grace, plan.app.fail_grace), (Duration::from_secs(25), Duration::from_secs(5)));
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
    assert!(matches!(missing, PlanError::Unreadable { .. }));
    assert_eq!(missing.to_string(), "cannot read none/curfew.toml: No such file or directory (os error 2)");
    // There is none in the folder that tests run in.
    assert_eq!(
        Plan::from_manifest(Path::new(DEFAULT_MANIFEST)).unwrap_err().to_string(),
        "cannot read curfew.toml: No such file or directory (os error 2)\n\
         hint: give a manifest or .wasm files: curfew run a.wasm"
    );
    assert!(matches!(Plan::from_manifest(dir.path()), Err(PlanError::Unreadable { .. })));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    let known = "source, listen, routes, tls, instances, request-timeout, limits, forwarded, after, grace, hook, on-exit, \
                 on-failure, restart, ready, health, overlap, start-timeout, memory, stdin, args, env, dirs, network, \
                 outbound-http, config";
    let far = format!("3:1: unknown key `frobnicate` in [component.web] (known here: {known})");
    refused_in_component(&[
        ("grcae = 1\n", "3:1: unknown key `grcae` in [component.web] (did you mean `grace`?)"),
        (
            "start_timeout = 1\n",
            "3:1: unknown key `start_timeout` in [component.web] (did you mean `start-timeout`?)",
        ),
        (
            "fail-grace = 1\n",
            "3:1: unknown key `fail-grace` in [component.web] (`fail-grace` belongs in [app])",
        ),
        ("frobnicate = 1\n", &far),
        (
            "network = { lisen = [] }\n",
            "3:13: unknown key `lisen` in `network` of [component.web] (did you mean `listen`?)",
        ),
        (
            "dirs = [{ host = \"data\", guest = \"/d\", acess = 1 }]\n",
            "3:40: unknown key `acess` in `dirs` of [component.web] (did you mean `access`?)",
        ),
    ]);
    refused(&[
        ("[components.web]\n", "1:2: unknown key `components` in the manifest (did you mean `component`?)"),
        // The typo, not the `source` that is missing for it.
        (
            "[component.web]\nsorce = 1\n",
            "2:1: unknown key `sorce` in [component.web] (did you mean `source`?)",
        ),
        (
            "[app]\nstdin = 1\n",
            "2:1: unknown key `stdin` in [app] (`stdin` belongs in a [component.NAME] table)",
        ),
    ]);
}

#[test]
fn wrong_types_say_what_is_taken() {
    refused_in_component(&[
        (
            "grace = 10\n",
            "3:9: `grace` takes a duration such as \"10s\", found an integer (did you mean \"10s\"?)",
        ),
        ("memory = 1.5\n", "3:10: `memory` takes a size such as \"64MiB\", found a float"),
        ("stdin = \"true\"\n", "3:9: `stdin` takes true or false, found \"true\" (did you mean true?)"),
        (
            "args = \"-v\"\n",
            "3:8: `args` takes a list, each item of it a string, found \"-v\" (did you mean [\"-v\"]?)",
        ),
        (
            "args = [\"a\", 1]\n",
            "3:14: each item of `args` takes a string, found an integer (did you mean \"1\"?)",
        ),
        ("env = { A = true }\n", "3:13: `env.A` takes a string, found `true` (did you mean \"true\"?)"),
        ("env = []\n", "3:7: `env` takes a table, found a list"),
        ("config.a.b = \"x\"\n", "3:8: `config.a` takes a string, found a table"),
        ("hook = 1979-05-27\n", "3:8: `hook` takes \"at-start\" or \"after-drain\", found a date or time"),
        (
            "dirs = [\"data\"]\n",
            "3:9: each item of `dirs` takes a table with `host`, `guest`, `access`, found \"data\" (did you mean \
             { host = \"data\", guest = \"/data\", access = \"read-write\" }?)",
        ),
        ("restart = { max = -1 }\n", "3:19: `restart.max` takes a whole number from 0 on, found -1"),
        ("instances = { max = 0 }\n", "3:21: `instances.max` takes a whole number from 1 on, found 0"),
        (
            "restart = { backoff = [\"1s\"] }\n",
            "3:23: `restart.backoff` takes a list of two, each a duration such as \"10s\", found a list of 1",
        ),
    ]);
}

#[test]
fn everything_that_is_wrong_is_told_in_the_order_of_the_text() {
    let text = "[app]\ngrcae = \"1s\"\n[component.b]\nsource = \"no.wasm\"\nafter = [\"nobody\"]\n[component.a]\n\
                grace = 10s\nmemory = 64\nsource = web.wasm\nstdin = true\nstdin = true\n";
    assert_eq!(
        all_told(text),
        [
            "2:1: unknown key `grcae` in [app] (did you mean `grace`?)",
            "4:10: `source` names a file that does not exist: DIR/no.wasm",
            "5:10: `after` names a component that does not exist: \"nobody\" (the components are \"a\" or \"b\")",
            "7:9: a string stands in quotes; found `10s` (did you mean \"10s\"?)",
            "8:10: `memory` takes a size such as \"64MiB\", found an integer (did you mean \"64MiB\"?)",
            "9:10: a string stands in quotes; found `web.wasm` (did you mean \"web.wasm\"?)",
            "11:1: `stdin` is given twice in one table",
        ]
    );
    // All addresses and all circles that are wrong, not just the first.
    let one = |name: &str, keys: &str| format!("[component.{name}]\nsource = \"web.wasm\"\n{keys}\n");
    let listen = "listen = [\"127.0.0.1:1\"]";
    let same = one("a", listen) + &one("b", listen) + &one("c", listen);
    assert_eq!(all_told(&same).len(), 2, "{:?}", all_told(&same));
    let circles =
        one("a", "after = [\"a\"]") + &one("b", "after = [\"c\", \"b\"]") + &one("c", "after = [\"b\"]");
    let told: Vec<String> = all_told(&circles).iter().map(|told| told[..4].to_owned()).collect();
    assert_eq!(told, ["3:10", "6:10"]);
}

/// What stands behind it may be a consequence.
#[test]
fn nothing_is_told_behind_an_error_that_the_parser_cannot_get_over() {
    let told = all_told("[app]\ngrcae = \"1s\"\ndrain-delay\n[component.web]\ngrace = 10s\n");
    assert_eq!(
        told,
        [
            "2:1: unknown key `grcae` in [app] (did you mean `grace`?)",
            "3:12: this is not TOML: key with no value, expected `=`",
        ]
    );
    for text in
        ["[component.web]\nlisten = [\"x:1\"\nsource = 1\n", "[component.web]\nargs = \"\"\"\nsource = 1\n"]
    {
        let told = all_told(text);
        assert!(told.len() <= 2 && told.iter().any(|told| told.contains("this is not TOML")), "{told:?}");
    }
}

#[test]
fn a_flood_of_errors_is_cut_short() {
    let told = all_told(&(0..3000).map(|n| format!("[component.c{n}]\nsorce = 1\n")).collect::<String>());
    assert_eq!(told.len(), 101);
    assert!(told[100].ends_with("2900 more errors follow: mend these first"), "{}", told[100]);
}

#[test]
fn errors_of_files_find_their_place() {
    let text = format!("{WEB}memory = \"1MiB\"\nnetwork = {{ connect = [\"a:1\"] }}\n");
    let plan = plan(&text).unwrap();
    let found =
        |component: &str, key: &str| plan.places.find(component, key).map(|place| (place.line, place.column));
    assert_eq!(found("web", "source"), Some((2, 10)));
    assert_eq!(found("web", "memory"), Some((3, 10)));
    assert_eq!(found("web", "network.connect"), Some((4, 23)));
    assert_eq!(found("web", "network.names"), Some((4, 11)), "the table around it");
    assert_eq!(found("web", "listen"), Some((2, 10)), "a key that is not there has the place of the file");
    assert_eq!(found("queue", "source"), None);
}

#[test]
fn a_reading_goes_on_where_the_manifest_is_wrong() {
    let dir = folder();
    let path = dir.path().join("curfew.toml");
    let text = "[component.a]\nsource = \"no.wasm\"\n[component.b]\nsource = \"web.wasm\"\nlisten = [9401]\n\
                [component.c]\nsource = \"web.wasm\"\nafter = [\"x\"]\n";
    std::fs::write(&path, text).unwrap();
    let ManifestReading { plan, errors, doubtful } = Plan::read_manifest(&path).unwrap();
    let names: Vec<&str> = plan.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!((names, errors.len()), (vec!["b", "c"], 3));
    assert_eq!(doubtful.into_iter().collect::<Vec<_>>(), ["b"]);
}

/// What people write who come from docker compose, Kubernetes, Spin and wasmtime, and what they mean by it: keys of a component.
const HABITS: &[(&str, &str)] = &[
    ("memory = 64", "did you mean \"64MiB\"?"),
    ("memory = 67108864", "did you mean \"64MiB\"?"),
    ("memory = \"64\"", "did you mean \"64MiB\"?"),
    ("memory = \"64m\"", "did you mean \"64MiB\"?"),
    ("memory = \"64Mi\"", "did you mean \"64MiB\"?"),
    ("grace = \"1m30s\"", "did you mean \"90s\"?"),
    ("grace = 1.5", "did you mean \"1.5s\"?"),
    ("listen = [9401]", "did you mean \"127.0.0.1:9401\"?"),
    ("listen = 9401", "did you mean [\"127.0.0.1:9401\"]?"),
    ("listen = [\"9401\"]", "did you mean \"127.0.0.1:9401\"?"),
    ("listen = [\"8080:80\"]", "did you mean \"0.0.0.0:8080\"?"),
    ("listen = [\"127.0.0.1:8080:80/tcp\"]", "did you mean \"127.0.0.1:8080\"?"),
    ("ports = [\"8080:80\"]", "did you mean `listen`?"),
    (
        "dirs = [\"data:/data\"]",
        "did you mean { host = \"data\", guest = \"/data\", access = \"read-write\" }?",
    ),
    ("dirs = [\"./data:/d:ro\"]", "did you mean { host = \"./data\", guest = \"/d\" }?"),
    ("dirs = [\"data::/d\"]", "did you mean { host = \"data\", guest = \"/d\", access = \"read-write\" }?"),
    ("dirs = \"data\"", "did you mean [{ host = \"data\", guest = \"/data\", access = \"read-write\" }]?"),
    ("dirs = [{ host = \"data\", guest = \"/d\", access = \"rw\" }]", "did you mean \"read-write\"?"),
    ("dirs = [{ host = \"data\", guest = \"/d\", access = \"ro\" }]", "did you mean \"read-only\"?"),
    ("dirs = [{ source = \"data\", target = \"/d\" }]", "did you mean `host`?"),
    ("volumes = []", "did you mean `dirs`?"),
    ("environment = {}", "did you mean `env`?"),
    ("env = [\"A=b\", \"C=d e\"]", "did you mean { A = \"b\", C = \"d e\" }?"),
    ("env = \"A=b\"", "did you mean { A = \"b\" }?"),
    ("args = \"--port 80\"", "did you mean [\"--port\", \"80\"]?"),
    ("command = []", "did you mean `args`?"),
    ("depends_on = []", "did you mean `after`?"),
    ("after = \"db\"", "did you mean [\"db\"]?"),
    ("after = { db = { condition = \"service_healthy\" } }", "did you mean [\"db\"]?"),
    ("ready = \"service_healthy\"", "did you mean \"said\"?"),
    ("restart = \"always\"", "did you mean on-failure = \"restart\"?"),
    ("restart = \"no\"", "did you mean on-failure = \"ignore\"?"),
    ("restart = 5", "did you mean { max = 5 }?"),
    ("restartPolicy = \"Always\"", "did you mean `on-failure`?"),
    ("on-failure = \"Always\"", "did you mean \"restart\"?"),
    ("on-exit = \"never\"", "did you mean \"ignore\"?"),
    ("health = \"/healthz\"", "did you mean { path = \"/healthz\" }?"),
    ("livenessProbe = {}", "did you mean `health`?"),
    ("health = { path = \"/\", interval = \"1s\" }", "did you mean `every`?"),
    ("health = { path = \"/\", failureThreshold = 3 }", "did you mean `failures`?"),
    ("terminationGracePeriodSeconds = 30", "did you mean `grace`?"),
    ("stop_grace_period = \"30s\"", "did you mean `grace`?"),
    ("replicas = 2", "did you mean `instances`?"),
    ("instances = 4", "did you mean { max = 4 }?"),
    ("instances = { max = \"4\" }", "did you mean 4?"),
    ("network = true", "did you mean { connect = [\"*\"], names = true }?"),
    ("network = \"redis:6379\"", "did you mean { connect = [\"redis:6379\"] }?"),
    ("network.connect = [6379]", "did you mean \"127.0.0.1:6379\"?"),
    ("network.connect = [\"redis://u:p@redis/0\"]", "did you mean \"redis:6379\"?"),
    ("network.connect = [\"tcp://db:5432\"]", "did you mean \"db:5432\"?"),
    (
        "network.connect = [\"https://api.example.com/v1\"]",
        "`outbound-http = [\"https://api.example.com\"]` grants HTTP requests",
    ),
    ("network.names = \"yes\"", "did you mean true?"),
    ("allowed_outbound_hosts = []", "did you mean `outbound-http`?"),
    ("outbound-http = true", "did you mean [\"http://*:*\", \"https://*:*\"]?"),
    ("stdin = 1", "did you mean true?"),
    ("tls = true", "did you mean { cert = \"cert.pem\", key = \"key.pem\" }?"),
    ("forwarded = true", "did you mean \"append\"?"),
    ("routes = [\"api\"]", "did you mean the path \"/api\"? The host api is written \"api.\""),
    ("image = \"web.wasm\"", "did you mean `source`?"),
];

/// The same of whole manifests.
const HABITS_ABOVE: &[(&str, &str)] = &[
    ("[app]\naccess-log = true\n", "did you mean \"text\"?"),
    ("[app]\nadmin = 9900\n", "did you mean \"127.0.0.1:9900\"?"),
    ("[app]\nports = []\n", "`listen` belongs in a [component.NAME] table"),
    ("[app]\nstop_grace_period = \"1s\"\n", "did you mean `grace`?"),
    ("[services.web]\nsource = \"web.wasm\"\n", "did you mean `component`?"),
    ("[application]\nname = \"x\"\n", "did you mean `app`?"),
    ("[[component]]\nid = \"x\"\n", "each component is a table with its name: [component.web]"),
];

#[test]
fn the_habits_of_other_tools_get_a_hint() {
    for (text, hint) in HABITS {
        let told = all_told(&format!("{WEB}{text}\n"));
        assert!(told[0].starts_with("3:") && told[0].ends_with(&format!("({hint})")), "{text}: {told:?}");
    }
    for (text, hint) in HABITS_ABOVE {
        let told = told(text);
        assert!(told.ends_with(&format!("({hint})")), "{text}: {told}");
    }
}

#[test]
fn components_are_tables() {
    refused(&[
        (
            "[[component]]\n",
            "1:1: `component` takes tables such as [component.web], found a list (each component is a table with its name: \
             [component.web])",
        ),
        ("component.web = 3\n", "1:17: `component.web` takes a table, found an integer"),
    ]);
}

#[test]
fn wrong_values_say_why() {
    refused_in_component(&[
        (
            "grace = \"10\"\n",
            "3:9: `grace` takes a duration such as \"10s\", found \"10\": the unit is missing (one of ms, s, m, h) \
             (did you mean \"10s\"?)",
        ),
        (
            "grace = \"9000h\"\n",
            "3:9: `grace` takes a duration such as \"10s\", found \"9000h\": the longest is 8760h (365 days)",
        ),
        (
            "start-timeout = \"0s\"\n",
            "3:17: `start-timeout` takes a duration such as \"10s\", found \"0s\": it must be above 0",
        ),
        (
            "memory = \"0B\"\n",
            "3:10: `memory` takes a size such as \"64MiB\", found \"0B\": it must be above 0",
        ),
        (
            "memory = \"64MB\"\n",
            "3:10: `memory` takes a size such as \"64MiB\", found \"64MB\": \"MB\" is not a unit \
             (one of B, KiB, MiB, GiB) (did you mean \"64MiB\"?)",
        ),
        (
            "on-exit = \"ingore\"\n",
            "3:11: `on-exit` takes \"stop-app\", \"ignore\" or \"restart\", found \"ingore\" (did you mean \"ignore\"?)",
        ),
        (
            "args = [\"a\\u0000\"]\n",
            "3:9: each item of `args` takes a string, found \"a\\0\": there is a NUL in it",
        ),
        (
            "network.listen = [\"localhost:80\"]\n",
            "3:19: each item of `network.listen` takes an address such as \"127.0.0.1:8080\", found \
             \"localhost:80\": it must be an IP address, not a name (did you mean \"127.0.0.1:80\"?)",
        ),
        (
            "network.connect = [\"redis\"]\n",
            "3:20: each item of `network.connect` takes a peer such as \"127.0.0.1:6379\", \"redis:6379\" or \
             \"*:443\", found \"redis\": the port is missing (\"redis:*\" is any port of it)",
        ),
        (
            "outbound-http = [\"x\"]\n",
            "3:18: each item of `outbound-http` takes a server such as \"https://api.example.com\", found \"x\": \
             it does not start with http:// or https:// (did you mean \"https://x\"?)",
        ),
    ]);
    refused(&[(
        "[app]\nname = \"\"\n",
        "2:8: `name` takes a name of 1 to 64 characters on one line, found \"\"",
    )]);
}

#[test]
fn wrong_names_and_missing_keys() {
    let rule =
        "a component has a name: a-z, 0-9, `-` and `_`, starting with a letter or digit, at most 64 long";
    let variable = "the name of a variable is not empty, and has neither `=` nor NUL in it";
    refused_in_component(&[
        ("env = { \"A=B\" = \"x\" }\n", &format!("3:9: {variable}; found `A=B`")),
        ("env = { \"A\\u0000\" = \"x\" }\n", &format!("3:9: {variable}; found `A\\0`")),
        (
            "dirs = [{ host = \"data\" }]\n",
            "3:9: `dirs` of [component.web] has no `guest` (add `guest = \"/data\"`)",
        ),
    ]);
    let add = "add `source = \"web.wasm\"`";
    refused(&[
        ("[component.Web]\n", &format!("1:1: [component.Web] has no `source` ({add})")),
        (&WEB.replace("web]", "Web]"), &format!("1:12: {rule}; found `Web` (did you mean `web`?)")),
        (&WEB.replace("web]", "\"\"]"), &format!("1:12: {rule}; found `\"\"` (did you mean `component`?)")),
        ("[component.web]\n", &format!("1:1: [component.web] has no `source` ({add})")),
        ("", "1:1: the app has no component (add one: [component.web] with `source = \"web.wasm\"`)"),
        (
            "[component]\n",
            "1:2: the app has no component (add one: [component.web] with `source = \"web.wasm\"`)",
        ),
    ]);
}

#[test]
fn what_the_disk_does_not_have_is_refused() {
    refused_in_component(&[
        (
            "dirs = [{ host = \"no\", guest = \"/d\" }]\n",
            "3:18: `dirs.host` names a directory that does not exist: DIR/no",
        ),
        (
            "dirs = [{ host = \"web.wasm\", guest = \"/d\" }]\n",
            "3:18: `dirs.host` names a file, not a directory: DIR/web.wasm",
        ),
        (
            "dirs = [{ host = \"data\", guest = \"/d\" }, { host = \".\", guest = \"/d/\" }]\n",
            "3:64: two directories have the same `guest` path \"/d/\"",
        ),
    ]);
    refused(&[
        (
            "[component.a]\nsource = \"a/b.wasm\"\n",
            "2:10: `source` names a file that does not exist: DIR/a/b.wasm",
        ),
        ("[component.a]\nsource = \"data\"\n", "2:10: `source` names a directory, not a file: DIR/data"),
        (
            "[component.a]\nsource = \"\"\n",
            "2:10: `source` takes a path such as \"web.wasm\", found \"\": it is empty",
        ),
    ]);
}

#[test]
fn components_that_do_not_go_together() {
    let two = |a: &str, b: &str| format!("{WEB}{a}\n{}{b}\n", WEB.replace("web]", "queue]"));
    let circle = "(\"a → b\" is: a starts after b)";
    refused(&[
        (
            &two("stdin = true", "stdin = true"),
            "6:9: only one component can read the standard input: `web` does (line 3)",
        ),
        (
            &two("after = [\"queu\"]", ""),
            "3:10: `after` names a component that does not exist: \"queu\" (did you mean \"queue\"?)",
        ),
        (
            &two("after = [\"db\"]", ""),
            "3:10: `after` names a component that does not exist: \"db\" (the components are \"queue\" or \"web\")",
        ),
        (&two("after = [\"web\"]", ""), &format!("3:10: `after` goes round in a circle: web → web {circle}")),
        (
            &two("after = [\"queue\"]", "after = [\"web\"]"),
            &format!("3:10: `after` goes round in a circle: web → queue → web {circle}"),
        ),
    ]);
}

#[test]
fn deep_and_long_orders_are_no_trouble() {
    let many = 5000;
    let component =
        |n: usize, after: usize| format!("[component.c{n}]\nsource = \"web.wasm\"\nafter = [\"c{after}\"]\n");
    let ring: String = (0..many).map(|n| component(n, (n + 1) % many)).collect();
    assert!(told(&ring).starts_with("3:10: `after` goes round in a circle: c0 → c1 → c2 → "));
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(told(&deep).contains("this is not TOML"));
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
