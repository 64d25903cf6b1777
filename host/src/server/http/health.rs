//! Health checks: the host sends a request of its own at intervals, through the same queue and instances as any other.
//!
//! Invariant: a failure is told once, after so many bad answers in a row as the plan says. A check counts as no request, except
//! for `instances.requests`: the instance has handled it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use tokio::time::{sleep, timeout};

use super::departure::{Unread, read_behind, read_on};
use crate::plan::HealthPlan;
use crate::server::generation::Liveness;
use crate::server::generation::generation::Generation;
use crate::server::pool::{Claim, Interest, Job, Pool, SubmitError, Work};
use crate::text::units::format_duration;

const AGENT: HeaderValue = HeaderValue::from_static("curfew-health");

/// Returns the checks of a generation with this plan.
pub(crate) fn liveness(plan: &HealthPlan, generation: &Arc<Generation>) -> Liveness {
    let ask = |path| ask_on(plan.clone(), path, generation.clone()).boxed().fuse();
    plan.path.clone().map_or_else(Liveness::terminated, ask)
}

async fn ask_on(plan: HealthPlan, path: String, generation: Arc<Generation>) -> String {
    let mut missed = 0;
    loop {
        sleep(plan.every).await;
        match ask(&path, plan.timeout, &generation.pool).await {
            Ok(()) => {
                missed = 0;
                generation.answered_well();
            }
            Err(what) => {
                missed += 1;
                tracing::debug!(path, missed, "health: {what}");
                if missed >= plan.failures.max(1) {
                    return format!("GET {path}: {what}, {missed} times in a row");
                }
            }
        }
    }
}

async fn ask(path: &str, limit: Duration, pool: &Arc<Pool>) -> Result<(), String> {
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(format!("http://localhost{path}"))
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, AGENT)
        .body(body)
        .map_err(|error| format!("the path cannot be asked for: {error}"))?;
    let (reply, mut answer) = oneshot::channel();
    let claim = Claim::check(pool);
    let interest = Interest(claim.clone());
    let job = Job { work: Work::Request(request, reply), claim, has_waited: false };
    pool.submit(None, job).map_err(|(refusal, _)| match refusal {
        SubmitError::QueueFull => "too many requests wait".to_owned(),
        SubmitError::Stopped | SubmitError::OutOfService => "it takes no requests".to_owned(),
    })?;
    let response = match timeout(limit, &mut answer).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(_)) | Err(_)) => return Err("no answer".to_owned()),
        Err(_late) => {
            // Its call holds a place in its instance for as long as it goes on.
            read_on(Unread::All(answer), &interest.0, Instant::now() + limit);
            return Err(format!("no answer within {}", format_duration(limit)));
        }
    };
    let status = response.status();
    // A sync guest traps when it writes an answer that is not read.
    read_behind(response.into_body());
    match status.is_server_error() {
        true => Err(format!("the answer is {status}")),
        false => Ok(()),
    }
}
