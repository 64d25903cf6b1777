//! A gRPC service that echoes: `echo.Echo` of `../echo.proto`, over nothing but WASI's HTTP and its trailers.
//! It needs HTTP/2, as gRPC does.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod call;
mod messages;

use call::{Status, framed, read_request, refused};
use wasi::http::types::{ErrorCode, Fields, Request, Response};
use wit_bindgen::{StreamReader, StreamWriter, spawn_local};

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:grpc-echo;
        world grpc-echo {
            export wasi:http/handler@0.3.0;
        }
    ",
    world: "sample:grpc-echo/grpc-echo",
    generate_all,
});

struct Echo;
export!(Echo);

impl exports::wasi::http::handler::Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let method = request.get_path_with_query().unwrap_or_default();
        let headers = Fields::new();
        headers.append("content-type", b"application/grpc").map_err(refused)?;
        let (consumed, result) = wit_future::new(|| Ok(()));
        let (body, _trailers) = Request::consume_body(request, result);
        let (mut replies, contents) = wit_stream::new();
        let (last, trailers) = wit_future::new(|| Err(ErrorCode::InternalError(None)));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        spawn_local(async move {
            let status = match serve(&method, body, &mut replies).await {
                Ok(()) => Status::OK,
                Err(status) => status,
            };
            drop((replies, consumed));
            // A client that has gone reads no status.
            let _ = last.write(status.trailers()).await;
        });
        Ok(response)
    }
}

async fn serve(method: &str, body: StreamReader<u8>, replies: &mut StreamWriter<u8>) -> Result<(), Status> {
    match method {
        "/echo.Echo/Say" => {
            let request = read_request(body).await?;
            send(replies, &request.text).await;
        }
        "/echo.Echo/Repeat" => {
            let request = read_request(body).await?;
            let mut left = request.times;
            while left > 0 && send(replies, &request.text).await {
                left -= 1;
            }
        }
        _ => return Err(Status::UNIMPLEMENTED),
    }
    Ok(())
}

/// Whether there is still somebody who reads.
async fn send(replies: &mut StreamWriter<u8>, text: &str) -> bool {
    replies.write_all(framed(&messages::reply(text))).await.is_empty()
}
