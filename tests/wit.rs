//! The WIT packages: `wit/` has the only copy of each, and everything else in the repository links to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Issue 11: the `wit/deps` of samples and guests had nine copies of some packages.
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
