//! The two messages of `echo.proto`, as protobuf has them on the wire. Fields that are not known are passed
//! over, and the last one of a kind wins, as protobuf wants it.

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

#[derive(Default)]
pub struct Request {
    pub text: String,
    pub times: u32,
}

impl Request {
    pub fn decode(mut bytes: &[u8]) -> Option<Request> {
        let mut request = Request::default();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            match (tag >> 3, tag & 7) {
                (0, _) => return None,
                (1, LENGTH) => request.text = String::from_utf8(block(&mut bytes)?.to_vec()).ok()?,
                // A number that is too large is cut, not refused.
                (2, VARINT) => request.times = varint(&mut bytes)? as u32,
                (_, kind) => skip(&mut bytes, kind)?,
            }
        }
        Some(request)
    }
}

/// A reply with this text.
pub fn reply(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 11);
    // An empty string is what a message without the field says.
    if !text.is_empty() {
        bytes.push(1 << 3 | LENGTH as u8);
        let mut length = text.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn block<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    take(bytes, length)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (block, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(block)
}

fn skip(bytes: &mut &[u8], kind: u64) -> Option<()> {
    match kind {
        VARINT => varint(bytes).map(drop),
        FIXED64 => take(bytes, 8).map(drop),
        LENGTH => block(bytes).map(drop),
        FIXED32 => take(bytes, 4).map(drop),
        _ => None,
    }
}
