//! What can be said on the command line. The comments are the help texts; nothing is done here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use super::help::{
    CHECK_HELP, DRILL_HELP, NEW_HELP, RELOAD_HELP, RESTART_HELP, RUN_HELP, STATUS_HELP, STOP_HELP,
};
use super::manual::{COMPLETIONS_HELP, CompletionsArgs, MAN_HELP, ManArgs, SCHEMA_HELP};
use super::single_file::SingleFileArgs;
use super::times::TimeArgs;
use crate::drill::Scenario;
use crate::new::{Language, ProjectKind, ProjectName};
use curfew_host::output::LogFormat;
use curfew_host::plan::address::{AddressError, parse_listen_address};
use curfew_host::plan::names::is_component_name;
use curfew_host::plan::{ListenAddress, Origin, SignalProfile, parse_origin};
use curfew_host::text::units::parse_duration;

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
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Say what one component is and what it needs
    #[command(after_help = CHECK_HELP)]
    Inspect(InspectArgs),
    /// Write a project for a component, with a hook, a test and a CI recipe
    #[command(after_help = NEW_HELP)]
    New(NewArgs),
    /// Hold a fire drill: stop the app in every way there is, and say how it went
    #[command(after_help = DRILL_HELP)]
    Drill(DrillArgs),
    /// Tell what a running app is doing
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),
    /// Stop a running app, or one component of it
    #[command(after_help = STOP_HELP)]
    Stop(StopArgs),
    /// Make a running app read its manifest again
    #[command(after_help = RELOAD_HELP)]
    Reload(ReloadArgs),
    /// Replace a component of a running app by a fresh one
    #[command(after_help = RESTART_HELP)]
    Restart(RestartArgs),
    /// Print the JSON Schema of a manifest, for editors
    #[command(after_help = SCHEMA_HELP)]
    Schema,
    /// Print what a shell needs to complete curfew's command line
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Print a page of the manual
    #[command(after_help = MAN_HELP)]
    Man(ManArgs),
}

/// Arguments of `new`.
#[derive(Args, Clone, Debug)]
pub struct NewArgs {
    /// Its name, and that of its folder: a-z, 0-9 and `-`
    #[arg(value_name = "NAME")]
    pub name: ProjectName,
    /// The language
    #[arg(long, value_name = "LANGUAGE")]
    pub lang: Language,
    /// What it is
    #[arg(long, value_name = "KIND", default_value = "service")]
    pub kind: ProjectKind,
    /// For WASI 0.3: its hook is called beside its work
    #[arg(long = "async")]
    pub is_async: bool,
}

/// Which app a command is about.
#[derive(Args, Clone, Debug)]
pub struct ControlArgs {
    /// The control socket of the app [default: `control` of the manifest]
    #[arg(long, value_name = "PATH", conflicts_with = "manifest")]
    pub control: Option<PathBuf>,
    /// The manifest that names it [default: curfew.toml]
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Which app.
    #[command(flatten)]
    pub which: ControlArgs,
    /// Tell again each second, until the app is gone
    #[arg(long)]
    pub watch: bool,
    /// Print the document itself, on one line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `stop`.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// Only this component [default: the app]
    #[arg(value_name = "COMPONENT", value_parser = component)]
    pub component: Option<String>,
    /// The app without its drain-delay, a component without its grace
    #[arg(long)]
    pub now: bool,
    /// Which app.
    #[command(flatten)]
    pub which: ControlArgs,
}

/// Arguments of `reload`.
#[derive(Args, Clone, Debug)]
pub struct ReloadArgs {
    /// Which app.
    #[command(flatten)]
    pub which: ControlArgs,
}

