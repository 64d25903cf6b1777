//! Twenty components in one process: they must not slow down the one that has something to do.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use tempfile::NamedTempFile;

use super::server::Server;
use super::settings;
use super::turns::{self, Contender};
use crate::figure::Table;
use crate::lab::{Lab, free_port};

/// How many there are.
const MANY: usize = 20;

/// Loads one of twenty next to one alone, and then all twenty behind one listener.
pub fn twenty(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let alone = Server::curfew_app(lab, &app(lab, 1)?, 1)?;
    let twenty = Server::curfew_app(lab, &app(lab, MANY)?, MANY)?;
    let routed = Server::curfew_app(lab, &routed_app(lab)?, 1)?;
    let script = every_path()?;
    let mut contenders = [
        Contender::new("one alone", &alone),
        Contender::new("one of twenty", &twenty),
        Contender::new("twenty by path", &routed).script(script.path()),
        // The same script, of which wrk's own share is more than that of a plain request.
        Contender::new("one alone by path", &alone).script(script.path()),
    ];
    turns::take(&mut contenders, rounds, settings::turn()?, table)?;
    let [alone, twenty, routed, paths] = &contenders;
    table.add(turns::compare("0.3", twenty, alone, 0.9));
    table.add(turns::compare("0.3", routed, paths, None));
    Ok(())
}

/// An app of which each component has a listener of its own.
fn app(lab: &Lab, count: usize) -> Result<PathBuf> {
    let mut text = "[app]\nname = \"bench\"\n".to_owned();
    for number in 1..=count {
        let source = artifacts::HELLO_HTTP;
        writeln!(text, "[component.c{number:02}]\nsource = {source:?}\nlisten = [\"127.0.0.1:0\"]")?;
    }
    lab.manifest(&format!("{count}-listeners"), &text)
}

/// An app of which all components share a listener.
fn routed_app(lab: &Lab) -> Result<PathBuf> {
    let port = free_port()?;
    let mut text = "[app]\nname = \"bench\"\n".to_owned();
    for number in 1..=MANY {
        let source = artifacts::HELLO_HTTP;
        writeln!(text, "[component.c{number:02}]\nsource = {source:?}")?;
        writeln!(text, "listen = [\"127.0.0.1:{port}\"]\nroutes = [\"/{number}\"]")?;
    }
    lab.manifest("routes", &text)
}

/// A script that asks for the path of each component in turn.
fn every_path() -> Result<NamedTempFile> {
    let mut script = NamedTempFile::with_suffix(".lua")?;
    writeln!(
        script,
        "local asked, count = {{}}, 0
         init = function() for number = 1, {MANY} do asked[number] = wrk.format('GET', '/' .. number) end end
         request = function() count = count % {MANY} + 1; return asked[count] end"
    )?;
    Ok(script)
}
