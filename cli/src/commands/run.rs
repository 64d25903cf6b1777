//! `curfew run`: makes a plan of the arguments, runs the app, and reports how it ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use tracing_subscriber::filter::LevelFilter;

use super::check;
use crate::args::RunArgs;
use crate::error::CliError;
use crate::kinds;
use crate::print::{open_result, print, write_result};
use curfew_host::output::{Channel, LogFormat, Output, init_logging};
use curfew_host::plan::{Bare, DEFAULT_MANIFEST, Overrides, Plan};
use curfew_host::runtime::{Cache, exports_any};
use curfew_host::supervisor::{
    App, AppError, Ended, Options, Report, SignalSource, Stopper, hard_exit, table,
};
use curfew_host::systemd::activation;
use curfew_host::teardown::ExitCode;

/// Longest time for readers to take the components' last lines, as long as they take any.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Longest time to write the host's last lines.
const LAST_FLUSH: Duration = Duration::from_millis(200);
/// Longest time from the end of all components to that of the process.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval at which a wait checks for signals.
const SIGNAL_POLL: Duration = Duration::from_millis(20);

/// The running app, for writer threads that die.
static STOPPER: OnceLock<Stopper> = OnceLock::new();

/// Stops the app because a writer thread died.
pub(crate) fn writer_died(thread: &'static str) {
    if let Some(stopper) = STOPPER.get() {
        stopper.host_bug(thread);
    }
}

/// The plan and options of an app. Reading them from files can take for ever.
struct Prepared {
    plan: Plan,
    options: Options,
    report: Option<(PathBuf, File)>,
}

pub(crate) fn run(output: &Output, args: RunArgs) -> Result<ExitCode, CliError> {
    if let Some(parent) = args.leave_with {
        die_with(parent);
    }
    raise_descriptor_limit();
    let mut signals = SignalSource::listen().map_err(CliError::system("listen to signals"))?;
    let Some(prepared) = prepare_unless_signalled(output, args, &signals)? else {
        return Ok(ExitCode::CLEAN);
    };
    let Prepared { plan, mut options, report: report_file } = prepared;
    let passthrough = plan.passthrough;
    signals.set_reloads(plan.manifest.is_some());
    options.signals = Some(signals);
    let app = App::start(plan, options)?;
    let stopper = STOPPER.get_or_init(|| app.stopper());
    if !output.writers_alive() {
        stopper.host_bug("a writer thread");
    }
    let Ended { result, guardian, signals, admin } = app.wait_guarded()?;
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            guardian.dismiss();
            return Err(error.into());
        }
    };
    let by_itself = report.cause.as_ref().is_none_or(|cause| matches!(cause.kind, "finished" | "failure"));
    if passthrough && by_itself {
        // The output is data: a slow reader gets all of it, unless a signal asks the process to end.
        guardian.rest();
        while !output.flush(SIGNAL_POLL) && !signals.as_ref().is_some_and(SignalSource::asks_to_end) {}
    } else {
        // The guardian holds the deadline of the stop meanwhile.
        output.drain(LAST_LINES);
    }
    // The guardian stays armed: writing a report can take for ever, too.
    guardian.leave_within(EXIT_TIMEOUT, report.exit_code());
    print_end(output, &report, passthrough && by_itself);
    if let Some((path, file)) = report_file {
        write_report(&report, &path, file);
    }
    // The admin listener closes last, and removes the file of the control socket.
    drop(admin);
    output.flush(LAST_FLUSH);
    hard_exit(report.exit_code())
}

/// Has the system kill this process when its parent dies.
fn die_with(parent: i32) {
    // The parent can have died before the system knew.
    let _refused = set_pdeathsig(Signal::SIGKILL);
    if getppid().as_raw() != parent {
        hard_exit(ExitCode::UNAVAILABLE);
    }
}

/// Raises the soft limit of descriptors, often 1024, to the hard one: each instance needs some.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // With the lower limit fewer components can start, and they say so.
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Prepares on a thread of its own. Returns `None` when a signal asks the process to end meanwhile.
fn prepare_unless_signalled(
    output: &Output,
    args: RunArgs,
    signals: &SignalSource,
) -> Result<Option<Prepared>, CliError> {
    let (sender, prepared) = mpsc::channel();
    let output = output.clone();
    let work = move || {
        let _gone = sender.send(prepare(&output, args));
    };
    std::thread::Builder::new()
        .name("curfew-prepare".to_owned())
        .spawn(work)
        .map_err(CliError::system("start a thread"))?;
    loop {
        match prepared.recv_timeout(SIGNAL_POLL) {
            Ok(result) => return result.map(Some),
            Err(RecvTimeoutError::Timeout) if signals.asks_to_end() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(CliError::App(AppError::Bug)),
        }
    }
}

