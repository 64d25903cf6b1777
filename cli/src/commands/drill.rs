//! `curfew drill`: holds a drill, and prints its report as a table, as JSON and as a JUnit file.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

use super::run;
use crate::args::DrillArgs;
use crate::drill::{
    DrillConfig, DrillReport, Interrupt, Runner, Scenario, Target, junit_xml, report_text, run_drill, spawn,
};
use crate::error::CliError;
use crate::print::{open_result, print, write_result};
use curfew_host::output::{Channel, Output};
use curfew_host::plan::ListenAddress;
use curfew_host::supervisor::hard_exit;
use curfew_host::teardown::ExitCode;
use curfew_host::text::sanitize;

pub(crate) fn drill(
    output: &Output,
    args: &DrillArgs,
    matches: Option<&ArgMatches>,
) -> Result<ExitCode, CliError> {
    let interrupt = Interrupt::default();
    // Before any file is opened, which can take for ever.
    listen_for_signals(interrupt.clone())?;
    let config = config(args, matches)?;
    let app = config.plan.app.name.clone();
    let junit = args.junit.as_ref().map(open_junit).transpose()?;
    interrupt.set_handled(true);
    let runner = Runner::new(config, interrupt.clone())?;
    let is_chosen = |scenario: &Scenario| args.only.is_empty() || args.only.contains(scenario);
    let scenarios: Vec<Scenario> = Scenario::ALL.into_iter().filter(is_chosen).collect();
    let drilled = run_drill(&runner, &scenarios, |done, total, title| {
        progress(output, &format!("drill {}/{total}: {title}", done + 1));
    });
    progress(output, "");
    // Removes the files of the drill. From here on only a slow reader can hold the process up.
    drop(runner);
    interrupt.set_handled(false);
    let error = drilled.as_ref().err().map(ToString::to_string);
    let version = env!("CARGO_PKG_VERSION");
    let failed = DrillReport { app, version, ok: false, took_ms: 0, error, results: Vec::new() };
    let report = drilled.as_ref().unwrap_or(&failed);
    // The report is printed even if the file cannot be written: a drill takes long.
    let written = junit.map_or(Ok(()), |(path, file)| write_junit(report, path, file));
    if args.json {
        let document = serde_json::to_string_pretty(report).map_err(std::io::Error::from);
        let document = document.map_err(CliError::system("make the document"))?;
        print(output, Channel::Stdout, &format!("{}\n", sanitize::json(&document)));
    } else if drilled.is_ok() {
        report_text(report).split_inclusive('\n').for_each(|row| print(output, Channel::Stdout, row));
    }
    let code = if report.ok { ExitCode::CLEAN } else { ExitCode::FAILED };
    drilled?;
    written.map(|()| code)
}

fn config(args: &DrillArgs, matches: Option<&ArgMatches>) -> Result<DrillConfig, CliError> {
    let guest_arguments = args.app.args.clone();
    let bare = args.app.single_file.clone().into_bare(guest_arguments.clone());
    let mut plan = run::plan(&args.app.paths, &bare)?;
    plan.apply(args.app.times.overrides());
    for component in &plan.components {
        for address in &component.http.listen {
            // A service manager passes its sockets to one process only; after its first stop they are gone.
            if let ListenAddress::Activated(name) = address {
                let (component, name) = (component.name.clone(), name.clone());
                return Err(CliError::ActivatedSocket { component, name });
            }
        }
    }
    let targets = args.load.iter().map(|url| Target::parse(url)).collect::<Result<_, _>>()?;
    let program = std::env::current_exe().map_err(CliError::system("find this program"))?;
    let (arguments, clients) = (matches.map(DrillArgs::of_app).unwrap_or_default(), args.clients.into());
    let allow_errors = args.allow_errors;
    Ok(DrillConfig { program, arguments, guest_arguments, plan, targets, clients, allow_errors })
}

/// Opens the JUnit file; a slow reader gets all of it.
fn open_junit(path: &PathBuf) -> Result<(&PathBuf, File), CliError> {
    let file = open_result(path)?;
    let flags = fcntl(&file, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    let set = flags.and_then(|flags| fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)));
    set.map_err(|error| CliError::Write { path: path.clone(), cause: error.into() })?;
    Ok((path, file))
}

fn write_junit(report: &DrillReport, path: &Path, file: File) -> Result<(), CliError> {
    let xml = junit_xml(report).map_err(std::io::Error::other);
    let written = xml.and_then(|xml| write_result(file, &xml));
    written.map_err(|cause| CliError::Write { path: path.to_owned(), cause })
}

/// Waits for the signals that end a drill: all threads block them. The first one ends a process that does not handle it.
fn listen_for_signals(interrupt: Interrupt) -> Result<(), CliError> {
    let signals: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
    let wait = move || {
        if signals.wait().is_ok() && interrupt.raise() {
            let _second = signals.wait();
        }
        hard_exit(CliError::Interrupted.exit_code());
    };
    spawn("drill-signals", wait)
}

/// Writes the progress line of a terminal, over the one before.
fn progress(output: &Output, line: &str) {
    if output.is_terminal(Channel::Stderr) {
        print(output, Channel::Stderr, &format!("\r\x1b[K{line}"));
    }
}
