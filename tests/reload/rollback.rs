//! R1 (lavinmq#2080, pgbouncer#1482), I10: every kind of bad manifest, component or address on HUP → configuration, sockets
//! and instances are what they were, the error is shown, the status tells of it, and the next good manifest is taken.

use std::net::TcpListener;

use artifacts::{
    CORE_MODULE, HOSTILE_ASYNC, HTTP_LAB, HTTP_SPIN_AT_START, HTTP_TRAP_AT_START, MISSING_IMPORT, NO_RUN,
    ODD_HOOK, SERVER, SERVICE_LAB, SPIN_AT_START, TRAP_AT_START,
};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use socket2::{Domain, SockAddr, Socket, Type};

use super::shop::{Shop, Witness};
use crate::harness::{App, Host, component, free_address, keys, until, web};

const QUICK: &str = "start-timeout = \"300ms\"";

/// Reloads to what must fail, and looks at everything that must not have changed.
struct Trial {
    app: App,
    shop: Shop,
    witness: Witness,
    failed: u64,
}

impl Trial {
    fn new() -> Trial {
        let shop = Shop::new();
        let app = Host::manifest(&shop.manifest(1)).start_ready();
        let witness = Witness::of(&app, &shop);
        Trial { app, shop, witness, failed: 0 }
    }

    /// A good and changed `web`, and next to it something bad.
    #[track_caller]
    fn refuses(&mut self, what: &str, bad: &str, error: &str) {
        let manifest = self.shop.manifest(2) + bad;
        self.refuses_manifest(what, &manifest, error);
    }

    #[track_caller]
    fn refuses_manifest(&mut self, what: &str, manifest: &str, error: &str) {
        let record = self.app.reload_fails(manifest);
        let told = record.text("error");
        assert!(told.contains(error), "{what}: {error:?} is not in {told:?}");
        self.failed += 1;
        self.expect_unchanged(what, &told);
    }

    #[track_caller]
    fn expect_unchanged(&mut self, what: &str, told: &str) {
        for name in ["web", "desk", "bad", "fresh"] {
            until(&format!("the end of what was started of {name} for {what}"), || {
                let old = usize::from(["web", "desk"].contains(&name));
                (self.app.generations(name).len() == old).then_some(())
            });
        }
        self.witness.expect_untouched(&self.app, what);
        let status = self.app.status();
        assert_eq!(status["failed_reloads"], self.failed, "{what}: {status}");
        assert_eq!(status["reloads"], 0, "{what}: {status}");
        assert_eq!(status["last_reload"]["ok"], false, "{what}: {status}");
        assert_eq!(status["last_reload"]["text"], *told, "{what}: {status}");
        assert_eq!(status["ready"], true, "{what}: {status}");
    }

    /// The app takes a good manifest after all that, and stops as if nothing had been.
    fn ends_well(self) {
        let Trial { app, shop, .. } = self;
        app.reload(&shop.manifest(2));
        // The numbers of those that came to nothing are not given again.
        until("a new web alone", || {
            let all = app.generations("web");
            (all.len() == 1 && all[0].number("generation") > 1).then_some(())
        });
        assert_eq!(app.component("desk").number("generation"), 1);
        assert_eq!(app.status()["last_reload"]["ok"], true);
        app.stop().expect_code(0).expect_cause("signal", "SIGTERM");
    }
}

#[test]
fn a_bad_manifest_changes_nothing() {
    let mut trial = Trial::new();
    let good = trial.shop.manifest(2);
    trial.refuses_manifest("broken TOML", &good.replace("[component.web]", "[component.web"), "curfew.toml");
    trial.refuses_manifest("an unknown key", &good.replace("grace =", "gracee ="), "gracee");
    trial.refuses_manifest("an empty file", "", "component");
    trial.refuses_manifest("no text", "\u{0}\u{1}", "curfew.toml");
    trial.refuses("a circle", &component("bad", SERVER, "after = [\"bad\"]"), "bad");
    trial.refuses("a word that is no duration", &component("bad", SERVER, "grace = \"soon\""), "soon");
    trial.refuses(
        "an impossible budget",
        &component("bad", SERVER, "restart = { max = 9, within = \"1s\" }"),
        "restart",
    );
    let control = trial.shop.manifest(2).replace("control.sock", "other.sock");
    trial.refuses_manifest("another control socket", &control, "control");
    let admin = trial.shop.manifest_with(2, &format!("admin = \"{}\"", free_address()), "");
    trial.refuses_manifest("an admin listener", &admin, "admin");
    trial.ends_well();
}

