//! RESP2, the protocol of Redis: as much of it as a stream's consumer needs.

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Text(String),
    Error(String),
    Integer(i64),
    List(Vec<Reply>),
    Nil,
}

pub fn encode(parts: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len());
    for part in parts {
        bytes.push_str(&format!("${}\r\n{part}\r\n", part.len()));
    }
    bytes.into_bytes()
}

/// The first reply in these bytes and its length; `None` while it is not complete.
pub fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    let mut at = 0;
    Ok(reply(bytes, &mut at)?.map(|reply| (reply, at)))
}

fn reply(bytes: &[u8], at: &mut usize) -> Result<Option<Reply>, String> {
    let Some(line) = line(bytes, at) else {
        return Ok(None);
    };
    let (Some(kind), Some(rest)) = (line.get(..1), line.get(1..)) else {
        return Err("redis sent an empty line".to_string());
    };
    match kind {
        "+" => Ok(Some(Reply::Text(rest.to_string()))),
        "-" => Ok(Some(Reply::Error(rest.to_string()))),
        ":" => Ok(Some(Reply::Integer(number(rest)?))),
        "$" => match usize::try_from(number(rest)?) {
            Ok(length) => Ok(bulk(bytes, at, length)),
            Err(_) => Ok(Some(Reply::Nil)),
        },
        "*" => match usize::try_from(number(rest)?) {
            Ok(length) => list(bytes, at, length),
            Err(_) => Ok(Some(Reply::Nil)),
        },
        _ => Err(format!("redis sent {line:?}")),
    }
}

fn line(bytes: &[u8], at: &mut usize) -> Option<String> {
    let length = bytes.get(*at..)?.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[*at..*at + length]).into_owned();
    *at += length + 2;
    Some(line)
}

fn bulk(bytes: &[u8], at: &mut usize, length: usize) -> Option<Reply> {
    let end = at.checked_add(length)?.checked_add(2)?;
    let text = String::from_utf8_lossy(bytes.get(*at..end)?.get(..length)?).into_owned();
    *at = end;
    Some(Reply::Text(text))
}

fn list(bytes: &[u8], at: &mut usize, length: usize) -> Result<Option<Reply>, String> {
    let mut items = Vec::new();
    for _ in 0..length {
        match reply(bytes, at)? {
            Some(item) => items.push(item),
            None => return Ok(None),
        }
    }
    Ok(Some(Reply::List(items)))
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("redis sent {text:?} instead of a number"))
}
