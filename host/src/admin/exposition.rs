//! The metrics of a [`Snapshot`] in Prometheus' text format, version 0.0.4, as `docs/metrics.md` lists them. Scrapers that do
//! not negotiate (Telegraf, older agents) do not read OpenMetrics.
//!
//! Invariant: a name carries its unit, and a family without samples is left out.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{ComponentMetrics, Times};
use super::process_metrics::ProcessMetrics;
use super::request::Snapshot;
use crate::server::{BUCKETS_MICROS, CLASSES, CONNECTION, ClientFault, ENDS, REQUEST, Unit};

pub(super) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Returns the text. Writing to a `String` cannot fail.
pub(super) fn encode(snapshot: Box<Snapshot>) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode_summaries(&mut text, &snapshot.metrics.components)?;
    let mut registry = Registry::default();
    registry.register_collector(snapshot);
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_app(&mut encoder, self)?;
        encode_process(&mut encoder, &ProcessMetrics::read())?;
        WORK.iter().try_for_each(|work| work.encode(&mut encoder, &self.metrics.components))?;
        encode_components(&mut encoder, &self.metrics.components)
    }
}

fn encode_app(encoder: &mut DescriptorEncoder<'_>, Snapshot { status, metrics }: &Snapshot) -> fmt::Result {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let build =
        [("version", status.version.as_str()), ("arch", std::env::consts::ARCH), ("profile", profile)];
    let app = [("app", status.app.as_str())];
    let uptime = status.uptime_ms as f64 / 1e3;
    let last_ok = status.last_reload.as_ref().is_none_or(|last| last.ok);
    let stopping = status.level != "running";
    let reloads =
        [([("result", "ok")], metrics.reloads_ok), ([("result", "failed")], metrics.reloads_failed)];
    gauges(encoder, ("curfew_build_info", "The version of curfew; always 1."), [(build, 1_u32)])?;
    gauges(encoder, ("curfew_app_info", "The app's name; always 1."), [(app, 1_u32)])?;
    gauges(encoder, ("curfew_uptime_seconds", "Time since the app's start."), [(NONE, uptime)])?;
    gauges(encoder, ("curfew_ready", "1 if the app is ready, else 0."), [(NONE, u32::from(status.ready))])?;
    gauges(encoder, ("curfew_stopping", "1 once a stop has begun, else 0."), [(NONE, u32::from(stopping))])?;
    counters(encoder, ("curfew_reloads", "Ended reloads, by their result."), reloads)?;
    let head = ("curfew_last_reload_successful", "0 if the last reload failed, else 1.");
    gauges(encoder, head, [(NONE, u32::from(last_ok))])?;
    let head =
        ("curfew_log_lines_dropped", "Lines of the log and the access log that were not read in time.");
    counters(encoder, head, [(NONE, metrics.log_lines_dropped)])
}

fn encode_process(encoder: &mut DescriptorEncoder<'_>, process: &ProcessMetrics) -> fmt::Result {
    let cpu = process.cpu_seconds.map(|seconds| (NONE, seconds));
    let head = ("process_cpu_seconds", "User and system CPU time of the process.");
    family(encoder, head, MetricType::Counter, cpu.into_iter(), |metric, seconds| {
        metric.encode_counter::<NoLabelSet, f64, f64>(&seconds, None)
    })?;
    for (head, value) in [
        (("process_open_fds", "Open descriptors."), process.open_fds),
        (("process_max_fds", "Limit of open descriptors."), process.max_fds),
        (("process_virtual_memory_bytes", "Virtual memory."), process.virtual_bytes),
        (("process_resident_memory_bytes", "Resident memory."), process.resident_bytes),
        (("process_threads", "Threads."), process.threads),
        (("process_start_time_seconds", "Start of the process, since 1970."), process.start_seconds),
    ] {
        gauges(encoder, head, value.map(|value| (NONE, value)))?;
    }
    Ok(())
}

/// Name and help text of a family.
type Head = (&'static str, &'static str);

