//! The arguments of the command line. The doc comments are the help texts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tracing_subscriber::filter::LevelFilter;

use super::help::{
    CHECK_HELP, COMPLETIONS_HELP, DRILL_HELP, MAN_HELP, NEW_HELP, RELOAD_HELP, RESTART_HELP, RUN_HELP,
    SCHEMA_HELP, STATUS_HELP, STOP_HELP,
};
use super::single_file::SingleFileArgs;
use crate::drill::Scenario;
use crate::new::{Language, ProjectKind, ProjectName};
use curfew_host::output::LogFormat;
use curfew_host::plan::address::{AddressError, parse_listen_address};
use curfew_host::plan::names::is_component_name;
use curfew_host::plan::{DEFAULT_MANIFEST, ListenAddress, Origin, Overrides, SignalProfile, parse_origin};
use curfew_host::text::units::parse_duration;

/// Runs WebAssembly components as one app and stops them well
#[derive(Debug, Parser)]
#[command(name = "curfew", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an app until it ends
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Load and validate all components without starting any
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Describe one component and what it needs
    #[command(after_help = CHECK_HELP)]
    Inspect(InspectArgs),
    /// Create a project for a component, with a hook, a test and a CI recipe
    #[command(after_help = NEW_HELP)]
    New(NewArgs),
    /// Test how an app stops: stop it in every way, idle and under load
    #[command(after_help = DRILL_HELP)]
    Drill(DrillArgs),
    /// Show the state of a running app
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),
    /// Stop a running app, or one component of it
    #[command(after_help = STOP_HELP)]
    Stop(StopArgs),
    /// Reload the manifest of a running app
    #[command(after_help = RELOAD_HELP)]
    Reload(ReloadArgs),
    /// Restart a component of a running app
    #[command(after_help = RESTART_HELP)]
    Restart(RestartArgs),
    /// Print the JSON Schema of a manifest, for editors
    #[command(after_help = SCHEMA_HELP)]
    Schema,
    /// Print the completion script of a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Print a page of the manual
    #[command(after_help = MAN_HELP)]
    Man(ManArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct NewArgs {
    /// The name of the component and of its folder: a-z, 0-9 and `-`
    #[arg(value_name = "NAME")]
    pub(crate) name: ProjectName,
    /// The programming language
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) lang: Language,
    /// The kind of the component
    #[arg(long, value_name = "KIND", default_value = "service")]
    pub(crate) kind: ProjectKind,
    /// Use WASI 0.3, where the hook runs beside the work
    #[arg(long = "async")]
    pub(crate) is_async: bool,
}

/// The running app that a command is for.
#[derive(Args, Clone, Debug)]
pub(crate) struct ControlArgs {
    /// The control socket of the app [default: `control` of the manifest]
    #[arg(long, value_name = "PATH", conflicts_with = "manifest")]
    pub(crate) control: Option<PathBuf>,
    /// The manifest that names the control socket [default: curfew.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) app: ControlArgs,
    /// Print again each second, until the app has ended
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print JSON, on one line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StopArgs {
    /// Stop only this component [default: the app]
    #[arg(value_name = "COMPONENT", value_parser = component_name)]
    pub(crate) component: Option<String>,
    /// Stop the app without its drain-delay, or a component without its grace
    #[arg(long)]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) app: ControlArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) app: ControlArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RestartArgs {
    /// The component
    #[arg(value_name = "COMPONENT", value_parser = component_name)]
    pub(crate) component: String,
    #[command(flatten)]
    pub(crate) app: ControlArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) app: AppArgs,
    /// The meaning of signals [default: standard]
    #[arg(long, value_name = "PROFILE")]
    pub(crate) signals: Option<SignalProfileArg>,
    /// The control socket, for `curfew status`, `stop`, `reload` and `restart` [default: `control` of the manifest]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Write a report of the stop to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// The format of the log
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = log_format)]
    pub(crate) log_format: LogFormat,
    /// The level of the log: off, error, warn, info, debug, trace [default: info; warn for a single file]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LevelFilter>,
    /// The folder of the compile cache
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_cache")]
    pub(crate) cache: Option<PathBuf>,
    /// Compile each time, without a cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Die with this process, which is the parent (for `drill`).
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) leave_with: Option<i32>,
    /// Run this component too, started after all others (for `drill`).
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) drill_peer: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// Send requests to this URL, instead of to the first address and route of each http component
    #[arg(long, value_name = "URL")]
    pub(crate) load: Vec<String>,
    /// Clients for each URL or component; every second one opens a new connection for each request
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) clients: u16,
    /// Run only these scenarios: term, int, quit, start, peer, reload
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',', value_parser = scenario)]
    pub(crate) only: Vec<Scenario>,
    /// Write the result to this file, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) app: AppArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The manifest, or a .wasm file as for `inspect` [default: curfew.toml]
    pub(crate) manifest: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The app that `run` and `drill` run.
