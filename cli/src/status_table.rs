//! The status of an app as people read it: who it is, whom it waits for while it stops, and a row a component.
//!
//! Invariant: whatever the app or a guest says stays on its line and does nothing to a terminal.

use std::time::Duration;

use curfew_host::admin::{ComponentStatus, Status};
use curfew_host::text::sanitize::one_line;
use curfew_host::text::units::format_duration;

/// One column: its head, and whether it is of figures, which stand to the right.
type Column = (&'static str, bool);

const COLUMNS: [Column; 9] = [
    ("component", false),
    ("kind", false),
    ("state", false),
    ("instances", true),
    ("in flight", true),
    ("restarts", true),
    ("uptime", true),
    ("memory", true),
    ("says", false),
];

/// Returns the lines.
pub fn text(status: &Status) -> String {
    let mut text = format!("{}\n", one_line(&head(status)));
    for line in remarks(status) {
        text.push_str(&format!("  {}\n", one_line(&line)));
    }
    text.push_str(&table(status));
    text
}

fn head(status: &Status) -> String {
    let mut parts = Vec::new();
    let cause = status.cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    parts.push(match status.level.as_str() {
        "running" if status.ready => "running, ready".to_owned(),
        "running" => "running, not ready".to_owned(),
        "delay" => format!("stops soon{cause}, still serving"),
        "drain" => format!("stopping{cause}"),
        "cut" => format!("being cut off{cause}"),
        other => format!("{other}{cause}"),
    });
    parts.extend(status.left_ms.map(|left| format!("{} left", left_text(left))));
    parts.push(format!("up {}", span(status.uptime_ms)));
    parts.push(format!("process {}", status.pid));
    parts.push(format!("curfew {}", status.version));
    format!("{}: {}", status.app, parts.join(", "))
}

/// What is not in the table.
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
        let ago = span(last.ago_ms);
        lines.push(format!(
            "reloads: {}{failed}; the last one {result} {ago} ago: {}",
            status.reloads + status.failed_reloads,
            last.text,
        ));
    }
    if status.reloading {
        lines.push("a reload is under way".to_owned());
    }
    lines
}

/// Returns who has been asked to stop and has not ended, what is left to do there, and for how long it may.
fn blocker(component: &ComponentStatus) -> Option<String> {
    let left = component.left_ms.filter(|_| component.state != "ended")?;
    let mut what = match component.hook_ms {
        Some(took) => vec![format!("hook for {}", left_text(took))],
        None => vec![component.state.clone()],
    };
    if component.in_flight > 0 && component.kind != "service" {
        what.push(format!("{} in flight", component.in_flight));
    }
    what.push(format!("{} left", left_text(left)));
    Some(format!("{} ({})", component.name, what.join(", ")))
}

fn table(status: &Status) -> String {
    let several = status.components.iter().any(|component| component.generation > 1);
    let mut rows = vec![COLUMNS.map(|(head, _)| head.to_owned())];
    rows.extend(status.components.iter().map(|component| row(component, several)));
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(COLUMNS.iter().zip(widths)).map(|(cell, ((_, figures), width))| {
            if *figures { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str("  ");
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(component: &ComponentStatus, several: bool) -> [String; COLUMNS.len()] {
    let name = match several {
        // Two rows of one name are told apart by it.
        true => format!("{} #{}", component.name, component.generation),
        false => component.name.clone(),
    };
    let failure = component.last_failure.as_ref().map(|failure| format!("last failure: {failure}"));
    let says: Vec<String> =
        component.line.iter().filter(|line| !line.is_empty()).cloned().chain(failure).collect();
    [
        name,
        component.kind.clone(),
        component.state.clone(),
        component.instances.to_string(),
        component.in_flight.to_string(),
        component.restarts.to_string(),
        span(component.uptime_ms),
        size(component.memory_bytes),
        says.join("; "),
    ]
    .map(|cell| one_line(&cell))
}

/// A time that is left: to the millisecond where that matters, else to the tenth of a second.
fn left_text(millis: u64) -> String {
    let rounded = if millis < 1000 { millis } else { millis - millis % 100 };
    format_duration(Duration::from_millis(rounded))
}

/// A time that has passed, in its two largest units.
fn span(millis: u64) -> String {
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
        status.components[1].in_flight = 12;
        let expected = "\
shop: running, ready, up 1d 1h, process 42, curfew 1.2.3
  component    kind  state    instances  in flight  restarts  uptime   memory  says
  web          http  running          2          0         0  3m 12s  1.5 MiB  ok [2J ; last failure: trapped
  a-long-name  http  running          2         12         0  3m 12s  1.5 MiB
";
        assert_eq!(text(&status), expected);
    }

    #[test]
    fn an_app_that_stops_says_whom_it_waits_for() {
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
        let text = text(&status);
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
        let text = text(&status);
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
        assert_eq!([0, 59_999, 60_000, 7_260_000, u64::MAX].map(span)[..4], ["0s", "59s", "1m 0s", "2h 1m"]);
    }
}
