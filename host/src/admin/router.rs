//! From an HTTP request to a request to the app, and from the app's answer to a response.
//!
//! Seven paths with their methods, queries and JSON errors are one `match`. axum's router would replace only the paths,
//! for ten more crates, and answers 404 and 405 in its own words.
//!
//! Invariant: orders are taken on the control socket only. A question is answered within [`PATIENCE`], whatever the
//! control thread does, and `/livez` without asking it.

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
use super::request::{Operator, OperatorAnswer, OperatorRefusal, OperatorRequest, RefusalKind, Snapshot};
use crate::text::sanitize;

/// Longest wait for an answer that the control thread gives at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request's body. No request needs one, but some clients send one.
const BODY_BYTES: usize = 64 << 10;
/// How long a body may take to come in.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// The requests that a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessScope {
    /// Questions only.
    Admin,
    /// Questions and orders.
    Control,
}

/// An answer to a client.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// Answers the requests of both listeners.
pub(super) struct Router {
    operator: Arc<dyn Operator>,
    closing: watch::Receiver<bool>,
}

/// An error of the client.
#[derive(Debug)]
struct RequestError {
    status: StatusCode,
    message: String,
    /// The methods that the path takes, where the method was wrong.
    allow: Option<&'static str>,
}

impl RequestError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None }
    }

    fn response(self) -> HttpResponse {
        let mut response = error_response(self.status, &self.message);
        if let Some(methods) = self.allow {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}

/// A well-formed request.
#[derive(Debug, PartialEq, Eq)]
enum Endpoint<'a> {
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
    pub(super) fn new(operator: Arc<dyn Operator>, closing: watch::Receiver<bool>) -> Self {
        Self { operator, closing }
    }

    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>, scope: AccessScope) -> HttpResponse
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        if let Err(error) = discard(body).await {
            return error.response();
        }
        match parse(&head.method, &head.uri, scope) {
            Ok(endpoint) => self.dispatch(endpoint).await,
            Err(error) => error.response(),
        }
    }

    async fn dispatch(&self, endpoint: Endpoint<'_>) -> HttpResponse {
        match endpoint {
            Endpoint::Livez => text(StatusCode::OK, "text/plain; charset=utf-8", "alive\n".to_owned()),
            Endpoint::Readyz => self.snapshot(|snapshot| ready(&snapshot)).await,
            Endpoint::Status => self.snapshot(|snapshot| status(&snapshot)).await,
            Endpoint::Metrics => self.snapshot(metrics).await,
            Endpoint::Stop { component, now } => {
                let component = component.map(str::to_owned);
                self.order(|answer| OperatorRequest::Stop { component, now, answer }).await
            }
            Endpoint::Reload => self.order(OperatorRequest::Reload).await,
            Endpoint::Restart { component } => {
                let component = component.to_owned();
                self.order(|answer| OperatorRequest::Restart { component, answer }).await
            }
        }
    }

    async fn snapshot(&self, respond: impl FnOnce(Box<Snapshot>) -> HttpResponse) -> HttpResponse {
        match timeout(PATIENCE, self.ask(OperatorRequest::Snapshot)).await {
            Ok(Some(snapshot)) => respond(snapshot),
            Ok(None) => error_response(StatusCode::SERVICE_UNAVAILABLE, "the app has ended"),
            Err(_) => error_response(StatusCode::SERVICE_UNAVAILABLE, "the control thread does not answer"),
        }
    }

    async fn order(
        &self,
        request: impl FnOnce(oneshot::Sender<OperatorAnswer>) -> OperatorRequest,
    ) -> HttpResponse {
        match self.ask(request).await {
            Some(Ok(done)) => document(StatusCode::OK, &json!({ "done": done })),
            Some(Err(OperatorRefusal { kind, text })) => {
                let status = match kind {
                    RefusalKind::Stopping | RefusalKind::Busy => StatusCode::CONFLICT,
                    RefusalKind::Unknown => StatusCode::NOT_FOUND,
                    RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
                };
                error_response(status, &text)
            }
            None => error_response(StatusCode::SERVICE_UNAVAILABLE, "the app ended before this was done"),
        }
    }

    /// Returns the answer, or `None` if there will never be one.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> OperatorRequest) -> Option<T> {
        let (answer, mut answered) = oneshot::channel();
        self.operator.ask(request(answer));
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            answer = &mut answered => answer.ok(),
            _ = closing.wait_for(|closing| *closing) => answered.try_recv().ok(),
        }
    }
}

