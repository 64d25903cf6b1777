//! The headers that tell a guest about its client.
//!
//! Invariant: a client cannot make up its own address, unless the manifest trusts the proxy in front.

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::plan::Forwarded;

/// Headers by which proxies describe a client begin so. A client could send them, too: guests get them only if the
/// manifest says so.
const CLAIM: &str = "x-forwarded-";
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Returns what guests are told of a client at this address.
pub(crate) fn forwarded_for(client: &str, tls: bool) -> HeaderValue {
    let proto = if tls { "https" } else { "http" };
    // RFC 7239: what has colons stands in brackets and quotes, who has no address is unknown.
    let node = match client.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.to_string(),
        Ok(std::net::IpAddr::V6(address)) => format!("\"[{address}]\""),
        Err(_) => "unknown".to_owned(),
    };
    HeaderValue::try_from(format!("for={node};proto={proto}"))
        .unwrap_or_else(|_| HeaderValue::from_static("for=unknown"))
}

/// Sets the headers: `own` is the value of this client.
pub(super) fn describe_client(own: HeaderValue, mode: Forwarded, headers: &mut HeaderMap) {
    match mode {
        Forwarded::Append => {
            headers.append(FORWARDED, own);
        }
        Forwarded::Replace => {
            let claims = |name: &&HeaderName| name.as_str().starts_with(CLAIM) || *name == REAL_IP;
            let claimed: Vec<_> = headers.keys().filter(claims).cloned().collect();
            for name in claimed {
                headers.remove(name);
            }
            headers.insert(FORWARDED, own);
        }
    }
}
