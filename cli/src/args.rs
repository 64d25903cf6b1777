//! The arguments of the command line. The doc comments are the help texts.

use std::env::VarError;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgMatches, Args, Parser, Subcommand};
use clap_complete::Shell;
use tracing_subscriber::filter::LevelFilter;

use crate::drill::Scenario;
use crate::error::CliError;
use crate::help;
use crate::new::{Language, ProjectKind, ProjectName};
use curfew_host::output::LogFormat;
use curfew_host::plan::address::{AddressError, parse_listen_address};
use curfew_host::plan::names::is_component_name;
use curfew_host::plan::{
    Access, Bare, DEFAULT_MANIFEST, DirGrant, ListenAddress, Origin, Overrides, SignalProfile, parse_origin,
};
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
    #[command(after_help = help::flow(help::RUN))]
    Run(RunArgs),
    /// Load and validate all components without starting any
    #[command(after_help = help::flow(help::CHECK))]
    Check {
        /// The manifest, or a .wasm file as for `inspect` [default: curfew.toml]
        manifest: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Describe one component and what it needs
    #[command(after_help = help::flow(help::CHECK))]
    Inspect {
        /// The component
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a project for a component, with a hook, a test and a CI recipe
    #[command(after_help = help::flow(help::NEW))]
    New(NewArgs),
    /// Test how an app stops: stop it in every way, idle and under load
    #[command(after_help = help::flow(help::DRILL))]
    Drill(DrillArgs),
    /// Show the state of a running app
    #[command(after_help = help::flow(help::STATUS))]
    Status(StatusArgs),
    /// Stop a running app, or one component of it
    #[command(after_help = help::flow(help::STOP))]
    Stop(StopArgs),
    /// Reload the manifest of a running app
    #[command(after_help = help::flow(help::RELOAD))]
    Reload(ControlArgs),
    /// Restart a component of a running app
    #[command(after_help = help::flow(help::RESTART))]
    Restart {
        /// The component
        #[arg(value_name = "COMPONENT", value_parser = component_name)]
        component: String,
        #[command(flatten)]
        app: ControlArgs,
    },
    /// Print the JSON Schema of a manifest, for editors
    #[command(after_help = help::flow(help::SCHEMA))]
    Schema,
    /// Print the completion script of a shell
    #[command(after_help = help::flow(help::COMPLETIONS))]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print a page of the manual
    #[command(after_help = help::flow(help::MAN))]
    Man {
        /// The command that the page is for [default: curfew as a whole]
        #[arg(value_name = "COMMAND", conflicts_with = "out")]
        command: Option<String>,
        /// Write all pages into this folder, and print their names
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
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
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ControlArgs {
    /// The manifest of the app, which names its control socket [default: curfew.toml]
    #[arg(value_name = "MANIFEST", conflicts_with_all = ["control", "manifest"])]
    pub(crate) path: Option<PathBuf>,
    /// The control socket of the app [default: `control` of the manifest]
    #[arg(long, value_name = "PATH", conflicts_with = "manifest")]
    pub(crate) control: Option<PathBuf>,
    /// The same as MANIFEST
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
    /// Exit with 1 if the app is not ready, for health checks
    #[arg(long, conflicts_with = "watch")]
    pub(crate) ready: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StopArgs {
    /// Stop only this component [default: the app]. A word with a `.` or a `/` is the MANIFEST
    #[arg(value_name = "COMPONENT", value_parser = stop_target)]
    pub(crate) target: Option<StopTarget>,
    /// Stop the app without its drain-delay, or a component without its grace
    #[arg(long)]
    pub(crate) now: bool,
    /// Return when the stop of the app has begun, not when the app has ended
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) app: ControlArgs,
}

/// The first argument of `stop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopTarget {
    Component(String),
    Manifest(PathBuf),
}

impl StopArgs {
    /// Returns the component to stop, or `None` for the app, and the app that is meant.
    pub(crate) fn target(&self) -> Result<(Option<&str>, ControlArgs), CliError> {
        let ControlArgs { path, control, manifest } = &self.app;
        match &self.target {
            Some(StopTarget::Component(_)) if self.no_wait => Err(CliError::Usage(
                "--no-wait is for the app: the stop of a component returns when that has ended",
            )),
            Some(StopTarget::Component(name)) => Ok((Some(name), self.app.clone())),
            Some(StopTarget::Manifest(_)) if path.is_some() || control.is_some() || manifest.is_some() => {
                Err(CliError::Usage("give one manifest, or one control socket"))
            }
            Some(StopTarget::Manifest(path)) => {
                Ok((None, ControlArgs { path: Some(path.clone()), ..ControlArgs::default() }))
            }
            None => Ok((None, self.app.clone())),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) app: AppArgs,
    /// The meaning of signals [default: standard]
    #[arg(long, value_name = "PROFILE", value_parser = signal_profile())]
    pub(crate) signals: Option<SignalProfile>,
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
    /// Pass although answers have a status of 5xx
    #[arg(long)]
    pub(crate) allow_errors: bool,
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

impl DrillArgs {
    /// Returns the arguments of the app as they were written, for `curfew run`, without those of the component.
    pub(crate) fn of_app(matches: &ArgMatches) -> Vec<OsString> {
        let raw = |id: &str| matches.get_raw(id).into_iter().flatten();
        let mut all: Vec<OsString> = raw("paths").map(OsString::from).collect();
        if all.is_empty() {
            all.push(DEFAULT_MANIFEST.into());
        }
        for id in ["listen", "env", "dir", "allow_outbound_http", "grace", "fail_grace", "drain_delay"] {
            all.extend(raw(id).map(|value| {
                let mut arg = OsString::from(format!("--{}=", id.replace('_', "-")));
                arg.push(value);
                arg
            }));
        }
        all.extend(matches.get_flag("allow_net").then(|| "--allow-net".into()));
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
}

/// Grants of a single `.wasm` file, in the syntax of `wasmtime run`. In a manifest they are keys.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SingleFileArgs {
    /// Listen on this address, IP:PORT, unix:PATH or fd:NAME (a socket from systemd), for a single .wasm file that
    /// handles HTTP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(crate) listen: Vec<ListenAddress>,
    /// Set an environment variable of a single .wasm file; without a value, the value that curfew itself has, if any
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = variable)]
    pub(crate) env: Vec<Variable>,
    /// Let a single .wasm file read and write this folder, under the path GUEST [default: the same path]
    #[arg(long, value_name = "HOST[::GUEST]", value_parser = dir)]
    pub(crate) dir: Vec<DirGrant>,
    /// Let a single .wasm file use the whole network: listen, connect, look up names, send HTTP requests
    #[arg(long)]
    pub(crate) allow_net: bool,
    /// Let a single .wasm file send requests to this server, such as https://api.example.com
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(crate) allow_outbound_http: Vec<Origin>,
}

/// An environment variable with its value; `None` if this process does not have it either.
type Variable = (String, Option<String>);

impl SingleFileArgs {
    /// Returns the grants for a plan, with the arguments of the component.
    pub(crate) fn into_bare(self, args: Vec<String>) -> Bare {
        let mut env: Vec<(String, String)> = Vec::with_capacity(self.env.len());
        for (name, value) in self.env {
            // The last value wins, as in a shell.
            env.retain(|(other, _)| *other != name);
            env.extend(value.map(|value| (name, value)));
        }
        Bare {
            args,
            listen: self.listen,
            env,
            dirs: self.dir,
            allow_net: self.allow_net,
            outbound_http: self.allow_outbound_http,
        }
    }
}

fn signal_profile() -> impl TypedValueParser<Value = SignalProfile> {
    let standard = PossibleValue::new("standard").help("TERM and INT stop gracefully");
    let nginx = PossibleValue::new("nginx").help("TERM and INT cut off at once, QUIT stops gracefully");
    PossibleValuesParser::new([standard, nginx]).map(|word| match word.as_str() {
        "nginx" => SignalProfile::Nginx,
        _ => SignalProfile::Standard,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    parse_listen_address(text).map_err(with_hint)
}

fn origin(text: &str) -> Result<Origin, String> {
    parse_origin(text).map_err(with_hint)
}

fn with_hint(AddressError { reason, hint }: AddressError) -> String {
    hint.map_or_else(|| reason.to_owned(), |hint| format!("{reason} ({hint})"))
}

fn component_name(text: &str) -> Result<String, String> {
    let name = is_component_name(text).then(|| text.to_owned());
    name.ok_or_else(|| "this cannot be the name of a component".to_owned())
}

fn stop_target(text: &str) -> Result<StopTarget, String> {
    match component_name(text) {
        Ok(name) => Ok(StopTarget::Component(name)),
        Err(_) if text.contains(['.', '/']) => Ok(StopTarget::Manifest(PathBuf::from(text))),
        Err(error) => Err(error),
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

fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match (text.split_once('='), std::env::var(text)) {
        (Some((name, value)), _) => (name, Some(value.to_owned())),
        (None, Ok(value)) => (text, Some(value)),
        (None, Err(VarError::NotPresent)) => (text, None),
        (None, Err(VarError::NotUnicode(_))) => {
            return Err("its value is not UTF-8, which a component needs".to_owned());
        }
    };
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    Ok((name.to_owned(), value))
}

fn dir(text: &str) -> Result<DirGrant, String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("a path is missing: HOST, or HOST::GUEST".to_owned());
    }
    Ok(DirGrant { host: PathBuf::from(host), guest: guest.to_owned(), access: Access::ReadWrite })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(args: &[&str]) -> Result<RunArgs, String> {
        let parsed = Cli::try_parse_from(["curfew", "run"].iter().chain(args));
        match parsed.map_err(|error| error.to_string())?.command {
            Command::Run(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    /// A paragraph is full at every width: no line ends before the next word would pass the edge.
    #[test]
    fn help_is_wrapped_once() {
        for width in [60, 80, 100] {
            for sub in Cli::command().get_subcommands() {
                let name = sub.get_name().to_owned();
                let help = sub.clone().term_width(width).render_long_help().to_string();
                let lines: Vec<&str> = help.lines().collect();
                for pair in lines.windows(2) {
                    let [line, next] = pair else { continue };
                    let indent = |line: &str| line.len() - line.trim_start().len();
                    let is_prose = |line: &str| !line.trim().is_empty() && indent(line) == 0;
                    if is_prose(line) && is_prose(next) {
                        let word = next.split(' ').next().unwrap_or_default();
                        let longer = line.chars().count() + 1 + word.chars().count();
                        assert!(longer > width, "{name} at {width}: {line:?} and then {next:?}");
                    }
                }
            }
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

    #[test]
    fn variables_have_a_value_or_the_one_of_this_process() {
        let read = variable;
        let set = |name: &str, value: &str| Ok((name.to_owned(), Some(value.to_owned())));
        assert_eq!(read("A=b=c"), set("A", "b=c"));
        assert_eq!(read("A="), set("A", ""));
        assert_eq!(read("CARGO_PKG_NAME"), set("CARGO_PKG_NAME", &std::env::var("CARGO_PKG_NAME").unwrap()));
        assert_eq!(read("NOBODY_HAS_THIS"), Ok(("NOBODY_HAS_THIS".to_owned(), None)));
        for bad in ["", "=a", "="] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    fn stop(args: &[&str]) -> Result<(Option<String>, Option<PathBuf>), String> {
        let parsed = Cli::try_parse_from(["curfew", "stop"].iter().chain(args));
        let Command::Stop(args) = parsed.map_err(|error| error.to_string())?.command else { panic!() };
        let (component, app) = args.target().map_err(|error| error.to_string())?;
        Ok((component.map(str::to_owned), app.path.or(app.manifest)))
    }

    #[test]
    fn the_manifest_can_stand_where_run_has_it() {
        let component = |name: &str| Some(name.to_owned());
        let manifest = |path: &str| Some(PathBuf::from(path));
        assert_eq!(stop(&[]), Ok((None, None)));
        assert_eq!(stop(&["web"]), Ok((component("web"), None)));
        assert_eq!(stop(&["shop.toml"]), Ok((None, manifest("shop.toml"))));
        assert_eq!(stop(&["./shop", "--now"]), Ok((None, manifest("./shop"))));
        assert_eq!(stop(&["web", "shop.toml"]), Ok((component("web"), manifest("shop.toml"))));
        assert_eq!(stop(&["web", "--manifest", "shop"]), Ok((component("web"), manifest("shop"))));
        for bad in [
            &["shop.toml", "other.toml"][..],
            &["shop.toml", "--control", "a.sock"],
            &["web", "shop.toml", "--manifest", "other.toml"],
            &["web", "--no-wait"],
            &["Web!"],
        ] {
            assert!(stop(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn folders_are_where_they_are_unless_said_otherwise() {
        let read = |text: &str| dir(text).map(|dir| (dir.host.display().to_string(), dir.guest, dir.access));
        let grant = |host: &str, guest: &str| Ok((host.to_owned(), guest.to_owned(), Access::ReadWrite));
        assert_eq!(read("."), grant(".", "."));
        assert_eq!(read("a::/b"), grant("a", "/b"));
        assert_eq!(read("a:b::/c"), grant("a:b", "/c"));
        for bad in ["", "::", "a::", "::/b"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
