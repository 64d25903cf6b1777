//! A snapshot as Prometheus reads it. `docs/metrics.md` lists every name, and a test compares the two.
//!
//! Invariant: a name carries its unit; counters end in `_total`; a family without samples is left out, since the
//! format has no way to say it.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};
use prometheus::{TEXT_FORMAT, TextEncoder};

use super::metrics::{ComponentMetrics, Durations, Times};
use super::request::Snapshot;
use crate::server::http::{BUCKETS_MICROS, CLASSES, ENDS};

/// The type of the text, for the head of an answer.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// The labels of a sample.
type Labels<'a> = &'a [(&'static str, &'a str)];

/// Returns the text.
///
/// # Errors
/// None that can happen: no family is empty and no name invalid.
pub fn text(snapshot: &Snapshot) -> prometheus::Result<String> {
    let mut families = app(snapshot);
    families.extend(requests(&snapshot.metrics.components));
    families.extend(connections(&snapshot.metrics.components));
    families.extend(components(&snapshot.metrics.components));
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&families)
}

fn app(Snapshot { status, metrics }: &Snapshot) -> Vec<MetricFamily> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let build: Labels =
        &[("version", status.version.as_str()), ("arch", std::env::consts::ARCH), ("profile", profile)];
    let last_ok = status.last_reload.as_ref().is_none_or(|last| last.ok);
    let reloads = [
        counter(&[("result", "ok")], metrics.reloads_ok),
        counter(&[("result", "failed")], metrics.reloads_failed),
    ];
    let flag = |on: bool| [gauge(&[], f64::from(u8::from(on)))];
    let running = status.level == "running";
    vec![
        gauges("curfew_build_info", "What this curfew is; always 1.", [gauge(build, 1.0)]),
        gauges("curfew_app_info", "The app's name; always 1.", [gauge(&[("app", &status.app)], 1.0)]),
        gauges(
            "curfew_uptime_seconds",
            "Time since the app's start.",
            [gauge(&[], seconds(status.uptime_ms))],
        ),
        gauges("curfew_ready", "1 if the app takes work, else 0.", flag(status.ready)),
        gauges("curfew_stopping", "1 from the cause of a stop on, else 0.", flag(!running)),
        counters("curfew_reloads_total", "Reloads that have ended, by their result.", reloads),
        gauges("curfew_last_reload_successful", "0 if the last reload failed, else 1.", flag(last_ok)),
        counters(
            "curfew_log_lines_dropped_total",
            "Lines of the log and the access log that nobody read in time.",
            [counter(&[], metrics.log_lines_dropped)],
        ),
    ]
}

fn requests(components: &[ComponentMetrics]) -> [MetricFamily; 3] {
    let counted = || components.iter().filter_map(|one| Some((one.name.as_str(), one.requests.as_ref()?)));
    let by_class = counted().flat_map(|(name, requests)| {
        CLASSES
            .iter()
            .zip(requests.classes)
            .map(move |(class, count)| counter(&[("component", name), ("class", class)], count))
    });
    let aborted = counted().map(|(name, requests)| counter(&[("component", name)], requests.aborted));
    let durations = counted().map(|(name, requests)| histogram(name, &requests.durations));
    [
        counters(
            "curfew_requests_total",
            "Requests that have ended, by the class of their answer.",
            by_class,
        ),
        counters(
            "curfew_requests_aborted_total",
            "Answers that broke off because their instance failed or was cut off.",
            aborted,
        ),
        family(
            "curfew_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            MetricType::HISTOGRAM,
            durations,
        ),
    ]
}

fn connections(components: &[ComponentMetrics]) -> [MetricFamily; 2] {
    let counted = || components.iter().filter_map(|one| Some((one.name.as_str(), one.connections.as_ref()?)));
    let by_end = counted().flat_map(|(name, connections)| {
        ENDS.iter()
            .zip(connections.ends)
            .map(move |(end, count)| counter(&[("component", name), ("end", end)], count))
    });
    let durations = counted().map(|(name, connections)| histogram(name, &connections.durations));
    [
        counters("curfew_connections_total", "Connections that have ended, by how they did.", by_end),
        family(
            "curfew_connection_duration_seconds",
            "Time from a connection's acceptance to its end.",
            MetricType::HISTOGRAM,
            durations,
        ),
    ]
}

fn components(all: &[ComponentMetrics]) -> Vec<MetricFamily> {
    let counts = |name, help, count: fn(&ComponentMetrics) -> u64| {
        counters(name, help, all.iter().map(|one| counter(&[("component", &one.name)], count(one))))
    };
    let levels = |name, help, level: fn(&ComponentMetrics) -> u64| {
        gauges(name, help, all.iter().map(|one| gauge(&[("component", &one.name)], level(one) as f64)))
    };
    let times = |name, help, times: fn(&ComponentMetrics) -> Times| {
        family(name, help, MetricType::SUMMARY, all.iter().map(|one| summary(&one.name, times(one))))
    };
    let kinds = all.iter().map(|one| gauge(&[("component", &one.name), ("kind", &one.kind)], 1.0));
    vec![
        gauges("curfew_component_info", "The kind of each component; always 1.", kinds),
        levels("curfew_in_flight", "Requests or connections under way; of a service its `run`.", |one| {
            one.in_flight
        }),
        levels("curfew_instances", "Instances that are alive.", |one| one.instances),
        counts("curfew_instances_started_total", "Instances that were started.", |one| one.instances_started),
        counts("curfew_restarts_total", "Restarts after a failure or an end, or by an operator.", |one| {
            one.restarts
        }),
        counts(
            "curfew_traps_total",
            "Instances that trapped, exited with an error, or could not start.",
            |one| one.traps,
        ),
        counts("curfew_cut_offs_total", "Times that it was cut off.", |one| one.cut_offs),
        times("curfew_drain_seconds", "From the notice until nothing was in flight any more.", |one| {
            one.drain
        }),
        times("curfew_hook_seconds", "Time that its hook took.", |one| one.hook),
        counts("curfew_output_lines_dropped_total", "Lines of its output that nobody read in time.", |one| {
            one.dropped_lines
        }),
        levels("curfew_memory_bytes", "Linear memory of its instances.", |one| one.memory_bytes),
    ]
}

fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: impl IntoIterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.into_iter().collect());
    family
}

fn counters(name: &str, help: &str, metrics: impl IntoIterator<Item = Metric>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, metrics)
}

fn gauges(name: &str, help: &str, metrics: impl IntoIterator<Item = Metric>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, metrics)
}

fn counter(labels: Labels<'_>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Labels<'_>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

fn histogram(component: &str, durations: &Durations) -> Metric {
    let mut below = 0;
    let bounds = BUCKETS_MICROS.iter().zip(durations.buckets);
    let buckets = bounds.map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(durations.buckets.iter().sum());
    histogram.set_sample_sum(durations.micros as f64 / 1e6);
    let mut metric = Metric::from_label(pairs(&[("component", component)]));
    metric.set_histogram(histogram);
    metric
}

fn summary(component: &str, times: Times) -> Metric {
    let mut summary = Summary::default();
    summary.set_sample_count(times.count);
    summary.set_sample_sum(times.total.as_secs_f64());
    let mut metric = Metric::from_label(pairs(&[("component", component)]));
    metric.set_summary(summary);
    metric
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pair = |(name, value): &(&'static str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

#[cfg(test)]
mod tests;
