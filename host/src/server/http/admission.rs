//! Admission of requests, and the headers that tell a guest of its request and of its client.
//!
//! Invariant: what a guest reads of its client's address, and of its request's id, a client cannot have made up, unless
//! the manifest trusts the proxy in front.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::header::{CONTENT_TYPE, EXPECT, FORWARDED, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::RequestError;
use super::client_body::ClientBody;
use super::connection::Connection;
use crate::plan::Forwarded;
use crate::server::connection::pace::PaceTimer;
use crate::server::generation::ClientFault;
use crate::server::generation::generation::Generation;
use crate::server::instance::content_length;
use crate::server::pool::{Claim, Pool, Upset};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 128;
/// Fields by which proxies describe a client and its request. A client could send them, too: guests get them only if the manifest says so.
const CLAIMS: [&str; 3] = ["forwarded", "x-real-ip", "x-request-id"];
/// Beginning of more of them.
const CLAIM: &str = "x-forwarded-";

/// A request as its guest will see it, and the progress of its body, if it has one.
pub(crate) type Admitted = (Request<WasiBody>, Option<Arc<Upload>>);

/// Progress of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) too_large: AtomicBool,
    /// The client has not held the least rate.
    pub(crate) too_slow: AtomicBool,
    /// The client has sent all of it.
    pub(crate) ended: AtomicBool,
    /// Its client is too slow: no more of it is read.
    timed_out: AtomicBool,
    reader: AtomicWaker,
    claim: Mutex<Weak<Claim>>,
}

impl Upload {
    /// Sets the claim of its request.
    pub(super) fn belongs_to(&self, claim: &Arc<Claim>) {
        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(claim);
    }

    /// Ends the guest's read with an error: the client is too slow. Can be called from any thread.
    pub(super) fn time_out(&self) {
        self.break_off(Upset::TooSlow);
        // Its call goes on without a client.
        self.with_claim(Claim::abandon);
        self.timed_out.store(true, Ordering::Release);
        self.reader.wake();
    }

    fn poll_timed_out(&self, context: &Context<'_>) -> Poll<()> {
        let timed_out = || self.timed_out.load(Ordering::Acquire);
        if !timed_out() {
            self.reader.register(context.waker());
        }
        if timed_out() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Notes that it breaks off, before its guest hears of that.
    fn break_off(&self, how: Upset) {
        self.with_claim(|claim| claim.upset(how));
    }

    fn with_claim(&self, act: impl Fn(&Claim)) {
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        claim.iter().for_each(|claim| act(claim));
    }
}

/// Lets a request pass, or returns the reason why it may not.
pub(crate) fn admit(
    connection: &Arc<Connection>,
    generation: &Generation,
    request: Request<ClientBody>,
    id: &HeaderValue,
) -> Result<Admitted, RequestError> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT || wants_upgrade(&parts.headers) {
        return Err(RequestError::Upgrade);
    }
    if parts.version == Version::HTTP_2 && head_size(&parts) > connection.limits.header_size {
        return Err(RequestError::HeadTooLarge);
    }
    let most = generation.plan.http.limits.body_size.unwrap_or(u64::MAX);
    if content_length(&parts.headers).is_some_and(|length| length > most) {
        return Err(RequestError::TooLarge);
    }
    describe_client(connection.forwarded.clone(), generation.plan.http.forwarded, &mut parts.headers);
    parts.headers.insert(REQUEST_ID, id.clone());
    if body.is_end_stream() {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        return Ok((Request::from_parts(parts, empty), None));
    }
    let upload = Arc::new(Upload::default());
    connection.body_began();
    let is_chunked = parts.version < Version::HTTP_2 && parts.headers.contains_key(TRANSFER_ENCODING);
    if is_chunked {
        connection.framing.body_began();
    }
    let body = RequestBody {
        body,
        left: most,
        upload: upload.clone(),
        connection: connection.clone(),
        has_ended: false,
        is_chunked,
        may_be_silent: (parts.version == Version::HTTP_2 && is_grpc(&parts.headers))
            .then(|| generation.pool.clone()),
        // A client that waits for `100 Continue` is asked for its body by its first reader.
        pace: if parts.headers.contains_key(EXPECT) { PaceTimer::default() } else { PaceTimer::waiting() },
    };
    Ok((Request::from_parts(parts, body.boxed_unsync()), Some(upload)))
}

/// Returns the size of a head as HTTP/2 counts it (RFC 9113 section 10.5.1); over HTTP/1 hyper counts its bytes.
fn head_size(request: &request::Parts) -> usize {
    const OVERHEAD: usize = 32;
    let target = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + OVERHEAD;
    target + request.headers.iter().map(field).sum::<usize>()
}

