//! Bad input: files that are not components, and manifests that are wrong: one message that names the file,
//! what was found and what to do; exit 78 or 69; nothing was started.

use std::path::{Path, PathBuf};

use artifacts::{CORE_MODULE, MISSING_IMPORT, NO_RUN, SERVER};

use crate::harness::{Host, app, component};

/// Runs an app of a good component and this file, which must be refused.
fn refuse(host: impl FnOnce(Host) -> Host, code: i32, texts: &[&str]) {
    let manifest = app("") + &component("good", SERVER, "") + &component("odd", "odd.wasm", "");
    let output = host(Host::manifest(&manifest)).run();
    output.expect_refused(code, texts).expect_refused(code, &["odd"]);
    let errors = output.stderr.iter().filter(|line| line.contains("error")).count();
    assert!(errors <= 1, "more than one message:\n{}", output.said());
    assert!(!output.said().contains("panicked"), "{}", output.said());
}

/// Scenarios, files that are not components.
#[test]
fn files_that_are_not_components_are_refused() {
    let server = std::fs::read(SERVER).unwrap();
    let half = server[..server.len() / 2].to_vec();
    let mut broken = server.clone();
    let middle = broken.len() / 3;
    broken[middle..middle + 64].fill(0xff);
    let contents: [(&str, Vec<u8>, &[&str]); 7] = [
        ("empty", Vec::new(), &["odd.wasm", "empty"]),
        ("truncated", half, &["odd.wasm"]),
        ("damaged", broken, &["odd.wasm"]),
        ("core module", std::fs::read(CORE_MODULE).unwrap(), &["odd.wasm", "core module"]),
        ("text", b"#!/bin/sh\necho hello\n".to_vec(), &["odd.wasm"]),
        ("without run", std::fs::read(NO_RUN).unwrap(), &["odd.wasm", "wasi:cli/run"]),
        ("unknown import", std::fs::read(MISSING_IMPORT).unwrap(), &["odd.wasm", "acme:widgets/frob@1.0.0"]),
    ];
    for (what, content, texts) in contents {
        eprintln!("a file that is {what}");
        refuse(|host| host.file("odd.wasm", content), 78, texts);
    }
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    // A manifest that names a file which is not there is wrong itself: it gets its line.
    refuse(|host| host, 78, &["odd.wasm", "curfew.toml:"]);
    let directory = |host: Host| {
        std::fs::create_dir(host.path().join("odd.wasm")).unwrap();
        host
    };
    refuse(directory, 78, &["odd.wasm"]);
    if nix::unistd::geteuid().is_root() {
        eprintln!("skipped: permissions mean nothing to root");
        return;
    }
    let forbidden = |host: Host| {
        let host = host.file("odd.wasm", "");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(host.path().join("odd.wasm"), permissions).unwrap();
        host
    };
    refuse(forbidden, 69, &["odd.wasm", "ermission"]);
}

