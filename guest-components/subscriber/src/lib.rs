//! Consumes a Redis stream in a consumer group: no message is lost, none acknowledged before it was processed.
//! Arguments: `ADDRESS STREAM GROUP CONSUMER [PROCESS_MS]`. To process is to append the id of the message to
//! the list `processed:STREAM`.
//!
//! When it is asked to stop it takes nothing new, finishes the message in hand, acknowledges it and leaves.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod connection;
mod resp;

use connection::Connection;
use curfew::lifecycle::host;
use futures::channel::oneshot;
use futures::future::{FusedFuture, FutureExt};
use resp::Reply;
use std::cell::RefCell;
use std::pin::{Pin, pin};
use wasi::clocks::monotonic_clock::wait_for;

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:subscriber;
        world subscriber {
            use curfew:lifecycle/types@0.3.0.{notice};
            import curfew:lifecycle/host@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            import wasi:sockets/types@0.3.0;
            export wasi:cli/run@0.3.0;
            export shutdown: async func(notice: notice) -> result<_, string>;
        }
    ",
    world: "sample:subscriber/subscriber",
    generate_all,
});

thread_local! {
    /// `run` hands its connection over to the hook here, once it has left the group's work.
    static HANDOVER: RefCell<Option<oneshot::Receiver<Connection>>> = const { RefCell::new(None) };
}

struct Subscriber;
export!(Subscriber);

impl exports::wasi::cli::run::Guest for Subscriber {
    async fn run() -> Result<(), ()> {
        subscribe().await.map_err(|error| eprintln!("{error}"))
    }
}

impl Guest for Subscriber {
    /// Called next to `run`. The connection is still open: tell others here, release locks, store offsets.
    async fn shutdown(_notice: Notice) -> Result<(), String> {
        let Some(handover) = HANDOVER.take() else {
            return Ok(());
        };
        let Ok(mut connection) = handover.await else {
            return Ok(());
        };
        connection.call(&["PING"]).await?;
        println!("hook: the connection is open");
        Ok(())
    }
}

/// What the arguments say.
struct Job {
    stream: String,
    group: String,
    consumer: String,
    process_ns: u64,
    processed: String,
}

async fn subscribe() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, stream, group, consumer, rest @ ..] = &args[..] else {
        return Err("usage: ADDRESS STREAM GROUP CONSUMER [PROCESS_MS]".to_string());
    };
    let process_ms: u64 =
        rest.first().map_or(Ok(0), |text| text.parse()).map_err(|_| "PROCESS_MS is a number")?;
    let job = Job {
        stream: stream.clone(),
        group: group.clone(),
        consumer: consumer.clone(),
        process_ns: process_ms * 1_000_000,
        processed: format!("processed:{stream}"),
    };
    let (hand_over, handover) = oneshot::channel();
    HANDOVER.set(Some(handover));
    let mut connection = Connection::open(address).await?;
    let mut control = Connection::open(address).await?;
    create_group(&mut connection, &job).await?;
    println!("subscribed to {stream}");
    host::ready();
    let count = consume(&mut connection, &mut control, &job).await?;
    println!("left after {count} messages");
    // Nobody takes it when the component has no hook any more to run.
    let _ = hand_over.send(connection);
    Ok(())
}

async fn create_group(connection: &mut Connection, job: &Job) -> Result<(), String> {
    match connection.call(&["XGROUP", "CREATE", &job.stream, &job.group, "0", "MKSTREAM"]).await {
        Err(error) if !error.starts_with("BUSYGROUP") => Err(error),
        _ => Ok(()),
    }
}

async fn consume(connection: &mut Connection, control: &mut Connection, job: &Job) -> Result<u64, String> {
    let Reply::Integer(client) = connection.call(&["CLIENT", "ID"]).await? else {
        return Err("redis did not tell the id of the connection".to_string());
    };
    let client = client.to_string();
    let mut stop = pin!(host::stop_requested().map(drop).fuse());
    // First what an earlier life has taken and not acknowledged, then new messages.
    let mut from = "0";
    let mut count = 0;
    while host::stop_notice().is_none() {
        let take = ["XREADGROUP", "GROUP", &job.group, &job.consumer, "COUNT", "1", "BLOCK", "0", "STREAMS"];
        let take = [&take[..], &[&job.stream, from]].concat();
        let reply = unblocked_by(stop.as_mut(), connection.call(&take), control, &client).await?;
        match message_id(&reply) {
            Some(id) => {
                process(connection, job, id).await?;
                count += 1;
            }
            None if from == "0" => from = ">",
            None => {}
        }
    }
    Ok(count)
}

/// Waits for the next message. The stop ends the wait at once, and through Redis: a message that was on its
/// way then still arrives here as the one in hand, instead of staying behind unacknowledged.
async fn unblocked_by(
    mut stop: Pin<&mut impl FusedFuture<Output = ()>>,
    waiting: impl Future<Output = Result<Reply, String>>,
    control: &mut Connection,
    client: &str,
) -> Result<Reply, String> {
    let mut waiting = pin!(waiting.fuse());
    futures::select_biased! {
        reply = waiting => return reply,
        () = stop => {}
    }
    // Twice and more when the unblocking overtakes the command, which travels on another connection.
    loop {
        control.call(&["CLIENT", "UNBLOCK", client]).await?;
        futures::select_biased! {
            reply = waiting => return reply,
            () = pin!(wait_for(5_000_000).fuse()) => {}
        }
    }
}

/// The processing is visible before the acknowledgement is sent: a cut-off between the two delivers again.
async fn process(connection: &mut Connection, job: &Job, id: &str) -> Result<(), String> {
    if job.process_ns > 0 {
        wait_for(job.process_ns).await;
    }
    connection.call(&["RPUSH", &job.processed, id]).await?;
    println!("processed {id}");
    connection.call(&["XACK", &job.stream, &job.group, id]).await?;
    Ok(())
}

/// From `[[stream, [[id, fields]]]]`, which is what one message looks like.
fn message_id(reply: &Reply) -> Option<&str> {
    let Reply::List(streams) = reply else { return None };
    let Reply::List(stream) = streams.first()? else {
        return None;
    };
    let Reply::List(messages) = stream.get(1)? else {
        return None;
    };
    let Reply::List(message) = messages.first()? else {
        return None;
    };
    match message.first()? {
        Reply::Text(id) => Some(id),
        _ => None,
    }
}