#[test]
fn a_manifest_that_cannot_be_read_changes_nothing() {
    let mut trial = Trial::new();
    let manifest = trial.app.path().join("curfew.toml");
    std::fs::remove_file(&manifest).unwrap();
    trial.app.signal(nix::sys::signal::Signal::SIGHUP);
    let told = trial.app.wait_for_reload(1).text("error");
    assert!(told.contains("the manifest is gone") && told.contains("curfew.toml"), "{told}");
    trial.failed += 1;
    trial.expect_unchanged("no manifest", &told);
    std::fs::create_dir(&manifest).unwrap();
    trial.app.signal(nix::sys::signal::Signal::SIGHUP);
    let told = trial.app.wait_for_reload(2).text("error");
    trial.failed += 1;
    trial.expect_unchanged("a folder", &told);
    std::fs::remove_dir(&manifest).unwrap();
    trial.ends_well();
}

#[test]
fn a_bad_component_changes_nothing() {
    let mut trial = Trial::new();
    let whole = std::fs::read(HTTP_LAB).unwrap();
    trial.app.replace("cut.wasm", &whole[..whole.len() / 2]);
    trial.app.replace("empty.wasm", "");
    trial.app.replace("text.wasm", "this is no component");
    std::fs::create_dir(trial.app.path().join("folder.wasm")).unwrap();
    for (what, source, error) in [
        ("a truncated file", "cut.wasm", "cut.wasm"),
        ("an empty file", "empty.wasm", "empty.wasm"),
        ("a text", "text.wasm", "text.wasm"),
        ("a folder", "folder.wasm", "folder.wasm"),
        ("no file", "none.wasm", "none.wasm"),
        ("a core module", CORE_MODULE, "core module"),
        ("no run", NO_RUN, "no-run"),
        ("an odd hook", ODD_HOOK, "shutdown"),
        ("an unknown import", MISSING_IMPORT, "import"),
    ] {
        trial.refuses(what, &component("bad", source, ""), error);
    }
    trial.refuses(
        "a certificate that is none",
        &web("bad", HTTP_LAB, "tls = { cert = \"text.wasm\", key = \"text.wasm\" }"),
        "text.wasm",
    );
    trial.ends_well();
}

/// A file that is replaced in its place, and not a word of the manifest changed.
#[test]
fn a_component_that_was_overwritten_with_rubbish_changes_nothing() {
    let shop = Shop::new();
    let manifest = shop.manifest(1).replace(&format!("{HTTP_LAB:?}"), "\"web.wasm\"");
    let whole = std::fs::read(HTTP_LAB).unwrap();
    let app = Host::manifest(&manifest).file("web.wasm", &whole).start_ready();
    let witness = Witness::of(&app, &shop);
    let mut trial = Trial { app, shop, witness, failed: 0 };
    trial.app.replace("web.wasm", &whole[..1000]);
    trial.refuses_manifest("rubbish in its place", &manifest, "web.wasm");
    trial.app.replace("web.wasm", &whole);
    trial.app.reload(&manifest);
    trial.witness.expect_untouched(&trial.app, "the same bytes again");
    trial.app.stop().expect_code(0);
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let mut trial = Trial::new();
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, good) = (others.local_addr().unwrap(), free_address());
    let listen = format!("listen = [\"{good}\", \"{taken}\"]");
    trial.refuses("an address in use", &component("bad", HTTP_LAB, &listen), &taken.to_string());
    assert!(std::net::TcpStream::connect(good).is_err(), "the other address was left open");
    let moved = trial.shop.manifest(2).replacen(&trial.shop.web.to_string(), &taken.to_string(), 1);
    trial.refuses_manifest("a move to an address in use", &moved, &taken.to_string());
    let foreign = component("bad", HTTP_LAB, "listen = [\"192.0.2.1:80\"]");
    trial.refuses("an address of somebody else", &foreign, "192.0.2.1:80");
    trial.ends_well();
}