/// A file that blocks for ever when it is opened is no component either.
#[test]
fn a_fifo_as_a_component_does_not_block_the_host() {
    let fifo = |host: Host| {
        nix::unistd::mkfifo(&host.path().join("odd.wasm"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        host
    };
    refuse(fifo, 78, &["odd.wasm"]);
}

/// Scenarios: a component of 200 MB.
#[test]
fn a_component_of_200_mb_is_refused() {
    let mut bytes = std::fs::read(SERVER).unwrap();
    let size: u32 = 200 << 20;
    // A custom section named `x`, of zeros.
    bytes.push(0);
    let mut left = size + 2;
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.extend([left as u8, 1, b'x']);
    bytes.resize(bytes.len() + size as usize, 0);
    refuse(|host| host.file("odd.wasm", bytes), 78, &["odd.wasm"]);
}

/// The same without a manifest: the message names the file.
#[test]
fn bare_files_are_refused_in_the_same_way() {
    Host::files(&[SERVER, CORE_MODULE]).run().expect_refused(78, &["core-module.wasm"]);
    Host::files(&["no-such.wasm"]).run().expect_refused(69, &["no-such.wasm"]);
    let none: &[PathBuf] = &[];
    Host::files(none).run().expect_refused(69, &["curfew.toml"]);
}

/// A manifest with this text instead of something good, the line of the error, and words of the message.
struct Bad {
    text: &'static str,
    line: u32,
    words: &'static [&'static str],
}

const fn bad(text: &'static str, line: u32, words: &'static [&'static str]) -> Bad {
    Bad { text, line, words }
}

const BAD: &[Bad] = &[
    bad("[app\nname = 1", 1, &[]),
    bad("[app]\nname = \"a\"\ngrase = \"1s\"", 3, &["grase", "grace"]),
    bad("[ap]\nname = \"a\"", 1, &["ap", "app"]),
    bad("[app]\ngrace = 5", 2, &["grace", "duration"]),
    bad("[app]\ngrace = \"5 parsecs\"", 2, &["grace", "5 parsecs"]),
    bad("[app]\ngrace = \"-1s\"", 2, &["grace", "-1s"]),
    bad("[app]\nsignals = \"apache\"", 2, &["apache", "nginx"]),
    bad("[component.a]\nsource = 'good.wasm'\nmemory = \"64MeB\"", 3, &["memory", "64MeB"]),
    bad("[component.a]\nsource = 'good.wasm'\nmemmory = \"64MiB\"", 3, &["memmory", "memory"]),
    bad("[component.a]\nsource = 'good.wasm'\nhook = \"sometimes\"", 3, &["sometimes", "after-drain"]),
    bad("[component.a]\nsource = 'good.wasm'\nstdin = \"yes\"", 3, &["stdin"]),
    bad("[component.a]\nsource = 'good.wasm'\nnetwork = { listen = [\"here\"] }", 3, &["here"]),
    bad(
        "[component.a]\nsource = 'good.wasm'\nnetwork = { connect = [\"1.2.3.4:99999\"] }",
        3,
        &["1.2.3.4:99999"],
    ),
    bad("[component.a]\nargs = [\"x\"]", 1, &["source"]),
    bad("[component.a]\nsource = 'good.wasm'\n[component.a]\nsource = 'good.wasm'", 3, &["a"]),
    bad("[component.\"a b\"]\nsource = 'good.wasm'", 1, &["a b"]),
    bad("[component.a]\nsource = 'good.wasm'\nafter = [\"b\"]", 3, &["b"]),
    bad(
        "[component.a]\nsource = 'good.wasm'\nstdin = true\n[component.b]\nsource = 'good.wasm'\nstdin = true",
        6,
        &["stdin"],
    ),
    bad("[component.a]\nsource = 'good.wasm'\nenv = { \"A=B\" = \"c\" }", 3, &["A=B"]),
];

/// Issue 2, bad input: file, line, the nearest known key, exit 78, and nothing was started.
#[test]
fn a_wrong_manifest_is_refused_with_its_file_and_line() {
    for Bad { text, line, words } in BAD {
        let server = std::fs::read(SERVER).unwrap();
        let output = Host::manifest(text).file("good.wasm", server).run();
        let place = format!("curfew.toml:{line}:");
        output.expect_refused(78, words).expect_refused(78, &[&place]);
    }
}

#[test]
fn a_cycle_of_components_is_refused() {
    let manifest =
        "[component.a]\nsource = 'g.wasm'\nafter = ['b']\n[component.b]\nsource = 'g.wasm'\nafter = ['a']\n";
    Host::manifest(manifest).run().expect_refused(78, &["curfew.toml:"]);
}

#[test]
fn a_manifest_without_a_component_or_that_is_no_text_is_refused() {
    Host::manifest("").run().expect_refused(78, &["curfew.toml"]);
    let host = Host::manifest("");
    let host = host.file("curfew.toml", b"[app]\nname = \"\xff\xfe\"\n");
    host.run().expect_refused(78, &["curfew.toml"]);
}

/// Nothing is written where a manifest was refused.
#[test]
fn a_refusal_leaves_no_file_behind() {
    let output = Host::manifest("[app]\ngrace = 5").run();
    let files: Vec<_> =
        std::fs::read_dir(output.dir.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    let expected = |path: &Path| path.ends_with("curfew.toml") || path.ends_with("report.json");
    assert!(files.iter().all(|path| expected(path)), "left behind: {files:?}");
}
