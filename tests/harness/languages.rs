//! Guests in other languages, from their projects. Without a tool that one needs its tests are skipped, and say so; in
//! CI they fail, since the promise would go untested.

use std::path::{Path, PathBuf};
use std::process::Command;

use artifacts::{Project, Script, blocks};

use super::host::{cache, curfew};
use super::http_tool::missing;

/// The built file of a sample in `guest-components/`, such as `tick-tock/python`.
#[track_caller]
pub fn sample(folder: &str) -> Option<PathBuf> {
    built(&Project::sample(folder).unwrap())
}

/// All samples, by the names of their files in `target/guests`.
#[track_caller]
pub fn samples() -> Option<Vec<(String, PathBuf)>> {
    let projects = Project::samples().unwrap();
    projects.iter().map(|project| Some((project.name().to_owned(), built(project)?))).collect()
}

/// A project's built file, unless a tool is missing. It is compiled, too: large ones take longer than any test waits.
#[track_caller]
pub fn built(project: &Project) -> Option<PathBuf> {
    if let Some(program) = project.missing() {
        missing(&format!("{program}, which {} needs,", project.name()));
        return None;
    }
    let file = project.build().unwrap_or_else(|error| panic!("{error}"));
    let mut inspect = Command::new(curfew());
    inspect.arg("inspect").arg(&file).env("CURFEW_CACHE_DIR", cache());
    let output = inspect.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(file)
}

/// Runs the commands below a heading of the README in this folder, with `curfew` on `PATH`. Returns what they printed.
#[track_caller]
pub fn follow(folder: &Path, heading: &str) -> String {
    let text = blocks(&folder.join("README.md"), heading).unwrap();
    assert!(!text.trim().is_empty(), "{}: nothing to run below {heading:?}", folder.display());
    let mut path = Project::tools();
    path.push(curfew().parent().unwrap().to_owned());
    let env = vec![("CURFEW_CACHE_DIR", cache())];
    let output = Script { text, folder: folder.to_owned(), path, env }.run().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}, {heading}: {}\n{said}", folder.display(), output.status);
    said
}
