//! From an HTTP request to a request to the app, and from the app's answer to a response.
//!
//! axum's router would replace only the paths, for ten more crates, and answers 404 and 405 in its own words.
//!
//! Invariant: only the control socket takes orders. A question is answered within [`PATIENCE`], `/livez` without asking the
//! control thread.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::exposition;
use super::request::{Operator, OperatorOrder, OperatorRefusal, OperatorRequest, RefusalKind, Snapshot};
use super::status::Status;
use crate::text::sanitize;

/// Longest wait for an answer that the control thread gives at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bounds on the body of a request: none is needed, but some clients send one.
const BODY_BYTES: usize = 64 << 10;
const BODY_LIMIT: Duration = Duration::from_secs(5);
const PLAIN: &str = "text/plain; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessScope {
    /// Questions only.
    Admin,
    /// Questions and orders.
    Control,
}

pub(super) type HttpResponse = Response<String>;

/// A body that was read to its end, or the refusal of one that was not.
pub(super) type Discarded = Result<(), Box<HttpResponse>>;

pub(super) struct Router {
    pub(super) operator: Arc<dyn Operator>,
    /// True when the listeners close.
    pub(super) closing: watch::Receiver<bool>,
}

#[derive(Debug, PartialEq, Eq)]
enum Endpoint {
    Livez,
    Readyz,
    Status,
    Metrics,
    Order(OperatorOrder),
}

impl Router {
    /// Answers a request whose body was [discarded](discard).
    pub(super) async fn answer(&self, head: &Parts, body: Discarded, scope: AccessScope) -> HttpResponse {
        match body.and_then(|()| parse(&head.method, &head.uri, scope)) {
            Ok(Endpoint::Livez) => text(StatusCode::OK, PLAIN, "alive\n".to_owned()),
            Ok(Endpoint::Readyz) => self.snapshot(|snapshot| ready(&snapshot.status)).await,
            Ok(Endpoint::Status) => {
                self.snapshot(|snapshot| document(StatusCode::OK, &snapshot.status)).await
            }
            Ok(Endpoint::Metrics) => self.snapshot(metrics).await,
            Ok(Endpoint::Order(order)) => self.order(order).await,
            Err(refusal) => *refusal,
        }
    }

    async fn snapshot(&self, respond: impl FnOnce(Box<Snapshot>) -> HttpResponse) -> HttpResponse {
        match timeout(PATIENCE, self.ask(OperatorRequest::Snapshot)).await {
            Ok(Some(snapshot)) => respond(snapshot),
            Ok(None) => error_response(StatusCode::SERVICE_UNAVAILABLE, "the app has ended"),
            Err(_) => error_response(StatusCode::SERVICE_UNAVAILABLE, "the control thread does not answer"),
        }
    }

    async fn order(&self, order: OperatorOrder) -> HttpResponse {
        match self.ask(|answer| OperatorRequest::Order(order, answer)).await {
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

fn parse(method: &Method, uri: &http::Uri, scope: AccessScope) -> Result<Endpoint, Box<HttpResponse>> {
    let endpoint = match uri.path() {
        "/livez" => Endpoint::Livez,
        "/readyz" => Endpoint::Readyz,
        "/status" => Endpoint::Status,
        "/metrics" => Endpoint::Metrics,
        "/stop" => Endpoint::Order(OperatorOrder::Stop { component: None, now: false }),
        "/reload" => Endpoint::Order(OperatorOrder::Reload),
        "/restart" => Endpoint::Order(OperatorOrder::Restart { component: String::new() }),
        _ => {
            let orders = if scope == AccessScope::Control { ", POST /stop, /reload, /restart" } else { "" };
            let message = format!("there are GET /livez, /readyz, /status, /metrics{orders}");
            return Err(refusal(StatusCode::NOT_FOUND, &message));
        }
    };
    let is_order = matches!(endpoint, Endpoint::Order(_));
    if is_order && scope == AccessScope::Admin {
        return Err(refusal(StatusCode::FORBIDDEN, "orders are taken on the control socket only"));
    }
    let (fits, allowed) = match is_order {
        true => (method == Method::POST, "POST"),
        false => (method == Method::GET || method == Method::HEAD, "GET, HEAD"),
    };
    if !fits {
        let message = format!("{} takes {allowed}", uri.path());
        let mut refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, &message);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return Err(refusal);
    }
    match endpoint {
        Endpoint::Order(order) => with_query(order, uri.query().unwrap_or(""))
            .map(Endpoint::Order)
            .map_err(|message| refusal(StatusCode::BAD_REQUEST, message)),
        // Probes add things to the query of a question.
        question => Ok(question),
    }
}

fn with_query(mut order: OperatorOrder, query: &str) -> Result<OperatorOrder, &'static str> {
    use OperatorOrder::{Reload, Restart, Stop};
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (&mut order, key, value) {
            (Stop { now, .. }, "now", "1" | "") => *now = true,
            (Stop { now, .. }, "now", "0") => *now = false,
            (Stop { component, .. }, "component", name) if !name.is_empty() => {
                *component = Some(name.to_owned());
            }
            (Restart { component }, "component", name) => name.clone_into(component),
            (Stop { .. }, ..) => return Err("/stop takes now=1 and component=NAME"),
            (Restart { .. }, ..) => return Err("/restart takes component=NAME"),
            (Reload, ..) => return Err("/reload takes nothing"),
        }
    }
    match order {
        Restart { component } if component.is_empty() => Err("/restart needs component=NAME"),
        order => Ok(order),
    }
}

/// Reads a body to its end. Closing a connection with unread bytes resets it, and the answer would be lost.
pub(super) async fn discard(body: Incoming) -> Discarded {
    let too_large = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "a body of at most 64 KiB is read");
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(too_large());
    }
    let mut body = Limited::new(body, BODY_BYTES);
    // Frame by frame: kept together, a body in pieces of one byte takes a hundred times its size.
    let read = async {
        while body.frame().await.transpose()?.is_some() {}
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    match timeout(BODY_LIMIT, read).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "the body breaks off, or is not as announced")),
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come within 5s")),
    }
}

fn ready(status: &Status) -> HttpResponse {
    if status.ready {
        return text(StatusCode::OK, PLAIN, "ready\n".to_owned());
    }
    let reasons = match status.not_ready_because.as_slice() {
        [] => "not ready\n".to_owned(),
        reasons => reasons.iter().map(|reason| sanitize::one_line(reason) + "\n").collect(),
    };
    text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, reasons)
}

fn metrics(snapshot: Box<Snapshot>) -> HttpResponse {
    match exposition::encode(snapshot) {
        Ok(metrics) => text(StatusCode::OK, exposition::CONTENT_TYPE, metrics),
        Err(cause) => error_response(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug in curfew: {cause}")),
    }
}

fn refusal(status: StatusCode, message: &str) -> Box<HttpResponse> {
    Box::new(error_response(status, message))
}

pub(super) fn error_response(status: StatusCode, message: &str) -> HttpResponse {
    document(status, &json!({ "error": message }))
}

fn document(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    // Plain data with texts as keys: serialising cannot fail.
    let document = serde_json::to_string(value).unwrap_or_default();
    text(status, "application/json", sanitize::json(&document) + "\n")
}

fn text(status: StatusCode, kind: &'static str, body: String) -> HttpResponse {
    let mut response = Response::new(body);
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
        match parse(&method.parse().unwrap(), &uri, scope) {
            Ok(Endpoint::Order(order)) => Ok(format!("{order:?}")),
            Ok(question) => Ok(format!("{question:?}")),
            Err(refusal) => Err(refusal.status().as_u16()),
        }
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
