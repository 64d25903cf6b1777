//! Programs that only some tests need. Without one its tests are skipped, and say so; in CI they fail, since the
//! promise would go untested.

use std::path::PathBuf;
use std::process::{Command, Stdio};

const VENV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/venv/bin/python");

/// A Python that has this module, from `target/venv`.
pub fn python_with(module: &str) -> Option<PathBuf> {
    let python = PathBuf::from(VENV);
    let mut command = Command::new(&python);
    command.args(["-c", &format!("import {module}")]);
    works(&mut command, &format!("{VENV} with {module}")).then_some(python)
}

/// A Chromium by any of its names.
pub fn chromium() -> Option<PathBuf> {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        let mut command = Command::new(name);
        runs(command.arg("--version"))
    });
    if found.is_none() {
        missing("chromium");
    }
    found.map(PathBuf::from)
}

/// Any other program, by its name.
pub fn tool(name: &'static str) -> Option<&'static str> {
    works(Command::new(name).arg("--version"), name).then_some(name)
}

fn works(command: &mut Command, what: &str) -> bool {
    let runs = runs(command);
    if !runs {
        missing(what);
    }
    runs
}

fn runs(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub fn missing(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what} is missing");
    eprintln!("skipped: {what} is missing");
}