#[derive(Args, Clone, Debug)]
pub(crate) struct AppArgs {
    /// A manifest, or one or more .wasm files [default: curfew.toml]
    #[arg(value_name = "MANIFEST|FILE")]
    pub(crate) paths: Vec<PathBuf>,
    /// Arguments of the component, for a single .wasm file
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
    #[command(flatten)]
    pub(crate) single_file: SingleFileArgs,
    #[command(flatten)]
    pub(crate) times: TimeArgs,
}

impl AppArgs {
    /// Returns these arguments for `curfew run`, without those of the component.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = self.paths.iter().map(|path| path.clone().into_os_string()).collect();
        if all.is_empty() {
            all.push(DEFAULT_MANIFEST.into());
        }
        all.extend(self.single_file.to_args());
        all.extend(self.times.to_args());
        all
    }
}

/// Times of the app, which override those of its manifest.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TimeArgs {
    /// Longest graceful stop of the whole app [default: 25s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) grace: Option<Duration>,
    /// Longest graceful stop when a component has failed [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) fail_grace: Option<Duration>,
    /// After TERM, be not ready but still serve for this long before the stop [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_delay: Option<Duration>,
}

impl TimeArgs {
    /// Returns the values that override those of a plan.
    pub(crate) fn overrides(&self) -> Overrides {
        let Self { grace, fail_grace, drain_delay } = *self;
        Overrides { grace, fail_grace, drain_delay, ..Overrides::default() }
    }

    fn to_args(self) -> Vec<OsString> {
        let times =
            [("--grace", self.grace), ("--fail-grace", self.fail_grace), ("--drain-delay", self.drain_delay)];
        let given = times.into_iter().filter_map(|(flag, time)| Some((flag, time?)));
        given.map(|(flag, time)| format!("{flag}={}ms", time.as_millis()).into()).collect()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ManArgs {
    /// The command that the page is for [default: curfew as a whole]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    pub(crate) command: Option<String>,
    /// Write all pages into this folder, and print their names
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

/// The meanings that signals can have.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SignalProfileArg {
    /// TERM and INT stop gracefully
    Standard,
    /// TERM and INT cut off at once, QUIT stops gracefully
    Nginx,
}

impl From<SignalProfileArg> for SignalProfile {
    fn from(profile: SignalProfileArg) -> Self {
        match profile {
            SignalProfileArg::Standard => Self::Standard,
            SignalProfileArg::Nginx => Self::Nginx,
        }
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(crate) fn listen_address(text: &str) -> Result<ListenAddress, String> {
    parse_listen_address(text).map_err(with_hint)
}

pub(crate) fn origin(text: &str) -> Result<Origin, String> {
    parse_origin(text).map_err(with_hint)
}

fn with_hint(AddressError { reason, hint }: AddressError) -> String {
    hint.map_or_else(|| reason.to_owned(), |hint| format!("{reason} ({hint})"))
}

fn component_name(text: &str) -> Result<String, String> {
    match is_component_name(text) {
        true => Ok(text.to_owned()),
        false => Err("this cannot be the name of a component".to_owned()),
    }
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let known = Scenario::ALL.into_iter().find(|scenario| scenario.name() == text);
    known.ok_or_else(|| format!("accepted are {}", Scenario::ALL.map(Scenario::name).join(", ")))
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
        let listen: Vec<String> = args.app.single_file.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:0", "unix:a.sock", "fd:web"]);
        assert_eq!(args.app.single_file.allow_outbound_http, [parse_origin("https://*.b").unwrap()]);
        let told = run(&["a.wasm", "--listen", ":80"]).unwrap_err();
        assert!(told.contains("the address is missing (did you mean \"0.0.0.0:80\"?)"), "{told}");
        let told = run(&["a.wasm", "--allow-outbound-http", "ftp://x"]).unwrap_err();
        assert!(told.contains("it does not start with http:// or https://"), "{told}");
    }
}
