//! The call of a guest's `handle` with one request. The answer goes its own way, as soon as the guest gives it.
//!
//! Invariant: when the call of a sync guest has returned, its answer has its end: its own, or an error.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;
use wasmtime::component::Accessor;
use wasmtime::{AsContextMut, Result};
use wasmtime_wasi_http::handler::{Prepared, Proxy, Request};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{WasiHttpView, p2};

use crate::runtime::State;
use crate::server::instance::{BodyError, OpenAnswers};
use crate::server::pool::GuestResponse;

/// The call of a sync guest returned, and no answer was given to the request with this number in its instance.
#[derive(Debug, thiserror::Error)]
#[error(
    "no answer to request {0} of an instance; if it only answers the first, set `instances = {{ requests = 1 }}`"
)]
pub(crate) struct NoAnswer(u64);

type Reply = oneshot::Sender<GuestResponse>;

/// The answer of a guest, as far as its instance is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Well,
    /// By no answer, a part of one, or an internal error. The next answer of the instance would be none, too, and, given at once,
    /// would draw the load of all others to it.
    Badly,
}

/// Has a guest handle the request with this number in its instance. Returns when its call has returned. `answers` has the answer
/// then.
///
/// # Errors
/// A trap or an exit of the guest.
///
/// # Cancel safety
/// None: drop the store, too.
pub(crate) async fn call(
    accessor: &Accessor<State>,
    proxy: &Proxy,
    request: Request,
    reply: Reply,
    answers: &Arc<OpenAnswers>,
    number: u64,
) -> Result<Answered> {
    if let Proxy::P2(guest) = proxy {
        return call_sync(accessor, guest, request, reply, answers, number).await;
    }
    let (answer, answered) = oneshot::channel();
    let prepared = accessor
        .with(|mut store| Prepared::new(store.as_context_mut(), proxy, request, State::http, answer))?;
    prepared.run(accessor, pending()).await?;
    if let Ok(answer) = answered.await {
        // The client can have left.
        let _left = reply.send(answer.map(|answer| answers.track(answer)));
    }
    Ok(Answered::Well)
}

async fn call_sync(
    accessor: &Accessor<State>,
    guest: &p2::bindings::Proxy,
    request: Request,
    reply: Reply,
    answers: &Arc<OpenAnswers>,
    number: u64,
) -> Result<Answered> {
    let handle = guest.wasi_http_incoming_handler().func_handle();
    let outcome = Arc::new(Mutex::new(SyncAnswer { reply: Some(reply), is_fault: false }));
    let (answered, its) = (outcome.clone(), answers.clone());
    let set = move |answer: Result<_, ErrorCode>| {
        let mut outcome = answered.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.is_fault = matches!(answer, Err(ErrorCode::InternalError(_)));
        if let Some(reply) = outcome.reply.take() {
            // The client can have left.
            let _left = reply.send(answer.map(|answer| its.track(answer)).map_err(Into::into));
        }
    };
    let call = accessor.with(|mut store| {
        let mut http = store.get().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let out = http.new_response_outparam_from_callback(set)?;
        handle.start_call_concurrent(store.as_context_mut(), (request, out))
    })?;
    handle.finish_call_concurrent(accessor, call).await?;
    // Nothing of the guest runs any more.
    let all_whole = answers.seal(|| BodyError::Unfinished);
    let (reply, is_fault) = {
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        (outcome.reply.take(), outcome.is_fault)
    };
    let is_bad = reply.is_some() || is_fault || !all_whole;
    if let Some(reply) = reply {
        let _left = reply.send(Err(NoAnswer(number).into()));
    }
    Ok(if is_bad { Answered::Badly } else { Answered::Well })
}

/// The answer of a sync guest: it is given in the middle of its call.
struct SyncAnswer {
    /// The way to the client, until it is given.
    reply: Option<Reply>,
    /// It is an internal error of the guest.
    is_fault: bool,
}
