//! Kind `http` as data.

use crate::plan::{ComponentPlan, HookTiming, OnEnd};
use crate::runtime::{ExportSpec, Hearing, Kind, Refusal, Words};
use crate::server::generation::Protocol;
use crate::server::generation::stats::REQUEST;
use crate::server::instance::HandlerIndex;

const fn handler(interface: &'static str, generations: &'static [u64]) -> ExportSpec {
    ExportSpec {
        interface,
        function: "handle",
        generations,
        // `check_export` says what is wrong.
        fits: |_| true,
        form: "build it for `wasi:http` 0.2.x or 0.3.x as it was published",
    }
}

/// Kind `http`.
pub(crate) static HTTP: Kind = Kind {
    name: "http",
    handles: "wasi:http",
    exports: &[handler("wasi:http/incoming-handler", &[2]), handler("wasi:http/handler", &[3])],
    is_program: false,
    is_pooled: true,
    shares_addresses: true,
    has_default_address: true,
    hook: HookTiming::AfterDrain,
    concurrency: 64,
    fresh_instances: true,
    on_failure: OnEnd::Restart,
    check_export: |pre, version| HandlerIndex::http(pre, version).map(drop),
    check_plan: |plan| needs_address("http", plan),
    delivery,
    words: HANDLER_WORDS,
};

/// The protocol that the host speaks for it.
pub(crate) static PROTOCOL: Protocol = Protocol {
    kind: &HTTP,
    schemes: ["http", "https"],
    alpn: &[b"h2", b"http/1.1"],
    unit: &REQUEST,
    handler: |loaded| HandlerIndex::http(loaded.component()?.0, &loaded.run.version),
    liveness: super::health::liveness,
};

/// The words for all kinds that the host listens for.
pub(crate) const HANDLER_WORDS: Words = Words {
    export: "handler",
    in_flight: "requests",
    behind: "instances",
    in_flight_subject: "requests",
    behind_subject: "an instance",
    not_started: "it took no requests",
    ready: "when it listens and its first instance has started",
};

/// Refuses a plan that gives a component of a kind that the host listens for no address.
pub(crate) fn needs_address(kind: &str, plan: &ComponentPlan) -> Result<(), Refusal> {
    match plan.http.listen.is_empty() {
        false => Ok(()),
        true => Err(Refusal::new(
            format!("it is of kind `{kind}`, and no address is given to listen on for it"),
            "write `listen = [\"127.0.0.1:8080\"]` in the manifest, or run a single file with `--listen 127.0.0.1:8080`",
        )
        .about("listen")),
    }
}

fn delivery(hearing: Hearing) -> &'static str {
    match (hearing.hook, hearing.is_async) {
        (None, _) => "there is no hook: an instance ends when its requests are answered",
        (Some(HookTiming::AtStart), _) => "the hook is called in each instance at once, next to its requests",
        (Some(HookTiming::AfterDrain), true) => {
            "the hook is called in each instance when its requests are answered, or next to them after half the grace"
        }
        (Some(HookTiming::AfterDrain), false) => {
            "the hook is called in each instance when its request is answered"
        }
    }
}
