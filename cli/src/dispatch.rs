//! From the process's arguments to one command, and from its result to the end of the process.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Command};
use crate::commands::{check, control, drill, manual, new, run};
use crate::habits;
use crate::kinds;
use crate::print::print;
use curfew_host::output::{Channel, LogFormat, Output, install_panic_hook};
use curfew_host::server::{KindSet, built_in};
use curfew_host::supervisor::{block_signals, hard_exit, release_signals};
use curfew_host::systemd::activation;
use curfew_host::teardown::ExitCode;

/// Longest wait for a slow reader of the output, when no stop is under way that bounds it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the command line of this process and ends the process.
pub fn main() -> ! {
    main_with(built_in())
}

/// Does the same with these kinds of component.
pub fn main_with(sets: Vec<KindSet>) -> ! {
    kinds::set(sets);
    // Before anything is opened: descriptors that a service manager passes have the lowest numbers.
    activation::from_env();
    if block_signals().is_err() {
        hard_exit(ExitCode::HOST_BUG);
    }
    let output =
        Output::start(Box::new(run::writer_died)).unwrap_or_else(|error| leave_without_output(&error));
    let code = catch_unwind(AssertUnwindSafe(|| dispatch(&output))).unwrap_or(ExitCode::HOST_BUG);
    // From here on signals end the process at once, as they do any process that waits for its reader.
    let _refused = release_signals();
    output.flush(FLUSH_TIMEOUT);
    hard_exit(code)
}

/// Says by itself that there is no thread to say anything.
fn leave_without_output(error: &std::io::Error) -> ! {
    let line = format!("error: cannot start a thread: {error}\n");
    if let Ok(stderr) = Channel::Stderr.descriptor() {
        let _unread = nix::unistd::write(stderr, line.as_bytes());
    }
    hard_exit(ExitCode::UNAVAILABLE);
}

fn dispatch(output: &Output) -> ExitCode {
    let mut declared = Cli::command();
    let parsed = declared.try_get_matches_from_mut(std::env::args_os()).and_then(|matches| {
        Ok((Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut declared))?, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage(output, &error, std::env::args_os().skip(1).collect()),
    };
    if !matches!(cli.command, Command::Run(_) | Command::Drill(_)) {
        // An app and a drill stop in order on a signal; any other command just ends.
        let _refused = release_signals();
    }
    if let Command::Run(args) = &cli.command {
        output.set_log_format(args.log_format);
    }
    install_panic_hook(output);
    let result = match cli.command {
        Command::Run(args) => run::run(output, args),
        Command::Drill(args) => drill::drill(output, &args, matches.subcommand_matches("drill")),
        Command::Check { manifest, json } => check::check(output, manifest.as_deref(), json),
        Command::Inspect { file, json } => check::inspect(output, &file, json),
        Command::New(args) => new::new(output, &args),
        Command::Status(args) => control::status(output, &args),
        Command::Stop(args) => control::stop(output, &args),
        Command::Reload(args) => control::order(output, &args, "/reload"),
        Command::Restart { component, app } => {
            control::order(output, &app, &format!("/restart?component={component}"))
        }
        Command::Schema => Ok(manual::schema(output)),
        Command::Completions { shell } => Ok(manual::completions(output, shell)),
        Command::Man { command, out } => manual::man(output, command, out.as_deref()),
    };
    result.unwrap_or_else(|error| {
        let code = error.exit_code();
        error.texts().iter().for_each(|text| output.say_error(text, code.0));
        code
    })
}

/// Looks for the flag in a command line that is not understood.
fn asks_for_json(args: &[OsString]) -> bool {
    let own = args.iter().take_while(|arg| *arg != "--").collect::<Vec<_>>();
    let is_pair =
        |pair: &[&OsString]| matches!(pair, [flag, value] if *flag == "--log-format" && *value == "json");
    own.windows(2).any(is_pair) || own.iter().any(|arg| *arg == "--log-format=json")
}

fn usage(output: &Output, error: &clap::Error, args: Vec<OsString>) -> ExitCode {
    let mut text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        print(output, Channel::Stdout, &text);
        return ExitCode::CLEAN;
    }
    if let Some(meant) = habits::meant(&args) {
        text = format!("{}\n\nhint: did you mean `{meant}`?", text.trim_end());
    }
    if asks_for_json(&args) {
        output.set_log_format(LogFormat::Json);
    }
    match text.trim_end().strip_prefix("error: ") {
        Some(error) => output.say_error(error, ExitCode::USAGE.0),
        // The help, for a command that is missing.
        None => output.say(text.trim_end()),
    }
    ExitCode::USAGE
}
