//! The bodies of the answers. Whoever stops reading one ends it, and is counted.

use crate::asked::{Answer, Body, End};
use crate::wasi::clocks::monotonic_clock::wait_for;
use crate::wasi::http::types::{ErrorCode, Fields, HeaderError, Request, Response, Trailers};
use crate::{MILLISECOND, memory, misdeeds, park, wit_future, wit_stream};
use wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter, spawn_local};

const CHUNK: usize = 64 * 1024;
const ENDLESS_EVERY: u64 = 50 * MILLISECOND;

pub type TrailersResult = Result<Option<Trailers>, ErrorCode>;

pub fn respond(answer: Answer) -> Result<Response, ErrorCode> {
    let headers = Fields::from_list(&answer.headers()).map_err(failed)?;
    let (writer, contents) = wit_stream::new();
    let (last, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    set_status(&response, answer.status)?;
    spawn_local(write(answer, writer, last));
    Ok(response)
}

async fn write(answer: Answer, mut writer: StreamWriter<u8>, last: FutureWriter<TrailersResult>) {
    let all_read = match answer.body {
        Body::Text(text) => writer.write_all(text.into_bytes()).await.is_empty(),
        Body::Filler(bytes) => filler(&mut writer, bytes).await,
        Body::Endless => endless(&mut writer).await,
        Body::Careless(lines, ms) => careless(&mut writer, lines, ms).await,
    };
    if !all_read {
        memory::count_gone();
        return;
    }
    match answer.end {
        End::Good => {}
        End::Trailers => {
            drop(writer);
            let fields = Fields::from_list(&[("x-end".to_string(), b"yes".to_vec())]).map_err(failed);
            let _ = last.write(fields.map(Some)).await;
        }
        End::Trap(after) => {
            wait_for(after * MILLISECOND).await;
            misdeeds::deep_trap();
        }
        End::Spin(after) => {
            wait_for(after * MILLISECOND).await;
            misdeeds::spin();
        }
        End::Park => park().await,
        End::Forgotten => std::mem::forget((writer, last)),
        End::GoodThenTrap(after) => {
            drop((writer, last));
            wait_for(after * MILLISECOND).await;
            misdeeds::deep_trap();
        }
    }
}

/// Whether all of it was read.
async fn filler(writer: &mut StreamWriter<u8>, bytes: u64) -> bool {
    let mut left = bytes;
    let mut chunk = Vec::new();
    while left > 0 {
        chunk.resize(left.min(CHUNK as u64) as usize, b'x');
        left -= chunk.len() as u64;
        chunk = writer.write_all(chunk).await;
        if !chunk.is_empty() {
            return false;
        }
    }
    true
}

async fn endless(writer: &mut StreamWriter<u8>) -> bool {
    while writer.write_all(b"again\n".to_vec()).await.is_empty() {
        wait_for(ENDLESS_EVERY).await;
    }
    false
}

async fn careless(writer: &mut StreamWriter<u8>, lines: u64, milliseconds: u64) -> bool {
    for _ in 0..lines {
        let _ = writer.write_all(b"again\n".to_vec()).await;
        wait_for(milliseconds * MILLISECOND).await;
    }
    true
}

/// Answers the size of the request, or how it broke off.
pub async fn read(request: Request) -> Result<Response, ErrorCode> {
    let (consumed, result) = wit_future::new(|| Ok(()));
    let (mut contents, trailers) = Request::consume_body(request, result);
    let mut size = 0;
    let mut last = StreamResult::Complete(0);
    while last != StreamResult::Dropped {
        let (read, bytes) = contents.read(Vec::with_capacity(CHUNK)).await;
        size += bytes.len();
        last = read;
    }
    let outcome = match trailers.await {
        Ok(_) => format!("read {size} bytes"),
        Err(error) => format!("broke off after {size} bytes: {error:?}"),
    };
    drop(consumed);
    println!("{outcome}");
    respond(Answer::text(outcome))
}

/// Answers a client that stays, and traps where another is gone.
pub async fn touchy(request: Request, milliseconds: u64) -> Result<Response, ErrorCode> {
    let (consumed, result) = wit_future::new(|| Ok(()));
    let (mut contents, trailers) = Request::consume_body(request, result);
    while contents.read(Vec::with_capacity(CHUNK)).await.0 != StreamResult::Dropped {}
    if trailers.await.is_err() {
        misdeeds::deep_trap();
    }
    drop(consumed);
    println!("waits {milliseconds} ms");
    wait_for(milliseconds * MILLISECOND).await;
    let (mut writer, contents) = wit_stream::new();
    let (_no_trailers, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
    spawn_local(async move {
        if !writer.write_all(b"you have stayed".to_vec()).await.is_empty() {
            misdeeds::deep_trap();
        }
    });
    Ok(response)
}

/// The body of the request and its trailers as those of the response.
pub fn echo(request: Request) -> Result<Response, ErrorCode> {
    let headers = names_of_trailers(&request)?;
    let (consumed, result) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Request::consume_body(request, result);
    let (contents, trailers) = copy(contents, trailers, consumed);
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    Ok(response)
}

/// The same, but the bytes never enter the guest.
pub fn hand_over(request: Request) -> Result<Response, ErrorCode> {
    let headers = names_of_trailers(&request)?;
    let (_consumed, result) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Request::consume_body(request, result);
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    Ok(response)
}

/// In HTTP/1.1 the trailers are not sent without a header that names them.
fn names_of_trailers(request: &Request) -> Result<Fields, ErrorCode> {
    let headers = Fields::new();
    headers.set("trailer", &request.get_headers().get("trailer")).map_err(failed)?;
    Ok(headers)
}

/// A body that passes through the memory of the guest, chunk by chunk, as fast as it is read.
pub fn copy(
    mut from: StreamReader<u8>,
    trailers: FutureReader<TrailersResult>,
    consumed: FutureWriter<Result<(), ErrorCode>>,
) -> (StreamReader<u8>, FutureReader<TrailersResult>) {
    let (mut to, contents) = wit_stream::new();
    let (last, copied) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let result;
            (result, chunk) = from.read(chunk).await;
            if !chunk.is_empty() {
                chunk = to.write_all(chunk).await;
                if !chunk.is_empty() {
                    memory::count_gone();
                    return;
                }
            }
            if result == StreamResult::Dropped {
                break;
            }
        }
        drop((from, to));
        let _ = last.write(trailers.await).await;
        drop(consumed);
    });
    (contents, copied)
}

pub fn set_status(response: &Response, status: u16) -> Result<(), ErrorCode> {
    response
        .set_status_code(status)
        .map_err(|()| ErrorCode::InternalError(Some(format!("no status: {status}"))))
}

pub fn failed(error: HeaderError) -> ErrorCode {
    ErrorCode::InternalError(Some(error.to_string()))
}
