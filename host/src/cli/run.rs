//! `curfew run`: from the arguments to a plan, runs the app, and says how it ended.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::args::RunArgs;
use super::error::CliError;
use super::say;
use crate::output::{Channel, LogFormat, Output, init_logging};
use crate::plan::{DEFAULT_MANIFEST, Overrides, Plan};
use crate::runtime::Cache;
use crate::supervisor::{App, Options, Report, SignalSource, Stopper, table};
use crate::teardown::ExitCode;

/// How long the last lines may take to be written when nobody reads them.
pub const LAST_FLUSH: Duration = Duration::from_millis(200);

/// The running app, for threads that have to report their death.
static STOPPER: OnceLock<Stopper> = OnceLock::new();

/// Hears that a writer thread died.
pub fn writer_died(thread: &'static str) {
    if let Some(stopper) = STOPPER.get() {
        stopper.host_bug(thread);
    }
}

/// Runs the app and returns the code that the process leaves with.
///
/// # Errors
/// When the app could not run; nothing was started then.
pub fn run(output: &Output, args: RunArgs) -> Result<ExitCode, CliError> {
    let mut plan = plan(&args.paths, &args.args)?;
    plan.apply(Overrides {
        grace: args.grace,
        fail_grace: args.fail_grace,
        drain_delay: args.drain_delay,
        signals: args.signals.map(Into::into),
    });
    let passthrough = plan.passthrough;
    let grace = plan.app.grace;
    let quiet = if passthrough { LevelFilter::WARN } else { LevelFilter::INFO };
    // Only the first logger of a process counts, and there is no other.
    let _installed = init_logging(output, args.log_format, args.log_level.unwrap_or(quiet));
    let report_file = args.report.map(open_report).transpose()?;
    let mut options = Options::new(output.clone(), cache(args.cache.as_deref(), args.no_cache)?);
    options.signals = Some(SignalSource::listen(plan.manifest.is_some()).map_err(CliError::Signals)?);
    let app = App::start(plan, options)?;
    let stopper = STOPPER.get_or_init(|| app.stopper());
    if !output.writers_alive() {
        stopper.host_bug("a writer thread");
    }
    let report = app.wait()?;
    let by_itself =
        matches!(report.exit_code, 0 | 1) && report.cause.as_ref().is_none_or(|cause| cause.kind != "signal");
    if passthrough && by_itself {
        // Its output is data: a slow reader gets all of it.
        output.flush(grace);
    }
    tell(output, &report, args.log_format, passthrough && by_itself);
    if let Some((path, file)) = report_file {
        write_report(&report, &path, file);
    }
    Ok(report.exit_code())
}

fn tell(output: &Output, report: &Report, format: LogFormat, quiet: bool) {
    let cause = report.cause.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::info!(cause, exit_code = report.exit_code, ms = report.duration_ms, "app ended");
    match format {
        LogFormat::Text if !quiet => say(output, Channel::Stderr, &table(report)),
        LogFormat::Text | LogFormat::Json => {}
    }
}

/// Opens the report's file before anything starts: a path that cannot be written is worth nothing at the end.
fn open_report(path: PathBuf) -> Result<(PathBuf, File), CliError> {
    match File::create(&path) {
        Ok(file) => Ok((path, file)),
        Err(cause) => Err(CliError::Report { path, cause }),
    }
}

/// Writes the report. An error is told and changes nothing: the exit code says how the app ended.
fn write_report(report: &Report, path: &Path, mut file: File) {
    let json = report.to_json().map_err(std::io::Error::from);
    if let Err(error) = json.and_then(|json| file.write_all((json + "\n").as_bytes())) {
        tracing::error!(path = %path.display(), %error, "the report cannot be written");
    }
}

/// Returns the plan that the paths on the command line mean.
fn plan(paths: &[PathBuf], args: &[String]) -> Result<Plan, CliError> {
    let is_manifest = |path: &Path| path.extension().is_some_and(|extension| extension == "toml");
    match paths {
        [] if args.is_empty() => Ok(Plan::from_manifest(Path::new(DEFAULT_MANIFEST))?),
        [one] if is_manifest(one) && args.is_empty() => Ok(Plan::from_manifest(one)?),
        paths if paths.is_empty() || paths.iter().any(|path| is_manifest(path)) => Err(CliError::Usage(
            "give one manifest, or one or more .wasm files; arguments after `--` need a single .wasm file",
        )),
        files => Ok(Plan::from_files(files, args)?),
    }
}

/// Opens the cache: the folder that was named must be usable, the default one is used if it can be.
pub fn cache(folder: Option<&Path>, none: bool) -> Result<Option<Cache>, CliError> {
    if none {
        return Ok(None);
    }
    if let Some(folder) = folder {
        return Cache::open(folder).map(Some).map_err(CliError::Cache);
    }
    let Some(folder) = Cache::default_folder() else {
        return Ok(None);
    };
    match Cache::open(&folder) {
        Ok(cache) => Ok(Some(cache)),
        Err(error) => {
            tracing::warn!(error, "no compile cache");
            Ok(None)
        }
    }
}
