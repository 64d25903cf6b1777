//! The status of an app as text: its state, the components that it waits for while it stops, a row for each component.
//! Text of the app or of a guest stays on its line and is harmless to a terminal.

use std::time::Duration;

use crate::kinds::kinds;
use curfew_host::admin::{ComponentStatus, Status};
use curfew_host::text::sanitize::one_line;
use curfew_host::text::table::aligned;
use curfew_host::text::units::format_duration;

const HEAD: [&str; 9] =
    ["component", "kind", "state", "instances", "in flight", "restarts", "uptime", "memory", "says"];
/// The columns of numbers, which are aligned right.
const NUMBERS: [bool; 9] = [false, false, false, true, true, true, true, true, false];

pub(crate) fn status_text(status: &Status) -> String {
    let mut text = format!("{}\n", one_line(&head(status)));
    for line in remarks(status) {
        text.push_str(&format!("  {}\n", one_line(&line)));
    }
    text.push_str(&table(status));
    text
}

fn head(status: &Status) -> String {
    let Status { app, version, pid, .. } = status;
    let cause = status.cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    let state = match status.level.as_str() {
        "running" if status.ready => "running, ready".to_owned(),
        "running" => "running, not ready".to_owned(),
        "delay" => format!("stops soon{cause}, still serving"),
        "drain" => format!("stopping{cause}"),
        "cut" => format!("being cut off{cause}"),
        other => format!("{other}{cause}"),
    };
    let left = status.left_ms.map(|left| format!(", {} left", time_left(left))).unwrap_or_default();
    format!("{app}: {state}{left}, up {}, process {pid}, curfew {version}", elapsed(status.uptime_ms))
}

fn remarks(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if status.level == "running" {
        lines.extend(status.not_ready_because.iter().map(|reason| format!("not ready: {reason}")));
    }
    let blockers: Vec<String> = status.components.iter().filter_map(blocker).collect();
    if !blockers.is_empty() {
        lines.push(format!("waits for {}", blockers.join(", ")));
    }
    if let Some(last) = &status.last_reload {
        let failed = match status.failed_reloads {
            0 => String::new(),
            count => format!(", {count} failed"),
        };
        let result = if last.ok { "took over" } else { "failed" };
        let (all, ago) = (status.reloads + status.failed_reloads, elapsed(last.ago_ms));
        lines.push(format!("reloads: {all}{failed}; the last one {result} {ago} ago: {}", last.text));
    }
    if status.reloading {
        lines.push("a reload is under way".to_owned());
    }
    lines
}

/// Returns a component that is stopping and has not ended, with its state and the time it has left.
fn blocker(component: &ComponentStatus) -> Option<String> {
    let left = time_left(component.left_ms.filter(|_| component.state != "ended")?);
    let state = match component.hook_ms {
        Some(took) => format!("hook for {}", time_left(took)),
        None => component.state.clone(),
    };
    // In flight of a kind without a pool is its `run`, which the state says already.
    let is_pooled =
        || kinds().iter().find(|kind| kind.name == component.kind).is_none_or(|kind| kind.is_pooled);
    let in_flight = match component.in_flight {
        many @ 1.. if is_pooled() => format!(", {many} in flight"),
        _ => String::new(),
    };
    Some(format!("{} ({state}{in_flight}, {left} left)", component.name))
}

fn table(status: &Status) -> String {
    let has_generations = status.components.iter().any(|component| component.generation > 1);
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(status.components.iter().map(|component| row(component, has_generations)));
    aligned(&rows, 2, NUMBERS)
}

fn row(component: &ComponentStatus, has_generations: bool) -> [String; HEAD.len()] {
    let name = match has_generations {
        true => format!("{} #{}", component.name, component.generation),
        false => component.name.clone(),
    };
    let failure =
        component.last_failure.as_ref().map(|failure| match (component.failing_ms, component.failures) {
            (Some(since), _) => format!("failing for {}: {failure}", elapsed(since)),
            (None, 0 | 1) => format!("last failure: {failure}"),
            (None, many) => format!("{many} failures, the last one: {failure}"),
        });
    let line = component.line.clone().filter(|line| !line.is_empty());
    [
        name,
        component.kind.clone(),
        busy_state(component),
        component.instances.to_string(),
        in_flight(component),
        component.restarts.to_string(),
        elapsed(component.uptime_ms),
        size(component.memory_bytes),
        line.into_iter().chain(failure).collect::<Vec<_>>().join("; "),
    ]
    .map(|cell| one_line(&cell))
}

/// Returns its state, and for how long it has been busy without a pause.
fn busy_state(component: &ComponentStatus) -> String {
    match component.busy_ms {
        Some(time) => format!("{}, busy for {}", component.state, elapsed(time)),
        None => component.state.clone(),
    }
}