/// Arguments of `restart`.
#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    /// The component
    #[arg(value_name = "COMPONENT", value_parser = component)]
    pub component: String,
    /// Which app.
    #[command(flatten)]
    pub which: ControlArgs,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A manifest, or one or more .wasm files [default: curfew.toml]
    #[arg(value_name = "MANIFEST|FILE")]
    pub paths: Vec<PathBuf>,
    /// Arguments of the component, when there is a single .wasm file
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// What a single .wasm file is granted.
    #[command(flatten)]
    pub alone: SingleFileArgs,
    /// The app's times.
    #[command(flatten)]
    pub times: TimeArgs,
    /// Which table of signals holds [default: standard]
    #[arg(long, value_name = "PROFILE")]
    pub signals: Option<Profile>,
    /// The control socket, which `curfew status` and its siblings talk to [default: `control` of the manifest]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
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
    /// Die with this process, which started it: for `drill`.
    #[arg(long, value_name = "PID", hide = true)]
    pub leave_with: Option<i32>,
    /// Run this component beside the others, after all of them: for `drill`.
    #[arg(long, value_name = "FILE", hide = true)]
    pub drill_peer: Option<PathBuf>,
}

/// Arguments of `drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// A manifest, or one or more .wasm files [default: curfew.toml]
    #[arg(value_name = "MANIFEST|FILE")]
    pub paths: Vec<PathBuf>,
    /// Arguments of the component, when there is a single .wasm file
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// Send requests there, instead of to the first address and route of each http component
    #[arg(long, value_name = "URL")]
    pub load: Vec<String>,
    /// How many clients each of them has; every other one connects anew for each request
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub clients: u16,
    /// Scenario only these
    #[arg(long, value_name = "TRY", value_delimiter = ',', value_parser = named_try)]
    pub only: Vec<Scenario>,
    /// Write the outcome to this file, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What a single file is granted.
    #[command(flatten)]
    pub alone: SingleFileArgs,
    /// The app's times.
    #[command(flatten)]
    pub times: TimeArgs,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The manifest, or a .wasm file as for `inspect` [default: curfew.toml]
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

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn listen(text: &str) -> Result<ListenAddress, String> {
    parse_listen_address(text).map_err(with_hint)
}

pub(super) fn origin(text: &str) -> Result<Origin, String> {
    parse_origin(text).map_err(with_hint)
}

fn with_hint(AddressError { reason, hint }: AddressError) -> String {
    hint.map_or_else(|| reason.to_owned(), |hint| format!("{reason} ({hint})"))
}

fn component(text: &str) -> Result<String, String> {
    match is_component_name(text) {
        true => Ok(text.to_owned()),
        false => Err("no component has such a name".to_owned()),
    }
}

fn named_try(text: &str) -> Result<Scenario, String> {
    let words = Scenario::ALL.map(Scenario::word);
    let known = Scenario::ALL.into_iter().find(|what| what.word() == text);
    known.ok_or_else(|| format!("accepted are {}", words.join(", ")))
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("accepted are `text` and `json`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<RunArgs, String> {
        let parsed = Cli::try_parse_from(["curfew", "run"].iter().chain(args));
        match parsed.map_err(|error| error.to_string())?.command {
            Command::Run(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_and_servers_are_read_as_in_a_manifest() {
        let args = run(&[
            "a.wasm",
            "--listen",
            "127.0.0.1:0",
            "--listen=unix:a.sock",
            "--listen=fd:web",
            "--allow-outbound-http",
            "https://*.b",
        ]);
        let args = args.unwrap();
        let listen: Vec<String> = args.alone.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:0", "unix:a.sock", "fd:web"]);
        assert_eq!(args.alone.allow_outbound_http, [parse_origin("https://*.b").unwrap()]);
        let told = run(&["a.wasm", "--listen", ":80"]).unwrap_err();
        assert!(told.contains("the address is missing (did you mean \"0.0.0.0:80\"?)"), "{told}");
        let told = run(&["a.wasm", "--allow-outbound-http", "ftp://x"]).unwrap_err();
        assert!(told.contains("it does not start with http:// or https://"), "{told}");
    }
}
