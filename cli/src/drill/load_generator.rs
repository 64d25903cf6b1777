//! The load: clients that send a request, wait for the complete answer, and send the next one; half of them over one
//! connection, half over a new one each time.
//!
//! Invariant: clients go on until the app has closed its address or the load ends, and then hold the drill up for a
//! bounded time only.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::client_stream::{ClientStream, StreamStats};
use super::error::DrillError;
use super::requests::{RejectionWindow, RequestCounts, RequestLog, RequestOutcome, SentRequest};
use super::target::Target;

/// Time between an answer and the next request: it keeps the app busy, and the machine from running out of ports.
const PAUSE: Duration = Duration::from_millis(2);
/// The same for a client that opens a new connection each time.
const PAUSE_RECONNECT: Duration = Duration::from_millis(10);
/// Longest offset between clients.
const LONGEST_STAGGER: Duration = Duration::from_secs(2);
/// How long a request may go on after the load ends, if the app is stopping.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// The same if only the load ends.
const LAST_ANSWER_RUNNING: Duration = Duration::from_millis(300);
/// How often a waiting client checks whether the load ends.
const END_POLL: Duration = Duration::from_millis(50);

/// Clients on a thread of their own.
#[derive(Debug)]
pub(super) struct LoadGenerator {
    shared: Arc<Shared>,
    ended: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    targets: Vec<Target>,
    logs: Mutex<Vec<RequestLog>>,
    /// The load ends.
    is_ending: AtomicBool,
    /// The app is stopping: a refused connection is final.
    is_stopping: AtomicBool,
}

impl LoadGenerator {
    /// Starts so many clients for each target, half of them with a new connection for each request.
    pub(super) fn start(targets: &[Target], clients: usize) -> Result<Self, DrillError> {
        let shared = Arc::new(Shared {
            targets: targets.to_vec(),
            logs: Mutex::new(vec![RequestLog::default(); targets.len()]),
            is_ending: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        });
        let (end, ended) = mpsc::channel();
        let work = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(DrillError::system("make an event loop"))?;
        let run = move || {
            let local = LocalSet::new();
            for target in 0..work.targets.len() {
                for client in 0..clients.max(1) {
                    let offset = client as f64 / clients.max(1) as f64;
                    local.spawn_local(run_client(work.clone(), target, client % 2 == 0, offset));
                }
            }
            runtime.block_on(local);
            let _gone = end.send(());
        };
        let thread = thread::Builder::new().name("drill-load".to_owned()).spawn(run);
        thread.map_err(DrillError::system("start a thread"))?;
        Ok(Self { shared, ended })
    }

    /// Returns the targets whose requests meet the condition.
    pub(super) fn targets_where(&self, condition: impl Fn(&RequestLog) -> bool) -> Vec<&Target> {
        let logs = self.shared.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.shared.targets.iter().zip(logs.iter());
        all.filter(|(_, log)| condition(log)).map(|(target, _)| target).collect()
    }

    /// Returns the number of complete answers.
    pub(super) fn answers(&self) -> usize {
        let logs = self.shared.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.iter().map(RequestLog::answers).sum()
    }

    /// Marks the app as stopping: from now on a refused connection ends a client.
    pub(super) fn set_stopping(&self) {
        self.shared.is_stopping.store(true, SeqCst);
    }

    /// Ends the clients and counts their requests, by the name of the target.
    pub(super) fn counts(self, window: impl Fn(&Target) -> RejectionWindow) -> Vec<(String, RequestCounts)> {
        let ended = self.end().into_iter();
        ended
            .map(|(target, log)| {
                let counts = log.counts(window(&target), target.is_shared);
                (target.name, counts)
            })
            .collect()
    }

    /// Ends the clients and returns their requests.
    fn end(self) -> Vec<(Target, RequestLog)> {
        self.shared.is_ending.store(true, SeqCst);
        // Longer than any client takes; a client that hangs all the same loses its last request.
        let _late = self.ended.recv_timeout(LAST_ANSWER * 2);
        let logs = self.shared.logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.shared.targets.iter().cloned().zip(logs).collect()
    }
}

impl Shared {
    fn log(&self, target: usize, log: impl FnOnce(&mut RequestLog)) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(requests) = logs.get_mut(target) {
            log(requests);
        }
    }

    fn add(&self, target: usize, request: SentRequest) {
        self.log(target, |log| log.add(request));
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(SeqCst)
    }
}

/// A client's connection.
struct ClientConnection {
    sender: SendRequest<Empty<Bytes>>,
    stats: Arc<StreamStats>,
    is_used: bool,
}