fn prepare(output: &Output, args: RunArgs) -> Result<Prepared, CliError> {
    let bare = args.app.single_file.into_bare(args.app.args);
    let mut plan = plan(&args.app.paths, &bare)?;
    let overrides = Overrides { signals: args.signals, control: args.control, ..args.app.times.overrides() };
    plan.apply(overrides.clone());
    if let Some(peer) = args.drill_peer {
        plan.add_peer(peer)?;
    }
    let quiet = if plan.passthrough { LevelFilter::WARN } else { LevelFilter::INFO };
    // Only the first logger of a process counts, and there is no other.
    let _installed = init_logging(output, args.log_level.unwrap_or(quiet));
    for problem in activation::problems() {
        tracing::warn!(problem, "a socket that was passed to the process cannot be used");
    }
    let report = args.report.map(|path| open_result(&path).map(|file| (path, file))).transpose()?;
    let mut options = Options::new(output.clone(), cache(args.cache.as_deref(), args.no_cache)?);
    (options.overrides, options.service_manager, options.kinds) = (overrides, true, kinds::sets());
    Ok(Prepared { plan, options, report })
}

fn print_end(output: &Output, report: &Report, quiet: bool) {
    let cause = report.cause.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::info!(cause, exit_code = report.exit_code, ms = report.duration_ms, "app ended");
    if output.log_format() == LogFormat::Text && !quiet {
        // Row by row: a row that finds no room in the buffer takes no other with it.
        table(report).split_inclusive('\n').for_each(|row| print(output, Channel::Stderr, row));
    }
}

/// Writes the report. An error is only logged: the exit code says how the app ended.
fn write_report(report: &Report, path: &Path, file: File) {
    let json = report.to_json().map_err(std::io::Error::from);
    if let Err(error) = json.and_then(|json| write_result(file, &(json + "\n"))) {
        tracing::error!(path = %path.display(), %error, "the report cannot be written");
    }
}

pub(crate) fn plan(paths: &[PathBuf], bare: &Bare) -> Result<Plan, CliError> {
    let is_manifest = |path: &Path| path.extension().is_some_and(|extension| extension == "toml");
    let no_files = paths.is_empty() || paths.iter().any(|path| is_manifest(path));
    if no_files {
        bare.check_unused()?;
    }
    match paths {
        [] => check::sound(Plan::read_manifest(Path::new(DEFAULT_MANIFEST))?),
        [one] if is_manifest(one) => check::sound(Plan::read_manifest(one)?),
        _ if no_files => Err(CliError::Usage("give one manifest, or one or more .wasm files")),
        [one] if bare.listen.is_empty() && has_default_address(one) => {
            Ok(Plan::from_files(paths, &bare.on_default_address())?)
        }
        files => Ok(Plan::from_files(files, bare)?),
    }
}

fn has_default_address(file: &Path) -> bool {
    let kinds = kinds::kinds().into_iter().filter(|kind| kind.has_default_address);
    let interfaces: Vec<_> = kinds.flat_map(|kind| kind.exports).map(|export| export.interface).collect();
    exports_any(file, &interfaces)
}

/// Opens the cache. A named folder must be usable; the default one is optional.
pub(crate) fn cache(folder: Option<&Path>, none: bool) -> Result<Option<Cache>, CliError> {
    if none {
        return Ok(None);
    }
    if let Some(folder) = folder {
        return Cache::open(folder).map(Some).map_err(CliError::Cache);
    }
    let nowhere = || "neither CURFEW_CACHE_DIR, nor XDG_CACHE_HOME, nor HOME is set".to_owned();
    let opened = Cache::default_folder().ok_or_else(nowhere).and_then(|folder| Cache::open(&folder));
    let hint = "name a folder with CURFEW_CACHE_DIR or --cache, or give --no-cache";
    let told = |error: &String| tracing::warn!(error, hint, "no compile cache: each start compiles anew");
    Ok(opened.inspect_err(told).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_single_file_is_refused_with_a_manifest() {
        let args = Bare { args: vec!["a".to_owned()], ..Bare::default() };
        let net = Bare { allow_net: true, ..Bare::default() };
        for (bare, said) in
            [(args, "arguments after -- need a single file"), (net, "--allow-net needs a single file")]
        {
            for paths in [&[][..], &["b.toml"], &["a.wasm", "b.toml"]] {
                let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
                let error = plan(&paths, &bare).unwrap_err();
                assert_eq!(error.exit_code(), ExitCode::USAGE);
                assert!(error.to_string().starts_with(said), "{error}");
            }
        }
        let both = ["a.wasm", "b.toml"].map(PathBuf::from);
        let error = plan(&both, &Bare::default()).unwrap_err();
        assert_eq!(error.to_string(), "give one manifest, or one or more .wasm files");
    }
}