/// The families of one unit of work. Only components that count in this unit have samples.
struct WorkFamilies {
    unit: &'static Unit,
    /// The label of [`ended`](Self::ended), and its values.
    label: (&'static str, &'static [&'static str]),
    ended: Head,
    duration: Head,
    aborted: Option<Head>,
}

static WORK: [WorkFamilies; 2] = [
    WorkFamilies {
        unit: &REQUEST,
        label: ("class", &CLASSES),
        ended: ("curfew_requests", "Ended requests, by the class of their status."),
        duration: ("curfew_request_duration_seconds", "Time from a request's head to the end of its answer."),
        aborted: Some((
            "curfew_requests_aborted",
            "Answers that were cut short because their instance failed or was cut off.",
        )),
    },
    WorkFamilies {
        unit: &CONNECTION,
        label: ("end", &ENDS),
        ended: ("curfew_connections", "Connections that have ended, by how they ended."),
        duration: ("curfew_connection_duration_seconds", "Time from a connection's acceptance to its end."),
        aborted: None,
    },
];

impl WorkFamilies {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, all: &[ComponentMetrics]) -> fmt::Result {
        let counted = all.iter().filter_map(|one| Some((component(one), one.work.get(self.unit.word)?)));
        let (label, ends) = self.label;
        let ended = counted.clone().flat_map(|([component], work)| {
            let count = move |end| work.ended.get(end).copied().unwrap_or_default();
            ends.iter().map(move |end| ([component, (label, *end)], count(end)))
        });
        counters(encoder, self.ended, ended)?;
        family(encoder, self.duration, MetricType::Histogram, counted.clone(), |metric, work| {
            let bounds = BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
            let buckets: Vec<(f64, u64)> = bounds.zip(work.buckets).collect();
            let count = work.buckets.iter().sum();
            metric.encode_histogram::<NoLabelSet>(work.micros as f64 / 1e6, count, &buckets, None)
        })?;
        let aborted = counted.map(|(component, work)| (component, work.aborted));
        self.aborted.map_or(Ok(()), |head| counters(encoder, head, aborted))
    }
}

fn encode_components(encoder: &mut DescriptorEncoder<'_>, all: &[ComponentMetrics]) -> fmt::Result {
    let kinds =
        all.iter().map(|one| ([("component", one.name.as_str()), ("kind", one.kind.as_str())], 1_u32));
    gauges(encoder, ("curfew_component_info", "The kind of each component; always 1."), kinds)?;
    let served = all.iter().filter(|one| !one.work.is_empty());
    let faults = served.flat_map(|one| {
        let count = |fault: ClientFault| one.client_faults.get(fault.word()).copied().unwrap_or_default();
        let [name] = component(one);
        ClientFault::ALL.map(|fault| ([name, ("reason", fault.word())], count(fault)))
    });
    counters(encoder, ("curfew_client_faults", "Faults of clients, by their reason."), faults)?;
    for (head, value) in GAUGES {
        gauges(encoder, head, all.iter().map(|one| (component(one), value(one))))?;
    }
    for (head, value) in COUNTERS {
        counters(encoder, head, all.iter().map(|one| (component(one), value(one))))?;
    }
    Ok(())
}

fn component(one: &ComponentMetrics) -> [(&'static str, &str); 1] {
    [("component", &one.name)]
}

type ComponentMetric<T> = (Head, fn(&ComponentMetrics) -> T);

const GAUGES: [ComponentMetric<u64>; 4] = [
    (("curfew_in_flight", "Requests or connections under way; of a service its `run`."), |one| one.in_flight),
    (("curfew_waiting", "Requests or connections that wait for an instance."), |one| one.waiting),
    (("curfew_instances", "Instances that are alive."), |one| one.instances),
    (("curfew_memory_bytes", "Linear memory of the instances."), |one| one.memory_bytes),
];

const COUNTERS: [ComponentMetric<u64>; 6] = [
    (("curfew_instances_started", "Instances that were started."), |one| one.instances_started),
    (("curfew_restarts", "Restarts after a failure or an end, or by an operator."), |one| one.restarts),
    (("curfew_traps", "Instances that trapped, exited with an error, or could not start."), |one| one.traps),
    (("curfew_cut_offs", "Times that the component was cut off."), |one| one.cut_offs),
    (("curfew_connections_turned_away", "Connections that a stop closed without an answer."), |one| {
        one.turned_away
    }),
    (("curfew_output_lines_dropped", "Lines of output that were not read in time."), |one| one.dropped_lines),
];

const SUMMARIES: [ComponentMetric<Times>; 2] = [
    (("curfew_drain_seconds", "From the notice until nothing was in flight any more."), |one| one.drain),
    (("curfew_hook_seconds", "Time that the hook took."), |one| one.hook),
];

const NONE: [(&str, &str); 0] = [];

/// Writes one family: its head, then a sample for each label set.
fn family<L: EncodeLabelSet, V>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Head,
    kind: MetricType,
    samples: impl Iterator<Item = (L, V)>,
    encode: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
) -> fmt::Result {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    samples.try_for_each(|(labels, value)| encode(&mut family.encode_family(&labels)?, value))
}

/// Writes counters. The encoder adds `_total` to the name.
fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    head: Head,
    samples: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    family(encoder, head, MetricType::Counter, samples.into_iter(), |metric, value| {
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    })
}

fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    head: Head,
    samples: impl IntoIterator<Item = (L, V)>,
) -> fmt::Result {
    let encode = |metric: &mut MetricEncoder<'_>, value| metric.encode_gauge(&value);
    family(encoder, head, MetricType::Gauge, samples.into_iter(), encode)
}

/// Writes the summaries, which `prometheus-client` does not have. Names of components need no escapes.
fn encode_summaries(text: &mut String, components: &[ComponentMetrics]) -> fmt::Result {
    for ((name, help), times) in SUMMARIES {
        for (place, component) in components.iter().enumerate() {
            if place == 0 {
                write!(text, "# HELP {name} {help}\n# TYPE {name} summary\n")?;
            }
            let (Times { count, total }, component) = (times(component), &component.name);
            writeln!(text, "{name}_sum{{component=\"{component}\"}} {}", total.as_secs_f64())?;
            writeln!(text, "{name}_count{{component=\"{component}\"}} {count}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