fn parse<'a>(method: &Method, uri: &'a http::Uri, scope: AccessScope) -> Result<Endpoint<'a>, RequestError> {
    let (endpoint, is_order) = match uri.path() {
        "/livez" => (Endpoint::Livez, false),
        "/readyz" => (Endpoint::Readyz, false),
        "/status" => (Endpoint::Status, false),
        "/metrics" => (Endpoint::Metrics, false),
        "/stop" => (Endpoint::Stop { component: None, now: false }, true),
        "/reload" => (Endpoint::Reload, true),
        "/restart" => (Endpoint::Restart { component: "" }, true),
        _ => {
            let orders = if scope == AccessScope::Control { ", POST /stop, /reload, /restart" } else { "" };
            let message = format!("there are GET /livez, /readyz, /status, /metrics{orders}");
            return Err(RequestError::new(StatusCode::NOT_FOUND, message));
        }
    };
    if is_order && scope == AccessScope::Admin {
        return Err(RequestError::new(StatusCode::FORBIDDEN, "orders are taken on the control socket only"));
    }
    let (fits, allowed) = match is_order {
        true => (method == Method::POST, "POST"),
        false => (method == Method::GET || method == Method::HEAD, "GET, HEAD"),
    };
    if !fits {
        let message = format!("{} takes {allowed}", uri.path());
        return Err(RequestError {
            allow: Some(allowed),
            ..RequestError::new(StatusCode::METHOD_NOT_ALLOWED, message)
        });
    }
    with_query(endpoint, uri.query().unwrap_or(""))
        .map_err(|message| RequestError::new(StatusCode::BAD_REQUEST, message))
}

/// Reads the query of an order. Questions ignore theirs: probes add things to it.
fn with_query<'a>(mut endpoint: Endpoint<'a>, query: &'a str) -> Result<Endpoint<'a>, &'static str> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (&mut endpoint, key, value) {
            (Endpoint::Livez | Endpoint::Readyz | Endpoint::Status | Endpoint::Metrics, ..) => {}
            (Endpoint::Stop { now, .. }, "now", "1" | "") => *now = true,
            (Endpoint::Stop { now, .. }, "now", "0") => *now = false,
            (Endpoint::Stop { component, .. }, "component", name) if !name.is_empty() => {
                *component = Some(name)
            }
            (Endpoint::Restart { component }, "component", name) => *component = name,
            (Endpoint::Stop { .. }, ..) => return Err("/stop takes now=1 and component=NAME"),
            (Endpoint::Restart { .. }, ..) => return Err("/restart takes component=NAME"),
            (Endpoint::Reload, ..) => return Err("/reload takes nothing"),
        }
    }
    match endpoint {
        Endpoint::Restart { component: "" } => Err("/restart needs component=NAME"),
        endpoint => Ok(endpoint),
    }
}

/// Reads a body to its end. Closing a connection with unread bytes resets it, and the answer would be lost.
async fn discard<B>(body: B) -> Result<(), RequestError>
where
    B: Body<Data: Send> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || RequestError::new(StatusCode::PAYLOAD_TOO_LARGE, "a body of at most 64 KiB is read");
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
            Err(RequestError::new(StatusCode::BAD_REQUEST, "the body breaks off, or is not as announced"))
        }
        Err(_) => Err(RequestError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come within 5s")),
    }
}

fn ready(snapshot: &Snapshot) -> HttpResponse {
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

fn status(snapshot: &Snapshot) -> HttpResponse {
    document(StatusCode::OK, &snapshot.status)
}

fn metrics(snapshot: Box<Snapshot>) -> HttpResponse {
    match exposition::encode(snapshot) {
        Ok(metrics) => text(StatusCode::OK, exposition::CONTENT_TYPE, metrics),
        Err(cause) => error_response(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug in curfew: {cause}")),
    }
}

/// Returns an error as a response.
pub(super) fn error_response(status: StatusCode, message: &str) -> HttpResponse {
    document(status, &json!({ "error": message }))
}

fn document(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    // Plain data with texts as keys: serialising cannot fail.
    let document = serde_json::to_string(value).unwrap_or_default();
    text(status, "application/json", sanitize::json(&document) + "\n")
}

fn text(status: StatusCode, kind: &'static str, body: String) -> HttpResponse {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // An answer is outdated at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: &str, target: &str, scope: AccessScope) -> Result<String, u16> {
        let uri = target.parse().unwrap();
        let endpoint = parse(&method.parse().unwrap(), &uri, scope);
        endpoint.map(|endpoint| format!("{endpoint:?}")).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn requests_mean_what_the_page_on_the_protocol_says() {
        use AccessScope::{Admin, Control};
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
            assert_eq!(parsed(method, target, scope).as_deref(), Ok(expected), "{method} {target}");
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
            assert_eq!(parsed(method, target, scope), Err(expected), "{method} {target}");
        }
    }
}
