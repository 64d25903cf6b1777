//! The bodies of the answers. Whoever stops reading one ends it, and is counted.

use crate::asked::{Answer, Body, End};
use crate::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
    Trailers,
};
use crate::wasi::io::streams::{OutputStream, StreamError};
use crate::{HOUR, MILLISECOND, memory, misdeeds, wait_for};

const CHUNK: u64 = 64 * 1024;
const ENDLESS_EVERY: u64 = 50 * MILLISECOND;

/// The host has closed the stream, because nobody reads it any more.
pub struct Gone;

pub fn respond(out: ResponseOutparam, answer: Answer) {
    let headers = answer.headers();
    let Some((body, stream)) = begin(out, answer.status, &headers) else { return };
    let all_read = match answer.body {
        Body::Text(text) => write(&stream, text.as_bytes()),
        Body::Filler(bytes) => filler(&stream, bytes),
        Body::Endless => endless(&stream),
        Body::Careless(lines, ms) => careless(&stream, lines, ms),
    };
    if all_read.is_err() {
        memory::count_gone();
        return;
    }
    let trailers = match answer.end {
        End::Good => None,
        End::Trailers => Fields::from_list(&[("x-end".to_string(), b"yes".to_vec())]).ok(),
        End::Trap(after) => {
            wait_before(&stream, after * MILLISECOND);
            misdeeds::deep_trap();
            None
        }
        End::Spin(after) => {
            wait_before(&stream, after * MILLISECOND);
            misdeeds::spin()
        }
        End::Park => {
            wait_before(&stream, HOUR);
            None
        }
        End::Forgotten => {
            std::mem::forget((body, stream));
            return;
        }
        End::GoodThenTrap(after) => {
            finish(body, stream, None);
            if after > 0 {
                wait_for(after * MILLISECOND);
            }
            return misdeeds::deep_trap();
        }
    };
    finish(body, stream, trailers);
}

/// What was written is out before it goes wrong.
fn wait_before(stream: &OutputStream, nanoseconds: u64) {
    let _ = flush(stream);
    wait_for(nanoseconds);
}

/// Hands out the head. Without a body when the head can not be had; then that is what is handed out.
pub fn begin(
    out: ResponseOutparam,
    status: u16,
    headers: &[(String, Vec<u8>)],
) -> Option<(OutgoingBody, OutputStream)> {
    match head(status, headers) {
        Ok((response, body, stream)) => {
            ResponseOutparam::set(out, Ok(response));
            Some((body, stream))
        }
        Err(error) => {
            ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(error))));
            None
        }
    }
}

fn head(
    status: u16,
    headers: &[(String, Vec<u8>)],
) -> Result<(OutgoingResponse, OutgoingBody, OutputStream), String> {
    let headers = Fields::from_list(headers).map_err(|error| error.to_string())?;
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).map_err(|()| format!("no status: {status}"))?;
    let body = response.body().map_err(|()| "a second body")?;
    let stream = body.write().map_err(|()| "a second stream")?;
    Ok((response, body, stream))
}

pub fn finish(body: OutgoingBody, stream: OutputStream, trailers: Option<Trailers>) {
    // It is a child of the body.
    drop(stream);
    // A body that is shorter than its head said: the client finds out.
    let _ = OutgoingBody::finish(body, trailers);
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let room = stream.check_write().map_err(|_| Gone)?;
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(bytes.len().min(room as usize));
        stream.write(now).map_err(|_| Gone)?;
        bytes = later;
    }
    Ok(())
}

fn flush(stream: &OutputStream) -> Result<(), Gone> {
    stream.blocking_flush().map_err(|_| Gone)
}

