//! What can be said on the command line. The comments are the help texts; nothing is done here.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use super::manual::{COMPLETIONS_HELP, CompletionsArgs, MAN_HELP, ManArgs, SCHEMA_HELP};
use crate::output::LogFormat;
use crate::plan::address::{AddressError, parse_listen_address};
use crate::plan::names::is_component_name;
use crate::plan::units::parse_duration;
use crate::plan::{ListenAddress, Origin, SignalProfile, parse_origin};

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

const RUN_HELP: &str = "\
Signals: TERM and INT stop gracefully (INT once more ends the delay, then cuts off now, then exits at once),
QUIT stops with four times the grace, HUP reads the manifest again (without one, or when the terminal is gone, it
stops), USR1 prints the status.

Exit codes: 0 all ended cleanly; 1 a component failed; 2 usage; 3 a hook failed; 69 a file could not be read, or
an address could not be bound; 70 a bug in curfew; 75 a component failed more often than its `restart` allows; 78 the
manifest or a component is invalid; 124 a component was cut off at the end of its grace; 128+n forced by signal n. A
single .wasm file passes its own exit status on.

The compile cache is in $CURFEW_CACHE_DIR, else in $XDG_CACHE_HOME/curfew or ~/.cache/curfew.";

const CHECK_HELP: &str = "\
Exit codes: 0 it can run; 2 usage; 69 a file could not be read, or a name not looked up; 78 the manifest or a component is
invalid.";

const STATUS_HELP: &str = "\
Examples:
  curfew status                          the app of ./curfew.toml
  curfew status --watch --control /run/shop.sock
  curfew status --json | jq .components

The document that --json prints is described in docs/status.schema.json. --watch ends when the app is gone.

Exit codes: 0 told; 1 the app does not answer; 2 usage; 69 nobody listens on the control socket.";

const STOP_HELP: &str = "\
Examples:
  curfew stop                            as TERM does, with the app's drain-delay
  curfew stop --now                      without it; also ends a drain-delay that is under way
  curfew stop web                        only this component: returns when it has ended
  curfew stop web --now                  the same without its grace: it is cut off

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 nobody listens on the control socket.";

const RELOAD_HELP: &str = "\
Returns when the new version of the app has taken over (0), or when the reload has failed and changed nothing (1).
HUP does the same without waiting.

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 nobody listens on the control socket.";

const RESTART_HELP: &str = "\
The fresh one starts first and takes over without a gap, then the old one is stopped. Of a service the old one ends first,
unless its manifest says `overlap = true`.

Example:
  curfew restart web

Exit codes: 0 done; 1 refused or failed; 2 usage; 69 nobody listens on the control socket.";

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
    /// An address to listen on, IP:PORT, unix:PATH or fd:NAME (a socket from systemd), when there is a single .wasm
    /// file that handles HTTP
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub listen: Vec<ListenAddress>,
    /// A server such as https://api.example.com that a single .wasm file may send requests to
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub allow_outbound_http: Vec<Origin>,
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

fn listen(text: &str) -> Result<ListenAddress, String> {
    parse_listen_address(text).map_err(with_hint)
}

fn origin(text: &str) -> Result<Origin, String> {
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
        let listen: Vec<String> = args.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:0", "unix:a.sock", "fd:web"]);
        assert_eq!(args.allow_outbound_http, [parse_origin("https://*.b").unwrap()]);
        let told = run(&["a.wasm", "--listen", ":80"]).unwrap_err();
        assert!(told.contains("the address is missing (did you mean \"0.0.0.0:80\"?)"), "{told}");
        let told = run(&["a.wasm", "--allow-outbound-http", "ftp://x"]).unwrap_err();
        assert!(told.contains("it does not start with http:// or https://"), "{told}");
    }
}
