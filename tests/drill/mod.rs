//! `curfew drill`: what it finds in apps that stop well and in apps that do not, and how it tells.

mod ends;
mod findings;
mod output;
mod xml;

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{App, Host, Output, patience, until};

const SCHEMA: &str = include_str!("../../docs/drill.schema.json");

/// A drill that is over.
pub struct Drilled {
    pub output: Output,
    pub document: Value,
}

/// Holds a drill of this host's manifest, or of what the flags say, and checks that nothing of it is left.
#[track_caller]
pub fn drill(host: Host, flags: &[&str]) -> Drilled {
    let app = start(host, flags);
    let (pid, temporary) = (app.pid().as_raw(), app.path().join("tmp"));
    // A drill is many starts and stops.
    app.ends_within(patience() * 4);
    let output = app.wait();
    expect_gone(pid, &temporary);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Drilled { output, document }
}

/// Starts one, with temporary files of its own.
pub fn start(host: Host, flags: &[&str]) -> App {
    let temporary = host.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut args = vec!["drill", "--json"];
    args.extend(flags);
    host.env("TMPDIR", &temporary).command(&args)
}

/// Nothing that a drill started lives on, and no file of it is there.
#[track_caller]
pub fn expect_gone(pid: i32, temporary: &Path) {
    until("the end of all children", || children(pid).is_empty().then_some(()));
    let files: Vec<_> = std::fs::read_dir(temporary).unwrap().flatten().map(|file| file.path()).collect();
    assert!(files.is_empty(), "{files:?}");
}

/// The apps that a drill runs, by what they were told about it.
pub fn children(pid: i32) -> Vec<i32> {
    let told = format!("--leave-with\0{pid}\0");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|number| {
            let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&told)
        })
        .collect()
}

impl Drilled {
    /// Fails unless the document is as the schema says, and the exit code is this one.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Drilled {
        let failed: Vec<Value> =
            self.tries().into_iter().filter(|tried| tried["verdict"] == "failed").collect();
        assert_eq!(self.output.code(), code, "{failed:#?}");
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("drill.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let schema = compiler.compile("drill.json", &mut schemas).unwrap();
        if let Err(error) = schemas.validate(&self.document, schema) {
            panic!("{error}\n{:#}", self.document);
        }
        assert_eq!(self.document["ok"], code == 0, "{:#}", self.document);
        self
    }

    pub fn tries(&self) -> Vec<Value> {
        self.document["tries"].as_array().cloned().unwrap_or_default()
    }

    #[track_caller]
    pub fn tried(&self, name: &str, load: bool) -> Value {
        let found = self.tries().into_iter().find(|tried| tried["name"] == name && tried["load"] == load);
        found.unwrap_or_else(|| panic!("{name} was not tried, load {load}: {:#}", self.document))
    }

    /// The codes of what was found in a try, by weight.
    #[track_caller]
    pub fn codes(&self, name: &str, load: bool, weight: &str) -> Vec<String> {
        let tried = self.tried(name, load);
        let findings = tried["findings"].as_array().unwrap();
        let of_weight = findings.iter().filter(|finding| finding["weight"] == weight);
        of_weight.map(|finding| finding["code"].as_str().unwrap().to_string()).collect()
    }

    /// Fails unless this was found in this try, and names this component; returns its text.
    #[track_caller]
    pub fn expect_finding(&self, name: &str, load: bool, code: &str) -> String {
        let tried = self.tried(name, load);
        let findings = tried["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["code"] == code);
        let found = found.unwrap_or_else(|| panic!("no {code} in {name}, load {load}: {:#}", self.document));
        assert!(found["advice"].is_string() || found["weight"] == "note", "no advice: {found}");
        found["text"].as_str().unwrap().to_string()
    }
}

/// Waits until the drill runs the app.
#[track_caller]
pub fn wait_for_child(app: &App) -> i32 {
    let end = Instant::now() + patience();
    until("the app", || {
        assert!(Instant::now() < end && !app.has_ended(), "the drill has ended");
        children(app.pid().as_raw()).first().copied()
    })
}
