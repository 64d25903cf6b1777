//! The page of the demo app: its components, and what each says right now. `/` is the page, whole without
//! anything from elsewhere; `/web` says how often it was asked for. The configuration names the components:
//! see `row.rs`.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod row;

use row::Row;
use std::cell::Cell;
use wasi::config::store;
use wasi::http::types::{ErrorCode, Fields, Method, Request, Response};
use wit_bindgen::spawn_local;

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:web;
        world web {
            import wasi:config/store@0.2.0-rc.1;
            export wasi:http/handler@0.3.0;
        }
    ",
    world: "sample:web/web",
    generate_all,
});

const PAGE: &str = include_str!("page.html");
const PLACE_OF_ROWS: &str = "<!-- rows -->\n";

/// The page works with nothing but itself and the app it came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

thread_local! {
    static PAGES: Cell<u64> = const { Cell::new(0) };
}

struct Web;
export!(Web);

impl exports::wasi::http::handler::Guest for Web {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path_with_query = request.get_path_with_query().unwrap_or_default();
        let path = path_with_query.split('?').next().unwrap_or_default();
        match (request.get_method(), path) {
            (Method::Get | Method::Head, "" | "/") => page(),
            (Method::Get | Method::Head, "/web") => {
                respond(200, "text/plain; charset=utf-8", format!("page served {} times", PAGES.get()))
            }
            (Method::Get | Method::Head, _) => {
                respond(404, "text/plain", "there is no such page\n".to_string())
            }
            _ => respond(405, "text/plain", "the page can only be read\n".to_string()),
        }
    }
}

fn page() -> Result<Response, ErrorCode> {
    PAGES.set(PAGES.get() + 1);
    let entries = store::get_all().map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let mut rows: Vec<Row> = entries.iter().filter_map(|(key, value)| Row::new(key, value)).collect();
    rows.sort();
    let rows: String = rows.iter().map(Row::html).collect();
    respond(200, "text/html; charset=utf-8", PAGE.replacen(PLACE_OF_ROWS, &rows, 1))
}

fn respond(status: u16, kind: &str, text: String) -> Result<Response, ErrorCode> {
    let entries = [
        ("content-type", kind.as_bytes()),
        ("content-length", text.len().to_string().as_bytes()),
        ("cache-control", b"no-store"),
        ("content-security-policy", POLICY.as_bytes()),
        ("x-content-type-options", b"nosniff"),
    ]
    .map(|(name, value)| (name.to_string(), value.to_vec()));
    let headers =
        Fields::from_list(&entries).map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let (mut body, contents) = wit_stream::new();
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    response.set_status_code(status).map_err(|()| ErrorCode::InternalError(None))?;
    spawn_local(async move {
        // What a client that has gone leaves unread is no failure.
        let _ = body.write_all(text.into_bytes()).await;
        drop((body, no_trailers));
    });
    Ok(response)
}
