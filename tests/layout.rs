//! What is checked on the source itself: no test is forgotten, and the parts of the host know only what is
//! below them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(sources(&path)),
            path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
    found
}

#[test]
fn no_forgotten_test_files() {
    let tests = Path::new(ROOT).join("tests");
    for path in sources(&tests) {
        let folder = path.parent().unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if stem == "main" || stem == "mod" {
            continue;
        }
        let parents = [folder.join("main.rs"), folder.join("mod.rs"), folder.with_extension("rs")];
        let declared = parents
            .iter()
            .filter_map(|parent| fs::read_to_string(parent).ok())
            .any(|text| text.lines().any(|line| line.trim_start_matches("pub ") == format!("mod {stem};")));
        assert!(declared, "{} is not a module of anything", path.display());
    }
}

/// Issue 11: `wit/` has the only copy of each WIT package. In samples and guests, `wit/deps` has links to it.
#[test]
fn each_wit_package_is_kept_once() {
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "*.wit"])
        .current_dir(ROOT)
        .output();
    let wit = Path::new(ROOT).join("wit").canonicalize().unwrap();
    let mut packages = BTreeSet::new();
    for path in String::from_utf8(listed.unwrap().stdout).unwrap().lines() {
        let file = Path::new(ROOT).join(path);
        if path.starts_with("wit/") {
            let text = fs::read_to_string(&file).unwrap();
            let package = text.lines().find(|line| line.starts_with("package ")).map(str::to_owned);
            let first = package.is_none_or(|package| packages.insert(package));
            assert!(first, "{path}: the second copy of its package");
        } else if path.contains("/deps/") {
            let is_link = file.canonicalize().unwrap().starts_with(&wit);
            assert!(is_link, "{path}: a copy, where a link to wit/ will do");
        }
    }
    assert!(packages.len() > 10, "{packages:?}");
}

/// What no file below this part of `host/src` may name, and why the contract says so.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("teardown", &["wasmtime", "hyper", "tokio", "Instant", "SystemTime", "crate::runtime", "crate::server"]),
    ("teardown", &["crate::supervisor", "crate::cli", "crate::output"]),
    ("plan", &["wasmtime", "clap", "crate::runtime", "crate::server", "crate::supervisor", "crate::cli"]),
    ("runtime", &["crate::server", "crate::supervisor", "crate::cli"]),
    ("server", &["crate::supervisor", "crate::cli"]),
    ("operate", &["wasmtime", "crate::supervisor", "crate::cli", "crate::runtime"]),
    ("supervisor", &["crate::cli", "clap"]),
    (
        "systemd",
        &["wasmtime", "hyper", "tokio", "crate::server", "crate::supervisor", "crate::cli", "crate::runtime"],
    ),
    (
        "drill",
        &[
            "wasmtime",
            "clap",
            "crate::supervisor",
            "crate::server",
            "crate::cli",
            "crate::runtime",
            "crate::output",
        ],
    ),
    ("output", &["wasmtime", "crate::server", "crate::supervisor", "crate::cli", "crate::runtime"]),
];

/// Design 5: one way down, `cli → plan → supervisor → server → runtime`; `teardown` imports neither wasmtime nor
/// hyper nor a clock.
#[test]
fn the_parts_of_the_host_know_only_what_is_below_them() {
    for (part, forbidden) in FORBIDDEN {
        let folder = Path::new(ROOT).join("host/src").join(part);
        let mut files = if folder.is_dir() { sources(&folder) } else { Vec::new() };
        files.extend(Some(folder.with_extension("rs")).filter(|path| path.is_file()));
        assert!(!files.is_empty(), "{part} is not there: this rule watches nothing");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for word in *forbidden {
                let named = uses(&text).into_iter().find(|line| names(line, word));
                assert_eq!(named, None, "{} uses {word}", file.display());
            }
        }
    }
}

/// The `use` declarations, each as one line; also those in functions and nested modules.
fn uses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let after = start
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ");
        if !after.starts_with("use ") {
            continue;
        }
        let mut whole = after.to_string();
        while !whole.ends_with(';') {
            let Some(next) = lines.next() else { break };
            whole.push_str(next.trim());
        }
        found.push(whole);
    }
    found
}

/// Whether a word stands in the line by itself, so that `hyper` is not found in `hyperbole`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next())
    })
}

/// House rules: files of at most 400 lines.
#[test]
fn no_test_file_is_too_long() {
    for path in sources(&Path::new(ROOT).join("tests")) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", path.display());
    }
}
