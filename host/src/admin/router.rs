//! Which request means which question, and what is answered.
//!
//! Invariant: orders are taken on the control socket only. Whatever the app's owner does, a question that can be
//! answered at once is answered within [`PATIENCE`], and `/livez` without asking anybody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::exposition;
use super::request::{Operator, OperatorAnswer, OperatorRequest, Refusal, RefusalKind, Snapshot};
use crate::text::sanitize;

/// Longest wait for the control thread where there is nothing to wait for but its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request's body. They mean nothing: clients send one now and then all the same.
const BODY_BYTES: usize = 64 << 10;
/// How long a body may take to come in.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// What a client can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It sees.
    Admin,
    /// It sees, and gives orders.
    Control,
}

/// An answer to a client.
pub type Reply = Response<Full<Bytes>>;

/// Where requests are answered.
pub struct Router {
    operator: Arc<dyn Operator>,
    closing: watch::Receiver<bool>,
}

/// Why a request means nothing.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    told: String,
    /// What it takes, where that is a matter of the method.
    allow: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, told: impl Into<String>) -> Self {
        Self { status, told: told.into(), allow: None }
    }

    fn reply(self) -> Reply {
        let mut reply = error(self.status, &self.told);
        if let Some(methods) = self.allow {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        reply
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    Livez,
    Readyz,
    Status,
    Metrics,
    Stop { component: Option<&'a str>, now: bool },
    Reload,
    Restart { component: &'a str },
}

impl Router {
    /// Returns a router that asks this operator until `closing` says true.
    pub fn new(operator: Arc<dyn Operator>, closing: watch::Receiver<bool>) -> Self {
        Self { operator, closing }
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>, scope: Scope) -> Reply
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        if let Err(problem) = discard(body).await {
            return problem.reply();
        }
        match wish(&head.method, &head.uri, scope) {
            Ok(wish) => self.grant(wish).await,
            Err(problem) => problem.reply(),
        }
    }

    async fn grant(&self, wish: Wish<'_>) -> Reply {
        match wish {
            Wish::Livez => text(StatusCode::OK, "text/plain; charset=utf-8", "alive\n".to_owned()),
            Wish::Readyz => self.snapshot(|snapshot| ready(&snapshot)).await,
            Wish::Status => self.snapshot(|snapshot| status(&snapshot)).await,
            Wish::Metrics => self.snapshot(metrics).await,
            Wish::Stop { component, now } => {
                let component = component.map(str::to_owned);
                self.order(|answer| OperatorRequest::Stop { component, now, answer }).await
            }
            Wish::Reload => self.order(OperatorRequest::Reload).await,
            Wish::Restart { component } => {
                let component = component.to_owned();
                self.order(|answer| OperatorRequest::Restart { component, answer }).await
            }
        }
    }

    async fn snapshot(&self, tell: impl FnOnce(Box<Snapshot>) -> Reply) -> Reply {
        match timeout(PATIENCE, self.ask(OperatorRequest::Snapshot)).await {
            Ok(Some(snapshot)) => tell(snapshot),
            Ok(None) => error(StatusCode::SERVICE_UNAVAILABLE, "the app has ended"),
            Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, "the control thread does not answer"),
        }
    }

    async fn order(
        &self,
        question: impl FnOnce(oneshot::Sender<OperatorAnswer>) -> OperatorRequest,
    ) -> Reply {
        match self.ask(question).await {
            Some(Ok(done)) => document(StatusCode::OK, &json!({ "done": done })),
            Some(Err(Refusal { why, text })) => {
                let status = match why {
                    RefusalKind::Stopping | RefusalKind::Busy => StatusCode::CONFLICT,
                    RefusalKind::Unknown => StatusCode::NOT_FOUND,
                    RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
                };
                error(status, &text)
            }
            None => error(StatusCode::SERVICE_UNAVAILABLE, "the app ended before this was done"),
        }
    }

    /// Returns what was answered, or nothing if there will never be an answer.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> OperatorRequest) -> Option<T> {
        let (answer, mut answered) = oneshot::channel();
        self.operator.ask(question(answer));
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            answer = &mut answered => answer.ok(),
            _ = closing.wait_for(|closes| *closes) => answered.try_recv().ok(),
        }
    }
}

fn wish<'a>(method: &Method, uri: &'a http::Uri, scope: Scope) -> Result<Wish<'a>, Problem> {
    let (wish, is_order) = match uri.path() {
        "/livez" => (Wish::Livez, false),
        "/readyz" => (Wish::Readyz, false),
        "/status" => (Wish::Status, false),
        "/metrics" => (Wish::Metrics, false),
        "/stop" => (Wish::Stop { component: None, now: false }, true),
        "/reload" => (Wish::Reload, true),
        "/restart" => (Wish::Restart { component: "" }, true),
        _ => {
            let orders = if scope == Scope::Control { ", POST /stop, /reload, /restart" } else { "" };
            let told = format!("there are GET /livez, /readyz, /status, /metrics{orders}");
            return Err(Problem::new(StatusCode::NOT_FOUND, told));
        }
    };
    if is_order && scope == Scope::Admin {
        return Err(Problem::new(StatusCode::FORBIDDEN, "orders are taken on the control socket only"));
    }
    let (fits, allowed) = match is_order {
        true => (method == Method::POST, "POST"),
        false => (method == Method::GET || method == Method::HEAD, "GET, HEAD"),
    };
    if !fits {
        let told = format!("{} takes {allowed}", uri.path());
        return Err(Problem { allow: Some(allowed), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, told) });
    }
    with_query(wish, uri.query().unwrap_or("")).map_err(|told| Problem::new(StatusCode::BAD_REQUEST, told))
}