fn filler(stream: &OutputStream, bytes: u64) -> Result<(), Gone> {
    let chunk = vec![b'x'; bytes.min(CHUNK) as usize];
    let mut left = bytes;
    while left > 0 {
        let (piece, _) = chunk.split_at(left.min(CHUNK) as usize);
        write(stream, piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}

fn endless(stream: &OutputStream) -> Result<(), Gone> {
    loop {
        write(stream, b"again\n")?;
        flush(stream)?;
        wait_for(ENDLESS_EVERY);
    }
}

fn careless(stream: &OutputStream, lines: u64, milliseconds: u64) -> Result<(), Gone> {
    for _ in 0..lines {
        if write(stream, b"again\n").and_then(|()| flush(stream)).is_err() {
            misdeeds::deep_trap();
        }
        wait_for(milliseconds * MILLISECOND);
    }
    Ok(())
}

/// Answers the size of the request, or how it broke off.
pub fn read(request: &IncomingRequest, out: ResponseOutparam) {
    let Ok(from) = request.consume() else { return };
    let Ok(contents) = from.stream() else { return };
    let mut size = 0;
    let outcome = loop {
        match contents.blocking_read(CHUNK) {
            Ok(bytes) => size += bytes.len(),
            Err(StreamError::Closed) => break format!("read {size} bytes"),
            Err(StreamError::LastOperationFailed(error)) => {
                break format!("broke off after {size} bytes: {}", error.to_debug_string());
            }
        }
    };
    println!("{outcome}");
    respond(out, Answer::text(outcome));
}

/// Answers a client that stays, and traps where another is gone.
pub fn touchy(request: &IncomingRequest, out: ResponseOutparam, milliseconds: u64) {
    let Ok(from) = request.consume() else { return };
    let Ok(contents) = from.stream() else { return };
    loop {
        match contents.blocking_read(CHUNK) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => misdeeds::deep_trap(),
        }
    }
    println!("waits {milliseconds} ms");
    wait_for(milliseconds * MILLISECOND);
    let Some((body, stream)) = begin(out, 200, &[]) else { return };
    if write(&stream, b"you have stayed").and_then(|()| flush(&stream)).is_err() {
        misdeeds::deep_trap();
    }
    finish(body, stream, None);
}

/// Answers, and forgets so many handles to fields.
pub fn forget(out: ResponseOutparam, count: u64) {
    (0..count).for_each(|_| std::mem::forget(Fields::new()));
    respond(out, Answer::text("forgotten"));
}

/// Hands so many MiB to the host in one call, and answers whether it took them.
pub fn huge_call(out: ResponseOutparam, mib: u64) {
    let value = vec![b'x'; mib as usize * 1024 * 1024];
    let made = Fields::from_list(&[("x-huge".to_string(), value)]);
    respond(out, Answer::text(format!("{}", made.is_ok())));
}

/// The body of the request and its trailers as those of the response.
pub fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let Ok(from) = request.consume() else { return };
    let trailer = request.headers().get("trailer").into_iter().map(|names| ("trailer".to_string(), names));
    let Some((body, stream)) = begin(out, 200, &trailer.collect::<Vec<_>>()) else { return };
    copy(from, body, stream);
}

/// A body that passes through the memory of the guest, chunk by chunk, as fast as it is read.
pub fn copy(from: IncomingBody, body: OutgoingBody, stream: OutputStream) {
    let Ok(contents) = from.stream() else { return };
    let copied = loop {
        match contents.blocking_read(CHUNK) {
            Ok(chunk) => {
                if write(&stream, &chunk).is_err() {
                    break Err(Gone);
                }
            }
            Err(StreamError::Closed) => break Ok(()),
            // Half a body must not look like a whole one: it is dropped without an end.
            Err(StreamError::LastOperationFailed(_)) => return,
        }
    };
    if copied.is_err() {
        memory::count_gone();
        return;
    }
    drop(contents);
    finish(body, stream, trailers_of(from));
}

fn trailers_of(body: IncomingBody) -> Option<Trailers> {
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    // Those that came can not be changed, and belong to what they came with.
    trailers.get()?.ok()?.ok()?.map(|trailers| trailers.clone())
}
