//! The text, read back by a strict parser of the format (version 0.0.4), and compared with the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{LastReload, Metrics, Status, WorkMetrics};
use super::*;

const DOC: &str = include_str!("../../../../docs/metrics.md");

/// A family: its type, and its samples by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<(String, String), f64>,
    labels: BTreeSet<String>,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

/// Reads `name="value",…`, and returns the names.
fn labels(mut text: &str) -> Vec<String> {
    let mut names = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap();
        assert!(is_name(name), "{name:?}");
        names.push(name.to_owned());
        let mut escaped = false;
        let end = rest.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        text = &rest[end.unwrap() + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    names
}

/// Reads the whole text; anything that the format does not allow fails.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends as well");
    let mut families = BTreeMap::<String, Family>::new();
    let (mut helped, mut current) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && !families.contains_key(name), "{line}");
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(is_name(name) && name == helped, "{line}");
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
            current = name.to_owned();
            families.insert(current.clone(), Family { kind: kind.to_owned(), ..Family::default() });
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, inside) = match sample.split_once('{') {
                Some((name, rest)) => (name, rest.strip_suffix('}').unwrap()),
                None => (sample, ""),
            };
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} in {current}"));
            let allowed: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line}");
            let names = labels(inside);
            assert_eq!(names.contains(&"le".to_owned()), suffix == "_bucket", "{line}");
            family.labels.extend(names.into_iter().filter(|name| name != "le"));
            let value = value.parse().unwrap();
            let twice = family.samples.insert((name.to_owned(), inside.to_owned()), value);
            assert_eq!(twice, None, "{line}");
        }
    }
    families
}

/// Everything that there can be, for three components.
fn full() -> Snapshot {
    let mut requests = WorkMetrics { micros: 1_500_040, ..Default::default() };
    (requests.buckets[0], requests.buckets[22], requests.buckets[30]) = (1, 1, 1);
    let mut connections = requests.clone();
    connections.ended = BTreeMap::from([("complete", 2), ("client-left", 1)]);
    (requests.aborted, requests.ended) = (1, BTreeMap::from([("2xx", 2), ("5xx", 1)]));
    let mut web = ComponentMetrics { name: "web".into(), kind: "http".into(), ..Default::default() };
    web.work.insert("request", requests);
    web.hook.add(Duration::from_millis(1500));
    web.hook.add(Duration::from_millis(250));
    let clock =
        ComponentMetrics { name: "clock".into(), kind: "service".into(), in_flight: 1, ..Default::default() };
    let mut echo = ComponentMetrics { name: "echo".into(), kind: "tcp".into(), ..Default::default() };
    echo.work.insert("connection", connections);
    let status = Status {
        app: "a \"quoted\"\\ shop".into(),
        version: "1.2.3".into(),
        level: "running".into(),
        ready: true,
        uptime_ms: 1500,
        last_reload: Some(LastReload { ok: false, ..Default::default() }),
        ..Default::default()
    };
    let metrics = Metrics { components: vec![web, clock, echo], reloads_failed: 3, ..Default::default() };
    Snapshot { status, metrics }
}

