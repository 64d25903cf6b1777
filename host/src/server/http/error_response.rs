//! The answers that the host gives itself, when no guest does.
//!
//! Invariant: each says in one line what happened, in words for whoever called, and nothing of the inside.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::body::{ResponseBody, whole};
use super::in_flight::RequestInFlight;

/// Seconds after which a client may try again.
const RETRY_SECONDS: &str = "1";

/// Why a request is not answered by its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// Its host is missing, doubled or malformed.
    BadRequest,
    /// No component has its route.
    NoRoute,
    /// Its body is larger than allowed.
    TooLarge,
    /// It wants another protocol on its connection.
    Upgrade,
    /// The guest answered with an error instead.
    GuestError,
    /// The instance failed before it had an answer.
    Failed,
    /// No instance could be started.
    NoInstance,
    /// All instances are busy, and enough others wait.
    Busy,
    /// The component stops.
    Stopping,
    /// No answer came in time, and the client had not sent all of its request.
    SlowClient,
    /// No answer came in time.
    Timeout,
}

impl RequestError {
    /// Returns the status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Upgrade => StatusCode::NOT_IMPLEMENTED,
            Self::GuestError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Failed | Self::NoInstance => StatusCode::BAD_GATEWAY,
            Self::Busy | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::SlowClient => StatusCode::REQUEST_TIMEOUT,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request: its host is missing, doubled or no host\n",
            Self::NoRoute => "404 Not Found: no component is routed here\n",
            Self::TooLarge => "413 Payload Too Large: the body is larger than allowed\n",
            Self::Upgrade => {
                "501 Not Implemented: upgrades (as for WebSocket) and CONNECT are not supported\n"
            }
            Self::GuestError => "500 Internal Server Error: the component answered with an error\n",
            Self::Failed => "502 Bad Gateway: the component failed\n",
            Self::NoInstance => "502 Bad Gateway: the component could not be started\n",
            Self::Busy => "503 Service Unavailable: all instances are busy\n",
            Self::Stopping => "503 Service Unavailable: the component stops\n",
            Self::SlowClient => "408 Request Timeout: the request was not sent in time\n",
            Self::Timeout => "504 Gateway Timeout: the component took too long\n",
        }
    }
}

/// Returns the answer.
pub(crate) fn error_response(refused: RequestError, entry: RequestInFlight) -> Response<ResponseBody> {
    let body = whole(Bytes::from_static(refused.text().as_bytes()), Some(entry));
    let mut response = Response::new(body);
    *response.status_mut() = refused.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if refused.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_begins_with_its_status() {
        use RequestError::*;
        let all = [
            BadRequest, NoRoute, TooLarge, Upgrade, GuestError, Failed, NoInstance, Busy, Stopping,
            SlowClient, Timeout,
        ];
        for refused in all {
            let status = refused.status();
            let head = format!("{} {}: ", status.as_u16(), status.canonical_reason().unwrap());
            assert!(refused.text().starts_with(&head), "{refused:?}");
            assert!(refused.text().ends_with('\n'), "{refused:?}");
        }
    }
}
