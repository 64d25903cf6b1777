//! The table at the end: one row a component.

use super::Report;
use crate::text::table::aligned;

const HEAD: [&str; 6] = ["component", "outcome", "drain", "hook", "in flight", "detail"];

/// Returns the table, with a line above it that names the cause and the exit code.
pub fn table(report: &Report) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    for component in &report.components {
        let hook = match (component.hook_ms, component.hook) {
            (Some(ms), "ok") => format!("{ms} ms"),
            (Some(ms), other) => format!("{other}, {ms} ms"),
            (None, "none" | "not-called") => "-".to_owned(),
            (None, other) => other.to_owned(),
        };
        let asked = component.in_flight_asked.map_or("-".to_owned(), |asked| asked.to_string());
        let mut detail: Vec<String> = component.detail.iter().cloned().collect();
        if component.restarts > 0 {
            let plural = if component.restarts == 1 { "" } else { "s" };
            detail.push(format!("{} restart{plural}", component.restarts));
        }
        if let Some(http) = &component.http {
            let plural = if http.requests == 1 { "" } else { "s" };
            detail.push(format!("{} {}{plural}", http.requests, component.unit));
        }
        if component.dropped_lines > 0 {
            detail.push(format!("{} lines dropped", component.dropped_lines));
        }
        rows.push([
            match component.replaced {
                true => format!("{} (generation {})", component.name, component.generation),
                false => component.name.clone(),
            },
            component.outcome.to_owned(),
            component.drain_ms.map_or("-".to_owned(), |ms| format!("{ms} ms")),
            hook,
            format!("{asked} > {}", component.in_flight_ended),
            detail.join("; "),
        ]);
    }
    let cause = report.cause.as_ref().map_or("everything ended".to_owned(), ToString::to_string);
    let mut text = format!("{}: {cause}; exit code {}\n", report.app, report.exit_code);
    text.push_str(&aligned(&rows, 2, [false; 6]));
    text
}
