//! Kind `service` as data.

use wasmtime::component::Type;
use wasmtime::component::types::ComponentFunc;

use crate::plan::{HookTiming, OnEnd};
use crate::runtime::{ExportSpec, Hearing, Kind, Refusal, Words};

/// Kind `service`.
pub(crate) static SERVICE: Kind = Kind {
    name: "service",
    handles: "wasi:cli/run",
    exports: &[ExportSpec {
        interface: "wasi:cli/run",
        function: "run",
        generations: &[2, 3],
        fits: is_run,
        form: "its WIT is not the published one: `run` has to be `func() -> result`, in 0.3 `async`",
    }],
    is_program: true,
    is_pooled: false,
    shares_addresses: true,
    has_default_address: false,
    hook: HookTiming::AtStart,
    concurrency: 1,
    fresh_instances: false,
    on_failure: OnEnd::StopApp,
    check_export: |_, _| Ok(()),
    check_plan: |plan| {
        match plan.http.listen.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(
            "it is of kind `service`, and `listen` is for kinds `http` and `tcp` only",
            "a service listens by itself: `network = { listen = [\"127.0.0.1:8080\"] }` in a manifest allows it to, or \
             `--allow-net` with a single file",
        )
        .about("listen")),
    }
    },
    delivery,
    words: Words {
        export: "run",
        in_flight: "run",
        behind: "work behind run",
        in_flight_subject: "its `run`",
        behind_subject: "work behind its `run`",
        not_started: "its `run` was not entered",
        ready: "when its `run` is entered",
    },
};

/// Returns true if a function is `func() -> result`.
fn is_run(func: &ComponentFunc) -> bool {
    let results: Vec<_> = func.results().collect();
    func.params().len() == 0
        && matches!(results.as_slice(), [Type::Result(result)] if result.ok().is_none() && result.err().is_none())
}

fn delivery(hearing: Hearing) -> &'static str {
    match (hearing.hook, hearing.is_async) {
        (Some(HookTiming::AtStart), _) => "the hook is called next to `run`, as soon as the guest awaits",
        (Some(HookTiming::AfterDrain), true) => "the hook is called when `run` has returned",
        (Some(HookTiming::AfterDrain), false) => {
            "a sync `run` cannot be entered: the hook is called when it has returned"
        }
        (None, _) if hearing.imports_host => "through the import; there is no hook",
        (None, _) => {
            "none: it ends with the last client of its own listeners, or with its input; else it is cut off"
        }
    }
}