/// Reads the query into an order. What only tells takes any: probes add things to it.
fn with_query<'a>(mut wish: Wish<'a>, query: &'a str) -> Result<Wish<'a>, &'static str> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (&mut wish, key, value) {
            (Wish::Livez | Wish::Readyz | Wish::Status | Wish::Metrics, ..) => {}
            (Wish::Stop { now, .. }, "now", "1" | "") => *now = true,
            (Wish::Stop { now, .. }, "now", "0") => *now = false,
            (Wish::Stop { component, .. }, "component", name) if !name.is_empty() => *component = Some(name),
            (Wish::Restart { component }, "component", name) => *component = name,
            (Wish::Stop { .. }, ..) => return Err("/stop takes now=1 and component=NAME"),
            (Wish::Restart { .. }, ..) => return Err("/restart takes component=NAME"),
            (Wish::Reload, ..) => return Err("/reload takes nothing"),
        }
    }
    match wish {
        Wish::Restart { component: "" } => Err("/restart needs component=NAME"),
        wish => Ok(wish),
    }
}

/// Reads a body to its end, so that closing the connection takes no answer back.
async fn discard<B>(body: B) -> Result<(), Problem>
where
    B: Body<Data: Send> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a body of at most 64 KiB is read");
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(Limited::new(body, BODY_BYTES));
    let read = async {
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    match timeout(BODY_LIMIT, read).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "the body breaks off, or is not as announced"))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come within 5s")),
    }
}

fn ready(snapshot: &Snapshot) -> Reply {
    if snapshot.status.ready {
        return text(StatusCode::OK, "text/plain; charset=utf-8", "ready\n".to_owned());
    }
    let mut reasons: Vec<String> =
        snapshot.status.not_ready_because.iter().map(|reason| sanitize::one_line(reason)).collect();
    if reasons.is_empty() {
        reasons.push("not ready".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", reasons.join("\n") + "\n")
}

fn status(snapshot: &Snapshot) -> Reply {
    document(StatusCode::OK, &snapshot.status)
}

fn metrics(snapshot: Box<Snapshot>) -> Reply {
    match exposition::encode(snapshot) {
        Ok(metrics) => text(StatusCode::OK, exposition::CONTENT_TYPE, metrics),
        Err(cause) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug in curfew: {cause}")),
    }
}

/// Returns an answer that says what is wrong.
pub fn error(status: StatusCode, told: &str) -> Reply {
    document(status, &json!({ "error": told }))
}

fn document(status: StatusCode, value: &impl Serialize) -> Reply {
    // All of it is plain data with texts as keys, which cannot fail.
    let document = serde_json::to_string(value).unwrap_or_default();
    text(status, "application/json", sanitize::json(&document) + "\n")
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // What was true a moment ago is worth nothing here.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wished(method: &str, target: &str, scope: Scope) -> Result<String, u16> {
        let uri = target.parse().unwrap();
        let wish = wish(&method.parse().unwrap(), &uri, scope);
        wish.map(|wish| format!("{wish:?}")).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn requests_mean_what_the_page_on_the_protocol_says() {
        use Scope::{Admin, Control};
        let good = [
            ("GET", "/livez", Admin, "Livez"),
            ("HEAD", "/readyz?verbose=1", Admin, "Readyz"),
            ("GET", "/status", Control, "Status"),
            ("POST", "/stop", Control, "Stop { component: None, now: false }"),
            ("POST", "/stop?now=1", Control, "Stop { component: None, now: true }"),
            ("POST", "/stop?component=a&now=1", Control, "Stop { component: Some(\"a\"), now: true }"),
            ("POST", "/stop?component=a-b", Control, "Stop { component: Some(\"a-b\"), now: false }"),
            ("POST", "/reload", Control, "Reload"),
            ("POST", "/restart?component=web", Control, "Restart { component: \"web\" }"),
        ];
        for (method, target, scope, expected) in good {
            assert_eq!(wished(method, target, scope).as_deref(), Ok(expected), "{method} {target}");
        }
        let bad = [
            ("POST", "/stop", Admin, 403),
            ("GET", "/restart", Admin, 403),
            ("GET", "/stop", Control, 405),
            ("POST", "/status", Control, 405),
            ("POST", "/restart", Control, 400),
            ("POST", "/restart?component=", Control, 400),
            ("POST", "/restart?name=web", Control, 400),
            ("POST", "/stop?now=2", Control, 400),
            ("POST", "/stop?component=", Control, 400),
            ("POST", "/reload?now=1", Control, 400),
            ("GET", "/", Control, 404),
            ("GET", "/livez/", Admin, 404),
        ];
        for (method, target, scope, expected) in bad {
            assert_eq!(wished(method, target, scope), Err(expected), "{method} {target}");
        }
    }
}
