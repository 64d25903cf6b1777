//! `curfew status`, `stop`, `reload` and `restart`: requests to the control socket of a running app.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::args::{ControlArgs, StatusArgs, StopArgs};
use crate::error::CliError;
use crate::print::print;
use crate::status_table::status_text;
use curfew_host::admin::Status;
use curfew_host::admin::client::{ControlClient, ControlClientError};
use curfew_host::output::{Channel, Output};
use curfew_host::plan::DEFAULT_MANIFEST;
use curfew_host::teardown::ExitCode;
use curfew_host::text::sanitize;

/// Time between two documents of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait of `--watch` for a slow reader before it skips a document.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(20);

pub(crate) fn status(output: &Output, args: &StatusArgs) -> Result<ExitCode, CliError> {
    block_on(&args.app, async |client| {
        if args.watch {
            return watch(output, &client, args.json).await;
        }
        let document = client.get("/status").await?;
        print(output, Channel::Stdout, &format_status(&document, args.json)?);
        let is_well = !args.ready || parse_status(&document)?.ready;
        Ok(if is_well { ExitCode::CLEAN } else { ExitCode::FAILED })
    })
}

pub(crate) fn stop(output: &Output, args: &StopArgs) -> Result<ExitCode, CliError> {
    let now = u8::from(args.now);
    let (component, app) = args.target()?;
    if let Some(name) = component {
        return order(output, &app, &format!("/stop?component={name}&now={now}"));
    }
    block_on(&app, async |client| {
        let process = client.process().await;
        let is_stopping = match client.post(&format!("/stop?now={now}")).await {
            // The app had nothing left to stop, and ended before it could answer.
            Err(ControlClientError::Disconnected) => None,
            // It stops already.
            Err(ControlClientError::Refused(told)) if !args.no_wait => Some(told),
            answer => Some(answer?),
        };
        if let Some(told) = &is_stopping {
            print(output, Channel::Stdout, &format!("{}\n", told.trim_end()));
        }
        if !args.no_wait || is_stopping.is_none() {
            client.ended(process).await;
            print(output, Channel::Stdout, "the app has ended\n");
        }
        Ok(ExitCode::CLEAN)
    })
}

pub(crate) fn order(output: &Output, app: &ControlArgs, target: &str) -> Result<ExitCode, CliError> {
    block_on(app, async |client| {
        let done = client.post(target).await?;
        print(output, Channel::Stdout, &format!("{}\n", done.trim_end()));
        Ok(ExitCode::CLEAN)
    })
}

/// Prints the status each second until the app has ended, or the reader is gone.
async fn watch(output: &Output, client: &ControlClient, json: bool) -> Result<ExitCode, CliError> {
    let is_screen = !json && output.is_terminal(Channel::Stdout);
    let mut ticks = interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_printed = false;
    loop {
        ticks.tick().await;
        let text = match client.get("/status").await {
            Ok(document) => format_status(&document, json)?,
            Err(ControlClientError::NotRunning { .. } | ControlClientError::Disconnected) if has_printed => {
                break;
            }
            // The app is too busy to answer, or about to end.
            Err(error @ (ControlClientError::Refused(_) | ControlClientError::Timeout)) if has_printed => {
                format!("{error}\n")
            }
            Err(error) => return Err(error.into()),
        };
        let text = match (is_screen, has_printed, json) {
            (true, ..) => overwrite_screen(&text),
            (false, true, false) => format!("\n{text}"),
            _ => text,
        };
        has_printed = true;
        let room = output.flush(FLUSH_TIMEOUT);
        if room && !output.host(Channel::Stdout).push(text.into_bytes()) {
            return Ok(ExitCode::CLEAN);
        }
    }
    if !json {
        print(output, Channel::Stdout, "the app is gone\n");
    }
    Ok(ExitCode::CLEAN)
}

/// Overwrites the screen line by line, so that it does not flicker.
fn overwrite_screen(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

fn format_status(document: &str, json: bool) -> Result<String, ControlClientError> {
    if json {
        return Ok(format!("{}\n", sanitize::json(document.trim_end())));
    }
    Ok(status_text(&parse_status(document)?))
}

fn parse_status(document: &str) -> Result<Status, ControlClientError> {
    serde_json::from_str(document)
        .map_err(|error| ControlClientError::Refused(format!("the app's answer cannot be read: {error}")))
}

/// Returns the path of the socket. A manifest that is invalid elsewhere will do: the app runs with an earlier version.
fn control_path(app: &ControlArgs) -> Result<PathBuf, ControlClientError> {
    if let Some(path) = &app.control {
        return Ok(path.clone());
    }
    let named = app.path.as_deref().or(app.manifest.as_deref());
    let manifest = named.unwrap_or(Path::new(DEFAULT_MANIFEST));
    let name = sanitize::one_line(&manifest.display().to_string());
    let unknown = |reason: String| ControlClientError::NoSocketNamed(format!("{name} {reason}"));
    let text = std::fs::read_to_string(manifest)
        .map_err(|error| ControlClientError::NoSocketNamed(format!("cannot read {name}: {error}")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let reason = sanitize::one_line(error.message());
        unknown(format!("cannot be read, so its `control` is not known: {reason}"))
    })?;
    let control = table.get("app").and_then(|table| table.get("control")).and_then(toml::Value::as_str);
    let control = control.filter(|path| !path.is_empty()).ok_or_else(|| {
        unknown("has no `control` in its [app] table: the app has no control socket".to_owned())
    })?;
    Ok(manifest.parent().unwrap_or(Path::new("")).join(control))
}

fn block_on(
    app: &ControlArgs,
    work: impl AsyncFnOnce(ControlClient) -> Result<ExitCode, CliError>,
) -> Result<ExitCode, CliError> {
    let client = ControlClient::new(control_path(app)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ControlClientError::System)?.block_on(work(client))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<PathBuf, String> {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("shop.toml");
        std::fs::write(&manifest, text).unwrap();
        let path = control_path(&ControlArgs { path: Some(manifest), ..ControlArgs::default() });
        path.map(|path| path.strip_prefix(folder.path()).unwrap_or(&path).to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_manifest_names_the_socket_even_if_it_is_wrong_elsewhere() {
        assert_eq!(found("[app]\ncontrol = \"run/a.sock\"\ngrace = 7\n[nonsense]"), Ok("run/a.sock".into()));
        assert_eq!(found("app = { control = \"/run/a.sock\" }"), Ok("/run/a.sock".into()));
    }

    #[test]
    fn without_one_the_way_out_is_named() {
        for (text, told) in [
            ("[app]\ngrace = \"1s\"", "has no `control` in its [app] table"),
            ("[app\ncontrol = \"a\"", "so its `control` is not known"),
        ] {
            let error = found(text).unwrap_err();
            assert!(error.contains(told) && error.contains("--control PATH"), "{error}");
        }
        let missing = ControlArgs { manifest: Some("none.toml".into()), ..ControlArgs::default() };
        assert_eq!(CliError::from(control_path(&missing).unwrap_err()).exit_code(), ExitCode::USAGE);
    }

    #[test]
    fn a_screen_is_written_over() {
        assert_eq!(overwrite_screen("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