#[test]
fn the_format_holds_and_the_figures_are_right() {
    let text = encode(Box::new(full())).unwrap();
    let families = parse(&text);
    let sample = |family: &str, name: &str, labels: &str| {
        let found = families[family].samples.get(&(name.to_owned(), labels.to_owned()));
        *found.unwrap_or_else(|| panic!("{name}{{{labels}}} in\n{text}"))
    };
    let plain = |name: &str, labels: &str| sample(name, name, labels);
    assert_eq!(plain("curfew_uptime_seconds", ""), 1.5);
    assert_eq!(plain("curfew_ready", ""), 1.0);
    assert_eq!(plain("curfew_stopping", ""), 0.0);
    assert_eq!(plain("curfew_last_reload_successful", ""), 0.0);
    assert_eq!(plain("curfew_reloads_total", "result=\"failed\""), 3.0);
    assert_eq!(plain("curfew_app_info", r#"app="a \"quoted\"\\ shop""#), 1.0);
    assert_eq!(plain("curfew_requests_total", "component=\"web\",class=\"2xx\""), 2.0);
    assert_eq!(plain("curfew_requests_total", "component=\"web\",class=\"none\""), 0.0);
    assert_eq!(plain("curfew_in_flight", "component=\"clock\""), 1.0);
    assert_eq!(plain("curfew_connections_total", "component=\"echo\",end=\"complete\""), 2.0);
    assert_eq!(plain("curfew_connections_total", "component=\"echo\",end=\"cut-short\""), 0.0);
    let lives = "curfew_connection_duration_seconds";
    assert_eq!(sample(lives, &format!("{lives}_sum"), "component=\"echo\""), 1.50004);
    let of_requests = families.keys().filter(|name| name.starts_with("curfew_request"));
    let of_requests = of_requests.flat_map(|name| families[name].samples.keys());
    assert!(!of_requests.map(|(_, labels)| labels).any(|labels| labels.contains("echo")), "{text}");
    let duration = |suffix: &str, labels: &str| {
        let name = "curfew_request_duration_seconds";
        sample(name, &format!("{name}{suffix}"), labels)
    };
    assert_eq!(duration("_bucket", "component=\"web\",le=\"5e-05\""), 1.0);
    assert_eq!(duration("_bucket", "component=\"web\",le=\"1.25\""), 2.0 - 1.0 + 1.0);
    assert_eq!(duration("_bucket", "component=\"web\",le=\"32\""), 2.0);
    assert_eq!(duration("_bucket", "component=\"web\",le=\"+Inf\""), 3.0);
    assert_eq!(
        (duration("_count", "component=\"web\""), duration("_sum", "component=\"web\"")),
        (3.0, 1.50004)
    );
    assert_eq!(sample("curfew_hook_seconds", "curfew_hook_seconds_sum", "component=\"web\""), 1.75);
    assert_eq!(sample("curfew_hook_seconds", "curfew_hook_seconds_count", "component=\"web\""), 2.0);
}

#[test]
fn an_app_of_services_alone_has_no_empty_family() {
    let mut snapshot = full();
    snapshot.metrics.components.retain(|component| component.kind == "service");
    let families = parse(&encode(Box::new(snapshot.clone())).unwrap());
    assert!(
        !families.contains_key("curfew_requests_total") && !families.contains_key("curfew_connections_total")
    );
    assert!(families.values().all(|family| !family.samples.is_empty()));
    snapshot.metrics.components.clear();
    parse(&encode(Box::new(snapshot.clone())).unwrap());
}

/// `docs/metrics.md` has a row for each: name, type, labels.
#[test]
fn the_documentation_lists_exactly_what_is_written() {
    let written: BTreeSet<String> = parse(&encode(Box::new(full())).unwrap())
        .into_iter()
        .map(|(name, family)| {
            let labels: Vec<String> = family.labels.into_iter().collect();
            format!("{name} {} {}", family.kind, labels.join(", "))
        })
        .collect();
    let documented: BTreeSet<String> = DOC
        .lines()
        .filter(|line| line.starts_with("| `curfew_") || line.starts_with("| `process_"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let mut labels: Vec<&str> = cells[3].split(", ").collect();
            labels.sort_unstable();
            format!("{} {} {}", cells[1].replace('`', ""), cells[2], labels.join(", ").replace('`', ""))
        })
        .collect();
    assert_eq!(documented, written);
}

#[test]
fn names_carry_their_units_and_counters_end_in_total() {
    for (name, family) in parse(&encode(Box::new(full())).unwrap()) {
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
        let timed = matches!(family.kind.as_str(), "histogram" | "summary");
        assert!(!timed || name.ends_with("_seconds"), "{name}");
    }
}

#[test]
fn the_page_names_each_fault_of_clients() {
    for fault in ClientFault::ALL {
        assert!(DOC.contains(&format!("\n| `{}` |", fault.word())), "{fault:?}");
    }
}
