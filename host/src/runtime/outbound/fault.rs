//! From errors of the client to the error codes of `wasi:http`, which are those of RFC 9209.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use nix::errno::Errno;
use rustls::pki_types::InvalidDnsNameError;
use wasmtime_wasi_http::Error;

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the name cannot be looked up: {0}")]
    Name(io::Error),
    #[error("the look-up took too long")]
    NameTimeout,
    #[error("the connection took too long")]
    Timeout,
    #[error("no root certificates: {0}")]
    NoRoots(&'static str),
}

/// The kind of a connection's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Closed,
    Late,
    Malformed,
}

impl Lost {
    pub(super) fn of(error: &hyper::Error) -> Self {
        match find_io(error).map(io::Error::kind) {
            _ if error.is_timeout() => Self::Late,
            Some(ErrorKind::TimedOut) => Self::Late,
            Some(ErrorKind::InvalidData | ErrorKind::InvalidInput) => Self::Malformed,
            Some(_) => Self::Closed,
            None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => Self::Closed,
            // Given up from this side, because what was being sent could not be finished.
            None if error.is_user() => Self::Closed,
            None => Self::Malformed,
        }
    }
}

pub(super) fn of_request(error: &(dyn StdError + 'static)) -> Error {
    if let Some(error) = find::<DialError>(error) {
        return of_dial(error);
    }
    if let Some(error) = find::<rustls::Error>(error) {
        return of_tls(error);
    }
    if find::<InvalidDnsNameError>(error).is_some() {
        return dns("invalid dns name");
    }
    if let Some(error) = find_io(error) {
        return of_io(error);
    }
    match find::<hyper::Error>(error) {
        Some(error) if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        Some(error) => of_connection(error, Error::ConnectionTerminated),
        None => Error::ConnectionTerminated,
    }
}

pub(super) fn of_body(error: &hyper::Error) -> Error {
    if let Some(error) = find::<rustls::Error>(error) {
        return of_tls(error);
    }
    of_connection(error, Error::HttpResponseIncomplete)
}

fn of_connection(error: &hyper::Error, closed: Error) -> Error {
    match Lost::of(error) {
        Lost::Closed => closed,
        Lost::Late => Error::ConnectionReadTimeout,
        Lost::Malformed => Error::HttpProtocolError,
    }
}

fn of_dial(error: &DialError) -> Error {
    match error {
        // The text of wasmtime's own implementation; the system does not tell its reasons apart.
        DialError::Name(_) => dns("address not available"),
        DialError::NameTimeout => Error::DnsTimeout,
        DialError::Timeout => Error::ConnectionTimeout,
        DialError::NoRoots(_) => Error::ConfigurationError,
    }
}

fn of_tls(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::InvalidCertRevocationList(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType => Error::TlsCertificateError,
        rustls::Error::AlertReceived(alert) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        _ => Error::TlsProtocolError,
    }
}

fn of_io(error: &io::Error) -> Error {
    let code = error.raw_os_error().map(Errno::from_raw);
    if matches!(code, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS)) {
        return Error::ConnectionLimitReached;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        ErrorKind::TimedOut => Error::ConnectionTimeout,
        ErrorKind::HostUnreachable => Error::DestinationUnavailable,
        // Without an address of that family there is no route either.
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => Error::DestinationIpUnroutable,
        ErrorKind::PermissionDenied => Error::DestinationIpProhibited,
        ErrorKind::InvalidData | ErrorKind::InvalidInput => Error::HttpProtocolError,
        _ => Error::ConnectionTerminated,
    }
}

fn dns(rcode: &str) -> Error {
    Error::DnsError { rcode: Some(rcode.to_owned()), info_code: None }
}

/// Returns the error and its causes. An `io::Error` hides the error that it is made of from `source`.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Returns the innermost: outer ones only wrap it.
fn find_io<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    chain(error).filter_map(|error| error.downcast_ref()).last()
}

/// Returns an error and its causes in one line. An `io::Error` has the same text as its cause.
pub(super) fn describe(error: &(dyn StdError + 'static)) -> String {
    let mut causes: Vec<_> = chain(error).map(ToString::to_string).collect();
    causes.dedup();
    causes.join(": ")
}
