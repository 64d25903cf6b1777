//! Clients that ask all the time, and count what goes wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;

use super::Client;

/// Clients with one connection for each request, clients that keep theirs, and one that speaks HTTP/2.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Begins to ask at this address.
    pub(crate) fn on(address: SocketAddr, path: &'static str) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |keeps: bool| {
            let (stop, answers) = (stop.clone(), answers.clone());
            std::thread::spawn(move || ask(address, path, keeps, &stop, &answers))
        };
        let mut clients: Vec<_> = [true, true, false, false].map(client).into();
        let (stop_too, answers_too) = (stop.clone(), answers.clone());
        clients.push(std::thread::spawn(move || ask_over_http2(address, path, &stop_too, &answers_too)));
        Self { stop, answers, clients }
    }

    /// Waits for so many answers more.
    pub(crate) fn pass(&self, more: u64) {
        let goal = self.answers.load(SeqCst) + more;
        super::until("answers", || {
            self.answers.load(SeqCst) >= goal || self.clients.iter().any(JoinHandle::is_finished)
        });
    }

    /// Ends it; nothing may have gone wrong.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        let wrong: Vec<_> = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), self.answers.load(SeqCst), wrong.first());
        self.answers.load(SeqCst)
    }
}

fn ask(address: SocketAddr, path: &str, keeps: bool, stop: &AtomicBool, answers: &AtomicU64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut kept = None;
    while !stop.load(SeqCst) && wrong.len() < 10 {
        let mut client = match kept.take().map_or_else(|| Client::connect(address), Ok) {
            Ok(client) => client,
            Err(error) => {
                wrong.push(format!("connect: {error}"));
                continue;
            }
        };
        match client.send(path).and_then(|()| client.receive()) {
            Ok(got) if got.status == 200 => {
                answers.fetch_add(1, SeqCst);
                kept = keeps.then_some(client);
            }
            Ok(got) => wrong.push(format!("{} {} (keeps: {keeps})", got.head, got.body)),
            Err(error) => wrong.push(format!("{error} (keeps: {keeps})")),
        }
    }
    wrong
}

/// Asks for several things at a time on one connection.
fn ask_over_http2(address: SocketAddr, path: &str, stop: &AtomicBool, answers: &AtomicU64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let converse = async {
        let stream = tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let (client, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        while !stop.load(SeqCst) {
            let requests = (0..4).map(|_| get(client.clone(), path));
            for status in futures::future::try_join_all(requests).await.map_err(|error| error.to_string())? {
                if status != 200 {
                    return Err(format!("{status} over HTTP/2"));
                }
                answers.fetch_add(1, SeqCst);
            }
        }
        connection.abort();
        Ok(())
    };
    runtime.block_on(converse).err().into_iter().collect()
}

async fn get(client: h2::client::SendRequest<bytes::Bytes>, path: &str) -> Result<u16, h2::Error> {
    let request = http::Request::get(format!("http://localhost{path}")).body(()).unwrap();
    let (answer, _) = client.ready().await?.send_request(request, true)?;
    let (head, mut body) = answer.await?.into_parts();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    Ok(head.status.as_u16())
}
