//! Commands over TCP, one a line, answered with `ok`: `ready`, `mute`, `end`, `fail`, `trap`, and `spin`, which is not
//! answered. Any other line is sent back.

use crate::wasi::sockets::types::TcpSocket;
use crate::{MUTED, misdeeds, net, say_ready, wit_stream};
use futures::channel::mpsc::UnboundedSender;
use futures::future::pending;
use futures::stream::{FuturesUnordered, StreamExt};
use wit_bindgen::StreamResult;

/// How `run` ends.
pub enum Order {
    End,
    Fail,
    Trap,
}

/// Serves until it is dropped, if there is an address.
pub async fn serve(give: UnboundedSender<Order>) -> Result<(), String> {
    let Some(address) = misdeeds::option("listen") else {
        return pending().await;
    };
    let (listener, incoming) = net::listen(&address)?;
    println!("listening on {}", net::local_address(&listener)?);
    let mut incoming = incoming.into_stream().fuse();
    let mut connections = FuturesUnordered::new();
    loop {
        futures::select_biased! {
            socket = incoming.next() => match socket {
                Some(socket) => connections.push(converse(socket, give.clone())),
                None => return Err("the listener failed".to_string()),
            },
            _ = connections.next() => {}
        }
    }
}

async fn converse(socket: TcpSocket, give: UnboundedSender<Order>) {
    let (mut answers, data) = wit_stream::new();
    let _sent = socket.send(data);
    let (mut stream, _received) = socket.receive();
    let mut received: Vec<u8> = Vec::new();
    loop {
        let (result, bytes) = stream.read(Vec::with_capacity(1024)).await;
        if bytes.is_empty() && result == StreamResult::Dropped {
            return;
        }
        received.extend(bytes);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            let answer = obey(String::from_utf8_lossy(&line).trim(), &give);
            if !answers.write_all(answer.map_or(line, <[u8]>::to_vec)).await.is_empty() {
                return;
            }
        }
    }
}

/// `None` is for a line that is no command.
fn obey(command: &str, give: &UnboundedSender<Order>) -> Option<&'static [u8]> {
    let order = |order| {
        // `run` takes one order and ends.
        let _ended = give.unbounded_send(order);
    };
    match command {
        "ready" => say_ready(),
        "mute" => MUTED.set(true),
        "end" => order(Order::End),
        "fail" => order(Order::Fail),
        "trap" => order(Order::Trap),
        "spin" => misdeeds::spin(),
        _ => return None,
    }
    Some(b"ok\n")
}
