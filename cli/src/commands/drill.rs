//! `curfew drill`: from the arguments to a drill, and from its outcome to a table, a document and a code.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::O_NONBLOCK;
use nix::sys::signal::{SigSet, Signal};

use super::run;
use crate::args::DrillArgs;
use crate::drill::{self, Drill, DrillError, Interrupt, Scenario, Stage, Subject, Target};
use crate::error::CliError;
use crate::print::print;
use curfew_host::output::{Channel, Output};
use curfew_host::plan::{ListenAddress, Plan};
use curfew_host::supervisor::hard_exit;
use curfew_host::teardown::ExitCode;

/// Holds a drill and returns the code that the process leaves with.
///
/// # Errors
/// When the app cannot start, or the command line cannot be meant so.
pub(crate) fn drill(output: &Output, args: &DrillArgs) -> Result<ExitCode, CliError> {
    let interrupt = Interrupt::default();
    // Before anything is opened: that can take for ever.
    listen(interrupt.clone())?;
    let subject = subject(args)?;
    let app = subject.plan.app.name.clone();
    let junit = args.junit.as_ref().map(open).transpose()?;
    interrupt.heed(true);
    let stage = Stage::new(subject, interrupt.clone())?;
    let tries: Vec<Scenario> =
        Scenario::ALL.into_iter().filter(|what| args.only.is_empty() || args.only.contains(what)).collect();
    let held = drill::hold(&stage, &tries, |done, total, title| progress(output, done, total, title));
    wipe(output);
    // No process and no file of it is left: only readers can hold up what follows.
    drop(stage);
    interrupt.heed(false);
    let error = held.as_ref().err().map(ToString::to_string);
    let nothing =
        Drill { app, version: env!("CARGO_PKG_VERSION"), ok: false, took_ms: 0, error, tries: Vec::new() };
    let outcome = held.as_ref().unwrap_or(&nothing);
    // Its outcome is printed all the same: a drill takes its time.
    let written = junit.map_or(Ok(()), |(path, file)| write(outcome, path, file));
    if args.json {
        let document = outcome.to_json().map_err(std::io::Error::from);
        let document = document.map_err(|cause| DrillError::System { what: "make the document", cause })?;
        print(output, Channel::Stdout, &format!("{}\n", curfew_host::text::sanitize::json(&document)));
    } else if held.is_ok() {
        drill::text(outcome).split_inclusive('\n').for_each(|row| print(output, Channel::Stdout, row));
    }
    let code = if outcome.ok { ExitCode::CLEAN } else { ExitCode::FAILED };
    Ok(held.and_then(|_| written.map(|()| code))?)
}

/// Returns what is drilled, with the arguments that `run` needs for it.
fn subject(args: &DrillArgs) -> Result<Subject, CliError> {
    let guest_arguments = args.app.args.clone();
    let bare = args.app.single_file.clone().into_bare(guest_arguments.clone());
    let mut plan = run::plan(&args.app.paths, &bare)?;
    plan.apply(args.app.times.overrides());
    expect_own_sockets(&plan)?;
    let aims = args.load.iter().map(|url| Target::parse(url)).collect::<Result<_, _>>()?;
    let program = std::env::current_exe();
    let program = program.map_err(|cause| DrillError::System { what: "find this program", cause })?;
    let arguments = args.app.to_args();
    Ok(Subject { program, arguments, guest_arguments, plan, aims, clients: args.clients.into() })
}

/// A service manager's sockets were passed to one process, and are gone with its first stop.
fn expect_own_sockets(plan: &Plan) -> Result<(), DrillError> {
    for component in &plan.components {
        for address in &component.http.listen {
            if let ListenAddress::Activated(name) = address {
                let (component, name) = (component.name.clone(), name.clone());
                return Err(DrillError::Activated { component, name });
            }
        }
    }
    Ok(())
}

/// Opened before anything runs: a path that cannot be written is worth nothing at the end. A pipe that nobody reads is
/// refused, not waited for; whoever reads one slowly gets all of it.
fn open(path: &PathBuf) -> Result<(PathBuf, File), DrillError> {
    let open = File::options().write(true).create(true).truncate(false).custom_flags(O_NONBLOCK).open(path);
    let opened = open.and_then(|file| {
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
        Ok(file)
    });
    opened.map(|file| (path.clone(), file)).map_err(|cause| DrillError::Write { path: path.clone(), cause })
}

fn write(outcome: &Drill, path: PathBuf, mut file: File) -> Result<(), DrillError> {
    // A pipe or a device has no length.
    let _no_file = file.set_len(0);
    let xml = drill::xml(outcome).map_err(std::io::Error::other);
    let written = xml.and_then(|xml| file.write_all(xml.as_bytes()));
    written.map_err(|cause| DrillError::Write { path, cause })
}

/// Hears the signals that end a drill, on a thread of its own: they are blocked in all of them. Where nobody heeds the
/// first, it ends the process.
fn listen(interrupt: Interrupt) -> Result<(), CliError> {
    let signals: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
    let hear = move || {
        if signals.wait().is_ok() && interrupt.raise() {
            let _second = signals.wait();
        }
        // Nobody waits for anything any more; the children die with this process.
        hard_exit(CliError::Drill(DrillError::Interrupted).exit_code());
    };
    let thread = std::thread::Builder::new().name("drill-signals".to_owned()).spawn(hear);
    thread.map(drop).map_err(CliError::Thread)
}

/// One line on a terminal, written over by the next.
fn progress(output: &Output, done: usize, total: usize, title: &str) {
    if output.is_terminal(Channel::Stderr) {
        print(output, Channel::Stderr, &format!("\r\x1b[Kdrill {}/{total}: {title}", done + 1));
    }
}

fn wipe(output: &Output) {
    if output.is_terminal(Channel::Stderr) {
        print(output, Channel::Stderr, "\r\x1b[K");
    }
}
