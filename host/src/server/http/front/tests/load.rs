//! Clients that ask all the time, and count what goes wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;

use super::Client;

/// Clients with one connection for each request, and clients that keep theirs.
pub struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Begins to ask at this address.
    pub fn on(address: SocketAddr, path: &'static str) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |keeps: bool| {
            let (stop, answers) = (stop.clone(), answers.clone());
            std::thread::spawn(move || ask(address, path, keeps, &stop, &answers))
        };
        let clients = [true, true, false, false].map(client).into();
        Self { stop, answers, clients }
    }

    /// Waits for so many answers more.
    pub fn pass(&self, more: u64) {
        let goal = self.answers.load(SeqCst) + more;
        super::until("answers", || {
            self.answers.load(SeqCst) >= goal || self.clients.iter().any(JoinHandle::is_finished)
        });
    }

    /// Ends it; nothing may have gone wrong.
    pub fn end(self) -> u64 {
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
