//! A request of the lab's own, whose response it relays. An error comes back as its name, with status 502.

use crate::asked::Answer;
use crate::body::{copy, respond, set_status};
use crate::wasi::http::client;
use crate::wasi::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use crate::wit_future;

pub async fn relay(url: &str) -> Result<Response, ErrorCode> {
    let request = match request_to(url) {
        Some(request) => request,
        None => return respond(Answer::text(format!("no URL: {url}")).with_status(400)),
    };
    match client::send(request).await {
        Ok(response) => pass_on(response),
        Err(error) => respond(Answer::text(format!("{error:?}")).with_status(502)),
    }
}

fn request_to(url: &str) -> Option<Request> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_string()),
    };
    // `^` stands for the end of the authority, before a path without a slash.
    let (authority, path) = rest.split_at(rest.find(['/', '?', '^']).unwrap_or(rest.len()));
    let path = path.strip_prefix('^').unwrap_or(path);
    let (_no_trailers, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(path).filter(|path| !path.is_empty())).ok()?;
    Some(request)
}

fn pass_on(answer: Response) -> Result<Response, ErrorCode> {
    let status = answer.get_status_code();
    let (consumed, result) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Response::consume_body(answer, result);
    let (contents, trailers) = copy(contents, trailers, consumed);
    let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
    set_status(&response, status)?;
    Ok(response)
}