/// WebSocket cannot be passed on: `wasi:http` has no upgrades. Other offers may be ignored, and some clients make
/// them with each request.
fn wants_upgrade(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(UPGRADE).iter().filter_map(|offers| offers.to_str().ok());
    offers.flat_map(|offers| offers.split(',')).any(|offer| offer.trim().eq_ignore_ascii_case("websocket"))
}

struct RequestBody {
    body: ClientBody,
    left: u64,
    upload: Arc<Upload>,
    connection: Arc<Connection>,
    /// All of it was read.
    has_ended: bool,
    is_chunked: bool,
    /// Its messages come when something happens: it may be silent as long as no request waits for a place in this pool.
    may_be_silent: Option<Arc<Pool>>,
    pace: PaceTimer,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.upload.poll_timed_out(context).is_ready() {
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        }
        let Poll::Ready(mut frame) = Pin::new(&mut this.body).poll_frame(context) else {
            ready!(this.poll_overdue(context));
            this.connection.client_fault(ClientFault::SlowRequest);
            this.upload.too_slow.store(true, Ordering::Release);
            this.upload.break_off(Upset::TooSlow);
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        match &mut frame {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = this.left.checked_sub(size) else {
                    this.upload.too_large.store(true, Ordering::Release);
                    this.upload.break_off(Upset::BrokenOff);
                    return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
                };
                this.left = left;
                this.upload.with_claim(Claim::moved);
                this.pace.moved(size);
                if let Some(trailers) = frame.trailers_mut() {
                    // A proxy that is trusted leaves them as its client sent them.
                    remove(trailers, is_claim);
                    this.end(this.connection.framing.are_trailers_sure());
                }
            }
            Some(Err(_)) => self.upload.break_off(Upset::BrokenOff),
            None => self.end(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl RequestBody {
    /// Is ready when the client has sent too little in the time in which its guest waited.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { connection, may_be_silent, pace, .. } = self;
        let may_be_silent = || {
            may_be_silent.as_ref().is_some_and(|pool| !pool.has_waiting())
                && !connection.drains.load(Ordering::SeqCst)
        };
        let rate = || (!may_be_silent()).then(|| connection.min_rate());
        pace.poll_overdue(context, rate, || None)
    }

    /// Notes that all of it has come: behind trailers nothing more is asked of it. `is_sure`: the next request begins here.
    fn end(&mut self, is_sure: bool) {
        self.upload.ended.store(true, Ordering::Release);
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        if is_sure {
            self.connection.body_ended();
            self.connection.framing.body_ended();
        } else {
            self.connection.lose_framing();
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // The host has not seen the end of this body: hyper may read on behind it, and behind trailers that it drops.
        if self.is_chunked && !self.has_ended {
            self.connection.lose_framing();
        }
    }
}

/// Returns whether it is a call of gRPC, whose client may have nothing to say for long.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Describes a client to its guest: `own` is its `forwarded` header.
fn describe_client(own: HeaderValue, mode: Forwarded, headers: &mut HeaderMap) {
    match mode {
        // The proxy in front has replaced the fields that it knows, but not their other spellings.
        Forwarded::Append => remove(headers, |name| is_claim(name) && name.contains('_')),
        Forwarded::Replace => remove(headers, is_claim),
    }
    headers.append(FORWARDED, own);
}

/// Returns whether a field says who the client or its request is. Where fields become variables (CGI), `_` is `-`.
fn is_claim(name: &str) -> bool {
    let is = |name: &[u8], claim: &str| {
        let same = |(byte, other): (&u8, u8)| *byte == other || (*byte == b'_' && other == b'-');
        name.len() == claim.len() && name.iter().zip(claim.bytes()).all(same)
    };
    let name = name.as_bytes();
    CLAIMS.iter().any(|claim| is(name, claim))
        || name.get(..CLAIM.len()).is_some_and(|start| is(start, CLAIM))
}

fn remove(headers: &mut HeaderMap, is_refused: impl Fn(&str) -> bool) {
    let refused: Vec<_> = headers.keys().filter(|name| is_refused(name.as_str())).cloned().collect();
    for name in refused {
        headers.remove(name);
    }
}

/// Returns the client's id of a request if it can be used in a log, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        !bytes.is_empty() && bytes.len() <= LONGEST_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(&REQUEST_ID).filter(usable).cloned().unwrap_or_else(new_id)
}

/// Returns an id that no other request has: a part by chance for the process, and a number.
pub(super) fn new_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) & u64::from(u32::MAX);
    HeaderValue::try_from(format!("{:016x}{number:08x}", *PROCESS))
        .unwrap_or_else(|_| HeaderValue::from_static("none"))
}
