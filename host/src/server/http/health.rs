//! Health checks: the host sends a request of its own at intervals, through the same queue and instances as any other.
//!
//! Invariant: it is told once, after so many bad answers in a row as the plan says; and it leaves nothing behind but what
//! any client that leaves does.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::oneshot;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use tokio::time::{sleep, timeout};

use super::body::sink;
use super::request::retire_at;
use crate::plan::HealthPlan;
use crate::server::pool::{Claim, Interest, Job, Pool, SubmitError, Work};
use crate::text::units::format_duration;

/// The client's name, as the guest sees it.
const AGENT: HeaderValue = HeaderValue::from_static("curfew-health");

/// See the module's documentation.
pub(crate) struct Health(Option<Pin<Box<dyn Future<Output = String> + Send>>>);

impl Health {
    /// Returns what asks a component, if its plan says so.
    pub(crate) fn new(plan: Option<&HealthPlan>, pool: Arc<Pool>) -> Self {
        let asked = plan.and_then(|plan| Some((plan.clone(), plan.path.clone()?)));
        Self(asked.map(|(plan, path)| Box::pin(ask_on(plan, path, pool)) as _))
    }

    /// Returns what asks nobody.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Returns what is wrong, once it is; only once.
    ///
    /// # Cancel safety
    /// Can be dropped and called again. While it is not called, nobody is asked.
    pub(crate) async fn failed(&mut self) -> String {
        let Some(asking) = self.0.as_mut() else { return std::future::pending().await };
        let what = asking.await;
        self.0 = None;
        what
    }
}

async fn ask_on(plan: HealthPlan, path: String, pool: Arc<Pool>) -> String {
    let mut missed = 0;
    loop {
        sleep(plan.every).await;
        match ask(&path, plan.timeout, &pool).await {
            Ok(()) => missed = 0,
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

/// Asks once.
async fn ask(path: &str, limit: Duration, pool: &Arc<Pool>) -> Result<(), String> {
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(format!("http://localhost{path}"))
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, AGENT)
        .body(body)
        .map_err(|error| format!("the path cannot be asked for: {error}"))?;
    let (reply, answer) = oneshot::channel();
    let claim = Claim::new(pool);
    let interest = Interest(claim.clone());
    pool.submit(None, Job { work: Work::Request(request, reply), claim, has_waited: false }).map_err(
        |(refusal, _)| match refusal {
            SubmitError::QueueFull => "too many requests wait".to_owned(),
            SubmitError::Stopped => "it takes no requests".to_owned(),
        },
    )?;
    let response = match timeout(limit, answer).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(_)) | Err(_)) => return Err("no answer".to_owned()),
        Err(_late) => {
            // Its call holds a place in its instance for as long as it goes on.
            retire_at(Instant::now() + limit, pool, &interest);
            return Err(format!("no answer within {}", format_duration(limit)));
        }
    };
    let status = response.status();
    // A sync guest that writes to nobody would trap, also when nobody asks any more.
    tokio::spawn(sink(response.into_body()));
    match status.is_server_error() {
        true => Err(format!("the answer is {status}")),
        false => Ok(()),
    }
}