/// Runs one client. `keeps_alive`: it keeps its connection; `offset`: its place, from 0 to 1, among the clients.
async fn run_client(shared: Arc<Shared>, number: usize, keeps_alive: bool, offset: f64) {
    let Some(target) = shared.targets.get(number) else { return };
    let mut kept: Option<ClientConnection> = None;
    let mut is_first = true;
    while !shared.is_ending() {
        let sent = Instant::now();
        let connection = match unless_late(&shared, connected(kept.take(), target)).await {
            Ok(connection) => connection,
            Err(late) => {
                let took = sent.elapsed();
                let hung = late.map(|outcome| SentRequest { sent, took, reused: false, outcome });
                return hung.into_iter().for_each(|request| shared.add(number, request));
            }
        };
        let Ok(mut connection) = connection else {
            let is_final = shared.is_stopping.load(SeqCst);
            let (took, outcome) = (sent.elapsed(), RequestOutcome::Refused);
            shared.add(number, SentRequest { sent, took, reused: false, outcome });
            if is_final {
                return;
            }
            tokio::time::sleep(PAUSE_RECONNECT).await;
            continue;
        };
        let sent = Instant::now();
        let outcome = send_request(&shared, number, &mut connection, keeps_alive).await;
        if let Some(outcome) = outcome {
            let ended = Instant::now();
            // The request was sent when its bytes were, and never if the connection was closed before.
            let sent = connection.stats.last_sent().filter(|last| *last >= sent).unwrap_or(ended);
            let reused = connection.is_used;
            shared.add(number, SentRequest { sent, took: ended - sent, reused, outcome });
        }
        connection.is_used = true;
        let is_reusable = keeps_alive && matches!(outcome, Some(RequestOutcome::Answered(_)));
        kept = Some(connection).filter(|_| is_reusable);
        // After the first answer the clients are spread out: at each moment there are young requests and old ones.
        let stagger = sent.elapsed().mul_f64(offset).min(LONGEST_STAGGER);
        let pause = if keeps_alive { PAUSE } else { PAUSE_RECONNECT };
        tokio::time::sleep(if is_first { pause + stagger } else { pause }).await;
        is_first = false;
    }
}

/// Returns the connection if it can take one more request, else a new one.
async fn connected(kept: Option<ClientConnection>, target: &Target) -> io::Result<ClientConnection> {
    if let Some(mut kept) = kept
        && kept.sender.ready().await.is_ok()
    {
        return Ok(kept);
    }
    connect(target).await
}

async fn connect(target: &Target) -> io::Result<ClientConnection> {
    let stream = ClientStream::connect(&target.endpoint).await?;
    let stats = stream.stats();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(connection);
    Ok(ClientConnection { sender, stats, is_used: false })
}

/// Sends one request and returns its outcome; `None` if the load ended meanwhile.
async fn send_request(
    shared: &Shared,
    number: usize,
    connection: &mut ClientConnection,
    keeps_alive: bool,
) -> Option<RequestOutcome> {
    let target = shared.targets.get(number)?;
    let mut request = Request::builder().uri(target.path.as_str()).header(HOST, target.host.as_str());
    if !keeps_alive {
        request = request.header(CONNECTION, "close");
    }
    let Ok(request) = request.body(Empty::new()) else { return Some(RequestOutcome::Refused) };
    let before = connection.stats.received();
    match unless_late(shared, exchange(shared, number, &mut connection.sender, request)).await {
        Ok(Some(status)) => Some(RequestOutcome::Answered(status)),
        Ok(None) if connection.stats.received() == before => Some(RequestOutcome::Unanswered),
        Ok(None) => Some(RequestOutcome::CutShort),
        Err(late) => late,
    }
}

/// Awaits the work, unless it still goes on some time after the load ended; then its outcome is the error.
async fn unless_late<T>(shared: &Shared, work: impl Future<Output = T>) -> Result<T, Option<RequestOutcome>> {
    let mut work = std::pin::pin!(work);
    let mut ended = None;
    loop {
        if let Ok(done) = timeout(END_POLL, work.as_mut()).await {
            return Ok(done);
        }
        if !shared.is_ending() {
            continue;
        }
        let ended: Instant = *ended.get_or_insert_with(Instant::now);
        let is_stopping = shared.is_stopping.load(SeqCst);
        // An endless stream is no fault while the app is not stopping.
        if ended.elapsed() > if is_stopping { LAST_ANSWER } else { LAST_ANSWER_RUNNING } {
            return Err(Some(RequestOutcome::Hung).filter(|_| is_stopping));
        }
    }
}

/// Returns the status of a complete answer.
async fn exchange(
    shared: &Shared,
    number: usize,
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Option<u16> {
    let answer = sender.send_request(request).await.ok()?;
    shared.log(number, RequestLog::answer_began);
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame.ok()?;
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The system accepts connections before the app does: a handshake can go on for ever.
    #[test]
    fn a_handshake_without_an_end_is_counted_and_holds_nothing_up() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&format!("https://{}", silent.local_addr().unwrap())).unwrap();
        for (stops, lost) in [(false, None), (true, Some(&2))] {
            let load = LoadGenerator::start(std::slice::from_ref(&target), 2).unwrap();
            let _connected = [silent.accept().unwrap(), silent.accept().unwrap()];
            if stops {
                load.set_stopping();
            }
            let began = Instant::now();
            let (_, log) = load.end().remove(0);
            assert!(began.elapsed() < LAST_ANSWER * 2, "the load took too long to end");
            assert_eq!(log.counts(RejectionWindow::Never, false).lost.get(&RequestOutcome::Hung), lost);
        }
    }
}
