//! Kind `tcp` as data.

use wasmtime::component::Type;
use wasmtime::component::types::ComponentFunc;

use crate::plan::schema::KeyGroup;
use crate::plan::{ComponentPlan, HookTiming, OnEnd};
use crate::runtime::{ExportSpec, Hearing, Kind, Refusal};
use crate::server::generation::stats::CONNECTION;
use crate::server::generation::{Liveness, Protocol};
use crate::server::http::kind::{HANDLER_WORDS, needs_address};
use crate::server::instance::HandlerIndex;

/// Kind `tcp`.
pub(crate) static TCP: Kind = Kind {
    name: "tcp",
    handles: "curfew:lifecycle/tcp-handler",
    exports: &[ExportSpec {
        interface: "curfew:lifecycle/tcp-handler",
        function: "handle",
        generations: &[3],
        fits: is_tcp_handler,
        form: "it has to be `async func(peer: string, input: stream<u8>) -> stream<u8>`, as in curfew's wit/0.3",
    }],
    is_program: false,
    is_pooled: true,
    // A connection has no routes.
    shares_addresses: false,
    has_default_address: false,
    hook: HookTiming::AfterDrain,
    concurrency: 512,
    fresh_instances: false,
    on_failure: OnEnd::Restart,
    check_export: |_, _| Ok(()),
    check_plan,
    delivery,
    words: HANDLER_WORDS,
};

/// The host moves the bytes of a connection. Only the guest knows their protocol.
pub(crate) static PROTOCOL: Protocol = Protocol {
    kind: &TCP,
    schemes: ["tcp", "tls"],
    alpn: &[],
    unit: &CONNECTION,
    handler: |loaded| Ok(HandlerIndex::Tcp(loaded.component()?.1)),
    liveness: |_, _| Liveness::terminated(),
};

/// Returns true if a function is `async func(string, stream<u8>) -> stream<u8>`.
fn is_tcp_handler(func: &ComponentFunc) -> bool {
    let is_bytes = |ty: &Type| matches!(ty, Type::Stream(stream) if stream.ty() == Some(Type::U8));
    let params: Vec<_> = func.params().map(|(_, ty)| ty).collect();
    let results: Vec<_> = func.results().collect();
    func.async_()
        && matches!(params.as_slice(), [Type::String, input] if is_bytes(input))
        && matches!(results.as_slice(), [output] if is_bytes(output))
}

fn check_plan(plan: &ComponentPlan) -> Result<(), Refusal> {
    needs_address("tcp", plan)?;
    match plan.key_beyond(&[KeyGroup::Listen]) {
        None => Ok(()),
        Some(key) => Err(Refusal::new(
            format!("it is of kind `tcp`, and `{key}` is for kind `http` only"),
            "leave it out: a connection has no requests, the host passes on its bytes as they are",
        )
        .about(key)),
    }
}

/// A handler of connections is always async.
fn delivery(hearing: Hearing) -> &'static str {
    match hearing.hook {
        None => "its connections' inputs end; there is no hook: an instance ends when they are closed",
        Some(HookTiming::AtStart) => {
            "its connections' inputs end; the hook is called in each instance at once, next to them"
        }
        Some(HookTiming::AfterDrain) => {
            "its connections' inputs end; the hook is called in each instance when they are closed, or next to them \
             after half the grace"
        }
    }
}