/// I3: nothing that a manifest names can hold the thread that hears signals: neither a certificate that is a pipe without a writer,
/// nor a socket whose process hangs with its queue full.
#[test]
fn what_would_block_its_reader_changes_nothing() {
    let mut trial = Trial::new();
    let at = |name: &str| trial.app.path().join(name);
    mkfifo(&at("pipe.pem"), Mode::S_IRWXU).unwrap();
    let hung = at("hung.sock");
    let new = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
    let address = SockAddr::unix(&hung).unwrap();
    let listener = new();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut clients = vec![new()];
    while clients.last().is_some_and(|client| client.connect(&address).is_ok()) {
        clients.push(new());
    }
    trial.refuses(
        "a certificate that is a pipe",
        &web("bad", HTTP_LAB, "tls = { cert = \"pipe.pem\", key = \"pipe.pem\" }"),
        "pipe.pem: it is not a regular file",
    );
    trial.refuses(
        "a socket whose process hangs",
        &component("bad", HTTP_LAB, "listen = [\"unix:hung.sock\"]"),
        "hung.sock",
    );
    assert!(hung.exists(), "it is somebody else's");
    trial.ends_well();
}

#[test]
fn a_component_that_does_not_start_changes_nothing() {
    let mut trial = Trial::new();
    let service =
        |args: &[&str], more: &str| component("bad", SERVICE_LAB, &format!("{}\n{more}", keys(args)));
    trial.refuses("a trap at start", &component("bad", TRAP_AT_START, ""), "bad");
    trial.refuses("a trap at start (http)", &web("bad", HTTP_TRAP_AT_START, ""), "bad");
    trial.refuses("a spin at start", &component("bad", SPIN_AT_START, QUICK), "start-timeout");
    trial.refuses("a spin at start (http)", &web("bad", HTTP_SPIN_AT_START, QUICK), "start-timeout");
    trial.refuses("never ready", &service(&["ready=never"], QUICK), "ready");
    trial.refuses(
        "a failure before it is ready",
        &service(&["ready=never", "fail=0"], ""),
        "returned an error",
    );
    trial.refuses("a trap before it is ready", &service(&["ready=never", "trap=10"], ""), "trapped");
    trial.refuses("an end before it is ready", &service(&["ready=never", "end=10"], ""), "bad");
    trial.refuses(
        "one that cannot be told to end",
        &component("bad", HOSTILE_ASYNC, &format!("{}\n{QUICK}", keys(&["run=never-ready", "hook=park"]))),
        "ready",
    );
    let good_too =
        component("fresh", SERVER, "") + &service(&["ready=never"], &format!("{QUICK}\nafter = [\"fresh\"]"));
    trial.refuses("a good one before it", &good_too, "ready");
    trial.ends_well();
}

/// The changed component itself is the one that is bad.
#[test]
fn a_successor_that_does_not_start_leaves_the_old_one_in_its_place() {
    let mut trial = Trial::new();
    let source = format!("{HTTP_LAB:?}");
    for (what, guest) in [("it traps", HTTP_TRAP_AT_START), ("it spins", HTTP_SPIN_AT_START)] {
        let manifest = trial.shop.manifest_with(2, "", QUICK).replace(&source, &format!("{guest:?}"));
        trial.refuses_manifest(what, &manifest, "web");
    }
    let never_ready =
        trial.shop.manifest(1).replace("alive=50\"]", &format!("ready=never\"]\noverlap = true\n{QUICK}"));
    let port = format!("[\"{}\"]", trial.shop.desk);
    // It could not bind the port of the old one, which is still there.
    let never_ready =
        never_ready.replace(&format!("listen={}\", ", trial.shop.desk), "").replace(&port, "[]");
    trial.refuses_manifest("a service that overlaps", &never_ready, "ready");
    trial.ends_well();
}
