//! The id of a request: its client's, or a new one.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a client may give.
const LONGEST_ID: usize = 128;
/// Returns the client's id of a request if it can be used in a log, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        !bytes.is_empty() && bytes.len() <= LONGEST_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(&REQUEST_ID).filter(usable).cloned().unwrap_or_else(new_id)
}

/// Returns an id that no other request has: a part by chance for the process, and a number.
fn new_id() -> HeaderValue {
    use std::hash::{BuildHasher, RandomState};
    static PROCESS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut text = [b'0'; 24];
    let value = (u128::from(*process) << 32) | u128::from(number & u64::from(u32::MAX));
    for (at, digit) in text.iter_mut().rev().enumerate() {
        let nibble = (value >> (4 * at)) & 0xf;
        *digit = b"0123456789abcdef".get(nibble as usize).copied().unwrap_or(b'0');
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}