fn in_flight(component: &ComponentStatus) -> String {
    match component.waiting {
        0 => component.in_flight.to_string(),
        waiting => format!("{} ({waiting} wait)", component.in_flight),
    }
}

/// Formats the time left: in milliseconds below a second, else in tenths of a second.
fn time_left(millis: u64) -> String {
    let rounded = if millis < 1000 { millis } else { millis - millis % 100 };
    format_duration(Duration::from_millis(rounded))
}

/// Formats an elapsed time in its two largest units.
fn elapsed(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

fn size(bytes: u64) -> String {
    let figure = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0 => "-".to_owned(),
        0x400..0x10_0000 => format!("{} KiB", figure(0x400)),
        0x10_0000..0x4000_0000 => format!("{} MiB", figure(0x10_0000)),
        0x4000_0000.. => format!("{} GiB", figure(0x4000_0000)),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curfew_host::admin::LastReload;

    fn component(name: &str, state: &str) -> ComponentStatus {
        ComponentStatus {
            name: name.into(),
            kind: "http".into(),
            state: state.into(),
            instances: 2,
            uptime_ms: 192_000,
            memory_bytes: 3 << 19,
            ..Default::default()
        }
    }

    fn shop() -> Status {
        Status {
            app: "shop".into(),
            version: "1.2.3".into(),
            pid: 42,
            level: "running".into(),
            ready: true,
            uptime_ms: 90_061_000,
            components: vec![component("web", "running"), component("a-long-name", "running")],
            ..Default::default()
        }
    }

    #[test]
    fn an_app_that_runs() {
        let mut status = shop();
        status.components[0].line = Some("ok\u{1b}[2J\n".into());
        status.components[0].last_failure = Some("trapped".into());
        (status.components[0].busy_ms, status.components[0].failures) = (Some(72_500), 3);
        (status.components[1].in_flight, status.components[1].waiting) = (12, 4);
        status.components[1].failing_ms = Some(125_000);
        status.components[1].last_failure = Some("no broker".into());
        let expected = "\
shop: running, ready, up 1d 1h, process 42, curfew 1.2.3
  component    kind  state                     instances    in flight  restarts  uptime   memory  says
  web          http  running, busy for 1m 12s          2            0         0  3m 12s  1.5 MiB  ok [2J ; 3 failures, the last one: trapped
  a-long-name  http  running                           2  12 (4 wait)         0  3m 12s  1.5 MiB  failing for 2m 5s: no broker
";
        assert_eq!(status_text(&status), expected);
    }

    #[test]
    fn a_stopping_app_names_the_components_it_waits_for() {
        let mut status = shop();
        (status.level, status.ready, status.left_ms) = ("drain".into(), false, Some(24_380));
        status.cause = Some("SIGTERM".into());
        status.not_ready_because = vec!["stopping".into()];
        status.components[0].state = "requests".into();
        (status.components[0].in_flight, status.components[0].left_ms) = (3, Some(9_990));
        status.components[1].state = "hook".into();
        (status.components[1].hook_ms, status.components[1].left_ms) = (Some(250), Some(24_380));
        let mut ended = component("done", "ended");
        ended.left_ms = Some(0);
        status.components.push(ended);
        let text = status_text(&status);
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            "shop: stopping (SIGTERM), 24.3s left, up 1d 1h, process 42, curfew 1.2.3"
        );
        assert_eq!(
            lines.next().unwrap(),
            "  waits for web (requests, 3 in flight, 9.9s left), a-long-name (hook for 250ms, 24.3s left)"
        );
        assert!(lines.next().unwrap().starts_with("  component "));
    }

    #[test]
    fn reloads_and_generations_are_told() {
        let mut status = shop();
        status.ready = false;
        status.not_ready_because = vec!["web: starting".into()];
        (status.reloads, status.failed_reloads, status.reloading) = (2, 1, true);
        status.last_reload = Some(LastReload { ok: false, text: "bad\nmanifest".into(), ago_ms: 61_000 });
        status.components[0].generation = 2;
        let text = status_text(&status);
        for told in [
            "shop: running, not ready,",
            "  not ready: web: starting\n",
            "  reloads: 3, 1 failed; the last one failed 1m 1s ago: bad manifest\n",
            "  a reload is under way\n",
            "  web #2 ",
        ] {
            assert!(text.contains(told), "{told} in\n{text}");
        }
    }

    #[test]
    fn sizes_and_spans_are_short() {
        let sizes = [0, 17, 1 << 10, 1_572_864, (1 << 30) - 1, 5 << 30].map(size);
        assert_eq!(sizes, ["-", "17 B", "1.0 KiB", "1.5 MiB", "1023.9 MiB", "5.0 GiB"]);
        assert_eq!(
            [0, 59_999, 60_000, 7_260_000, u64::MAX].map(elapsed)[..4],
            ["0s", "59s", "1m 0s", "2h 1m"]
        );
    }
}
