//! What can be said on the command line. The comments are the help texts; nothing is done here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use crate::output::LogFormat;
use crate::plan::SignalProfile;
use crate::plan::units::parse_duration;

/// Runs WebAssembly components as one app and stops them well
#[derive(Debug, Parser)]
#[command(name = "curfew", version, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an app until it ends
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Load and validate everything, start nothing
    Check(CheckArgs),
    /// Say what one component is and what it needs
    Inspect(InspectArgs),
}

const RUN_HELP: &str = "\
Signals: TERM and INT stop gracefully (INT once more ends the delay, then cuts off now, then exits at once),
QUIT stops with four times the grace, USR1 prints the status. HUP stops when there is no manifest or the terminal is
gone.

Exit codes: 0 all ended cleanly; 1 a component failed; 2 usage; 3 a hook failed; 69 a file could not be read;
70 a bug in curfew; 78 the manifest or a component is invalid; 124 a component was cut off at the end of its
grace; 128+n forced by signal n. A single .wasm file passes its own exit status on.

The compile cache is in $CURFEW_CACHE_DIR, else in $XDG_CACHE_HOME/curfew or ~/.cache/curfew.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A manifest, or one or more .wasm files [default: curfew.toml]
    #[arg(value_name = "MANIFEST|FILE")]
    pub paths: Vec<PathBuf>,
    /// Arguments of the component, when there is a single .wasm file
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// Longest graceful stop of the whole app [default: 25s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// The same when a component has failed [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub fail_grace: Option<Duration>,
    /// Not ready, but still serving, for this long first when stopped by TERM [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub drain_delay: Option<Duration>,
    /// Which table of signals holds [default: standard]
    #[arg(long, value_name = "PROFILE")]
    pub signals: Option<Profile>,
    /// Write a report of the end to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = log_format)]
    pub log_format: LogFormat,
    /// Which log lines there are: off, error, warn, info, debug, trace [default: info; warn for a single file]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LevelFilter>,
    /// Where compiled components are kept
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_cache")]
    pub cache: Option<PathBuf>,
    /// Compile each time
    #[arg(long)]
    pub no_cache: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The manifest [default: curfew.toml]
    pub manifest: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The tables of signals.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Profile {
    /// TERM and INT stop gracefully
    Standard,
    /// TERM and INT cut off at once, QUIT stops gracefully
    Nginx,
}

impl From<Profile> for SignalProfile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Standard => Self::Standard,
            Profile::Nginx => Self::Nginx,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("accepted are `text` and `json`".to_owned()),
    }
}
