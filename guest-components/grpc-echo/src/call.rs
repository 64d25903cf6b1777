//! One call in gRPC's words: a message has five bytes before it, and the status comes in the trailers.

use crate::messages::Request;
use crate::wasi::http::types::{ErrorCode, Fields, HeaderError, Trailers};
use wit_bindgen::{StreamReader, StreamResult};

const PREFIX: usize = 5;
const CHUNK: usize = 4096;

/// Larger requests are refused: the same bound as that of gRPC's own servers.
const LARGEST: usize = 4 * 1024 * 1024;

/// How a call ends: the number is one of gRPC's.
pub struct Status {
    code: u32,
    message: &'static str,
}

impl Status {
    pub const OK: Status = Status::new(0, "");
    pub const UNIMPLEMENTED: Status = Status::new(12, "echo.Echo has no such method");
    const INVALID: Status = Status::new(3, "the body is not one message echo.Request");
    const TOO_LARGE: Status = Status::new(8, "the request is larger than 4 MiB");
    const COMPRESSED: Status = Status::new(12, "a compressed request");

    const fn new(code: u32, message: &'static str) -> Status {
        Status { code, message }
    }

    pub fn trailers(&self) -> Result<Option<Trailers>, ErrorCode> {
        let trailers = Fields::new();
        trailers.append("grpc-status", self.code.to_string().as_bytes()).map_err(refused)?;
        if !self.message.is_empty() {
            trailers.append("grpc-message", self.message.as_bytes()).map_err(refused)?;
        }
        Ok(Some(trailers))
    }
}

/// The one message that the body of the request is.
pub async fn read_request(mut body: StreamReader<u8>) -> Result<Request, Status> {
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(CHUNK);
        let result;
        (result, bytes) = body.read(bytes).await;
        if bytes.len() > LARGEST + PREFIX {
            return Err(Status::TOO_LARGE);
        }
        if result == StreamResult::Dropped {
            break;
        }
    }
    let (prefix, message) = bytes.split_first_chunk::<PREFIX>().ok_or(Status::INVALID)?;
    let [compressed, a, b, c, d] = *prefix;
    if compressed != 0 {
        return Err(Status::COMPRESSED);
    }
    if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err(Status::INVALID);
    }
    Request::decode(message).ok_or(Status::INVALID)
}

/// The message as it goes into the body.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX + message.len());
    bytes.push(0);
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

pub fn refused(error: HeaderError) -> ErrorCode {
    ErrorCode::InternalError(Some(error.to_string()))
}
