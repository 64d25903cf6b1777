//! A request of the lab's own, whose response it relays. An error comes back as its name, with status 502.

use crate::asked::Answer;
use crate::body::{begin, copy, respond};
use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode, Fields, IncomingResponse, OutgoingRequest, ResponseOutparam, Scheme,
};

pub fn relay(url: &str, out: ResponseOutparam) {
    let Some(request) = request_to(url) else {
        return respond(out, Answer::text(format!("no URL: {url}")).with_status(400));
    };
    match send(request) {
        Ok(response) => pass_on(response, out),
        Err(error) => respond(out, Answer::text(format!("{error:?}")).with_status(502)),
    }
}

fn request_to(url: &str) -> Option<OutgoingRequest> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_string()),
    };
    // `^` stands for the end of the authority, before a path without a slash.
    let (authority, path) = rest.split_at(rest.find(['/', '?', '^']).unwrap_or(rest.len()));
    let path = path.strip_prefix('^').unwrap_or(path);
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(path).filter(|path| !path.is_empty())).ok()?;
    Some(request)
}

fn send(request: OutgoingRequest) -> Result<IncomingResponse, ErrorCode> {
    let waiting = outgoing_handler::handle(request, None)?;
    waiting.subscribe().block();
    let nothing = || ErrorCode::InternalError(Some("ready, but nothing there".to_string()));
    waiting.get().ok_or_else(nothing)?.map_err(|()| nothing())?
}

fn pass_on(answer: IncomingResponse, out: ResponseOutparam) {
    let Ok(from) = answer.consume() else { return };
    let Some((body, stream)) = begin(out, answer.status(), &[]) else { return };
    copy(from, body, stream);
}
