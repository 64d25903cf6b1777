//! Every line of the log that the supervisor writes, with its fields: messages are stable, tools match on them.

use std::time::Duration;

use tracing::{error, info, warn};

use super::generation_record::millis;
use super::report::ComponentReport;
use crate::runtime::{Failure, HookResult};
use crate::systemd::activation;
use crate::teardown::{Deadlines, Level, Signal};

pub(super) fn started(component: &str) {
    info!(component, "component started");
}

pub(super) fn app_started(components: usize, after: Duration) {
    info!(components, ms = millis(after), "app started");
    for socket in activation::unclaimed() {
        warn!(
            socket,
            "no component listens on this socket, which was passed to the process: its clients wait in vain"
        );
    }
}

pub(super) fn not_ready(because: &str) {
    info!(because, "app not ready");
}

pub(super) fn app_ready() {
    info!("app ready");
}

pub(super) fn reloading() {
    info!("reloading");
}

pub(super) fn reloaded(reloads: u64, what: &str, took: Duration) {
    info!(reloads, what, ms = millis(took), "reloaded");
}

pub(super) fn reload_failed(error: &str) {
    error!(error, note = "nothing has changed", "reload failed");
}

pub(super) fn restarted(what: &str) {
    info!(what, "restarted");
}

pub(super) fn restart_failed(component: &str, error: &str) {
    error!(component, error, "restart failed");
}

pub(super) fn cannot_start(component: &str, why: &str) {
    error!(component, why, "component cannot start");
}

pub(super) fn restarts(component: &str, restart: u64, pause: Duration, because: &str) {
    warn!(component, restart, pause_ms = millis(pause), because, "component restarts");
}

pub(super) fn gave_up(component: &str, restarts: u64) {
    error!(component, restarts, "component gave up: its restart budget is spent");
}

pub(super) fn unhealthy(component: &str, why: &str) {
    error!(component, why, "component is not alive");
}

pub(super) fn ready(component: &str) {
    info!(component, "component ready");
}

pub(super) fn raised(level: Level, cause: &str, deadlines: Option<Deadlines>, now: Duration) {
    let left = |deadline: fn(&Deadlines) -> Duration| {
        millis(deadlines.as_ref().map(deadline).unwrap_or_default().saturating_sub(now))
    };
    let deadline_ms = left(|deadlines| deadlines.end);
    let level_word = level.word();
    match level {
        Level::Running | Level::Exit => {}
        Level::Delay => {
            let drain_ms = left(|deadlines| deadlines.drain);
            info!(
                stop = level_word,
                cause,
                drain_ms,
                deadline_ms,
                deadline = wall(deadlines, now),
                "stopping"
            );
        }
        Level::Drain => {
            info!(stop = level_word, cause, deadline_ms, deadline = wall(deadlines, now), "stopping");
        }
        Level::Cut => {
            let hard_ms = left(|deadlines| deadlines.hard);
            warn!(stop = level_word, cause, hard_ms, "the grace is over");
        }
    }
}

/// Returns the absolute deadline of the stop in seconds since 1970, as other logs of the machine have it.
fn wall(deadlines: Option<Deadlines>, now: Duration) -> f64 {
    let left = deadlines.map_or(Duration::ZERO, |deadlines| deadlines.end.saturating_sub(now));
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (since.saturating_add(left).as_secs_f64() * 1000.0).round() / 1000.0
}

pub(super) fn asked(component: &str, grace: Duration) {
    info!(component, grace_ms = millis(grace), "asked to stop");
}

pub(super) fn hook_started(component: &str, instance: Option<u32>) {
    info!(component, instance, "hook started");
}

pub(super) fn hook_ended(
    component: &str,
    instance: Option<u32>,
    result: &HookResult,
    took: Option<Duration>,
) {
    let ms = millis(took.unwrap_or_default());
    match result {
        HookResult::Ok => info!(component, instance, ms, result = "ok", "hook ended"),
        HookResult::Error(text) => {
            let error = text.as_deref().unwrap_or("no text");
            warn!(component, instance, ms, result = "error", error, "hook ended");
        }
        HookResult::Trapped(failure) => {
            error!(component, instance, ms, result = "trapped", error = %failure, "hook ended");
        }
    }
}

pub(super) fn instance_started(component: &str, instance: Option<u32>) {
    info!(component, instance, "instance started");
}

pub(super) fn instance_failed(component: &str, instance: Option<u32>, failure: &Failure) {
    error!(component, instance, error = %failure, "instance failed");
}

pub(super) fn instance_ended(
    component: &str,
    instance: Option<u32>,
    why: &str,
    requests: u64,
    outcome: &str,
) {
    info!(component, instance, why, requests, outcome, "instance ended");
}

pub(super) fn failed(component: &str, failure: &Failure) {
    error!(component, error = %failure, "failed");
}

pub(super) fn left(component: &str, failure: &Failure) {
    info!(component, %failure, "left");
}

pub(super) fn extended(component: &str, asked: Duration, granted: Duration) {
    info!(component, asked_ms = millis(asked), granted_ms = millis(granted), "grace extended");
}

pub(super) fn cut_off(component: &str) {
    warn!(component, "cut off");
}

pub(super) fn ended(report: &ComponentReport) {
    let (component, outcome) = (report.name.as_str(), report.outcome);
    let detail = report.detail.as_deref().unwrap_or_default();
    info!(component, outcome, detail, "component ended");
}

/// Logs the component that the stop waits for. For a single file it is a warning: its user sees it without the other log lines.
pub(super) fn waiting(
    alone: bool,
    component: &str,
    what: &str,
    in_flight: u64,
    hook: Option<Duration>,
    left: Duration,
) {
    let (hook_ms, left_ms) = (hook.map(millis), millis(left));
    match alone {
        true => {
            warn!(
                component,
                what,
                in_flight,
                hook_ms,
                left_ms,
                note = "one more INT cuts it off",
                "waiting for"
            )
        }
        false => info!(component, what, in_flight, hook_ms, left_ms, "waiting for"),
    }
}

pub(super) fn noted(signal: Signal, left: Duration) {
    info!(signal = signal.name(), left_ms = millis(left), note = "the stop goes on", "signal");
}

pub(super) fn no_reload() {
    warn!("no reload: the app is stopping");
}

pub(super) fn continued(gap: Duration) {
    warn!(gap_ms = millis(gap), "the process was stopped and goes on: its deadlines are moved by the gap");
}

pub(super) fn host_bug(what: &str) {
    error!(what, "a part of the host died, which is a bug: stopping");
}

pub(super) fn status_app(level: Level, deadlines: Option<Deadlines>, now: Duration) {
    let left = deadlines.map(|deadlines| millis(deadlines.end.saturating_sub(now)));
    warn!(app = level.word(), left_ms = left, "status");
}

pub(super) fn status(
    component: &str,
    state: &str,
    in_flight: Option<u64>,
    hook: Option<Duration>,
    left: Option<Duration>,
    own_line: &str,
) {
    let own_line = (!own_line.is_empty()).then_some(own_line);
    warn!(
        component,
        state,
        in_flight,
        hook_ms = hook.map(millis),
        left_ms = left.map(millis),
        line = own_line,
        "status"
    );
}
