//! Clients at work while an app is drilled: each asks, waits for the whole answer, and asks again; some over one
//! connection, some over a new one each time.
//!
//! Invariant: clients go on until nobody listens any more or they are told to end, and none of them holds the drill up
//! after that. What counts as a loss is in `tally`.

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

use super::error::DrillError;
use super::stream::{Stream, Traffic};
use super::tally::{Asked, Counts, End, Tally, Turns};
use super::target::Target;

/// Time between an answer and the next request: the app is to be busy, the machine is not to run out of ports.
const PAUSE: Duration = Duration::from_millis(2);
/// The same for a client that connects anew each time.
const PAUSE_NEW: Duration = Duration::from_millis(10);
/// Most that clients are apart.
const LONGEST_STAGGER: Duration = Duration::from_secs(2);
/// How long a request may go on when the app has gone.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// How long it may when only the load is to end.
const LAST_OF_MANY: Duration = Duration::from_millis(300);
/// How often a client that waits looks whether that is so.
const LOOK: Duration = Duration::from_millis(50);

/// Clients at work on a thread of their own.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    ended: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    aims: Vec<Target>,
    tallies: Mutex<Vec<Tally>>,
    /// Nobody may ask again.
    leave: AtomicBool,
    /// Somebody who refuses is about to be gone.
    stopping: AtomicBool,
}

impl Load {
    /// Starts so many clients for each aim, half of them with new connections.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(aims: &[Target], clients: usize) -> Result<Self, DrillError> {
        let shared = Arc::new(Shared {
            aims: aims.to_vec(),
            tallies: Mutex::new(vec![Tally::default(); aims.len()]),
            leave: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let (tell, ended) = mpsc::channel();
        let work = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(DrillError::system("make an event loop"))?;
        let run = move || {
            let local = LocalSet::new();
            for aim in 0..work.aims.len() {
                for client in 0..clients.max(1) {
                    let late = (client, clients.max(1));
                    local.spawn_local(drive(work.clone(), aim, client % 2 == 0, late));
                }
            }
            runtime.block_on(local);
            let _gone = tell.send(());
        };
        let thread = thread::Builder::new().name("drill-load".to_owned()).spawn(run);
        thread.map_err(DrillError::system("start a thread"))?;
        Ok(Self { shared, ended })
    }

    /// Returns the aims of which `is_behind` is true.
    pub fn behind(&self, is_behind: impl Fn(&Tally) -> bool) -> Vec<&Target> {
        let tallies = self.shared.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.shared.aims.iter().zip(tallies.iter());
        all.filter(|(_, tally)| is_behind(tally)).map(|(aim, _)| aim).collect()
    }

    /// Returns how many answers there are.
    pub fn answers(&self) -> usize {
        let tallies = self.shared.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().map(Tally::answers).sum()
    }

    /// From now on a refusal is the end of a client.
    pub fn stopping(&self) {
        self.shared.stopping.store(true, SeqCst);
    }

    /// Ends the clients and returns what is to be thought of their requests, by the names of the aims.
    pub fn counts(self, turns: Turns) -> Vec<(String, Counts)> {
        let ended = self.end().into_iter();
        ended.map(|(aim, tally)| (aim.name, tally.counts(turns, aim.is_shared))).collect()
    }

    /// Ends the clients and returns what became of their requests.
    fn end(self) -> Vec<(Target, Tally)> {
        self.shared.leave.store(true, SeqCst);
        // Longer than any client takes; one that hangs all the same loses what it has counted of its last request.
        let _late = self.ended.recv_timeout(LAST_ANSWER * 2);
        let tallies = self.shared.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.shared.aims.iter().cloned().zip(tallies).collect()
    }
}

impl Shared {
    fn tell(&self, aim: usize, tell: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = tallies.get_mut(aim) {
            tell(tally);
        }
    }

    fn count(&self, aim: usize, asked: Asked) {
        self.tell(aim, |tally| tally.add(asked));
    }

    fn leaves(&self) -> bool {
        self.leave.load(SeqCst)
    }
}

/// A connection that is kept.
struct Kept {
    sender: SendRequest<Empty<Bytes>>,
    traffic: Arc<Traffic>,
    used: bool,
}

/// One client.
async fn drive(shared: Arc<Shared>, number: usize, keeps: bool, (client, clients): (usize, usize)) {
    let Some(aim) = shared.aims.get(number) else { return };
    let mut kept: Option<Kept> = None;
    let mut is_first = true;
    while !shared.leaves() {
        let sent = Instant::now();
        let connection = match unless_late(&shared, connected(kept.take(), aim)).await {
            Ok(connection) => connection,
            Err(late) => {
                let asked = late.map(|end| Asked { sent, took: sent.elapsed(), kept: false, end });
                return asked.into_iter().for_each(|asked| shared.count(number, asked));
            }
        };
        let Ok(mut connection) = connection else {
            let is_final = shared.stopping.load(SeqCst);
            shared.count(number, Asked { sent, took: sent.elapsed(), kept: false, end: End::Refused });
            if is_final {
                return;
            }
            tokio::time::sleep(PAUSE_NEW).await;
            continue;
        };
        let sent = Instant::now();
        let end = ask(&shared, number, &mut connection, keeps).await;
        if let Some(end) = end {
            let over = Instant::now();
            // It was sent when the system had it, and never if the connection was closed before.
            let sent = connection.traffic.went().filter(|went| *went >= sent).unwrap_or(over);
            shared.count(number, Asked { sent, took: over - sent, kept: connection.used, end });
        }
        connection.used = true;
        kept = Some(connection).filter(|_| keeps && matches!(end, Some(End::Answered(_))));
        // After the first answer clients stand in a row: in each moment there are young requests and old ones.
        let share = sent.elapsed().mul_f64(client as f64 / clients as f64).min(LONGEST_STAGGER);
        let pause = if keeps { PAUSE } else { PAUSE_NEW };
        tokio::time::sleep(if is_first { pause + share } else { pause }).await;
        is_first = false;
    }
}

/// Returns the connection if it can take one more request, else a new one.
async fn connected(kept: Option<Kept>, aim: &Target) -> io::Result<Kept> {
    if let Some(mut kept) = kept
        && kept.sender.ready().await.is_ok()
    {
        return Ok(kept);
    }
    connect(aim).await
}

async fn connect(aim: &Target) -> io::Result<Kept> {
    let stream = Stream::connect(&aim.at).await?;
    let traffic = stream.traffic();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(connection);
    Ok(Kept { sender, traffic, used: false })
}

/// Returns what became of one request; `None` if it was under way when the load was to end.
async fn ask(shared: &Shared, number: usize, connection: &mut Kept, keeps: bool) -> Option<End> {
    let aim = shared.aims.get(number)?;
    let mut request = Request::builder().uri(aim.path.as_str()).header(HOST, aim.host.as_str());
    if !keeps {
        request = request.header(CONNECTION, "close");
    }
    let Ok(request) = request.body(Empty::new()) else { return Some(End::Refused) };
    let before = connection.traffic.came();
    match unless_late(shared, exchange(shared, number, &mut connection.sender, request)).await {
        Ok(Some(status)) => Some(End::Answered(status)),
        Ok(None) if connection.traffic.came() == before => Some(End::Unanswered),
        Ok(None) => Some(End::CutShort),
        Err(late) => late,
    }
}

/// Does it, unless it still goes on some time after the load was told to end; then its end is the error.
async fn unless_late<T>(shared: &Shared, work: impl Future<Output = T>) -> Result<T, Option<End>> {
    let mut work = std::pin::pin!(work);
    let mut left = None;
    loop {
        if let Ok(done) = timeout(LOOK, work.as_mut()).await {
            return Ok(done);
        }
        if !shared.leaves() {
            continue;
        }
        let left: Instant = *left.get_or_insert_with(Instant::now);
        let is_stopping = shared.stopping.load(SeqCst);
        // A stream without an end is none of the app's faults when nobody was to end it.
        if left.elapsed() > if is_stopping { LAST_ANSWER } else { LAST_OF_MANY } {
            return Err(Some(End::Hung).filter(|_| is_stopping));
        }
    }
}

/// Returns the status of a whole answer.
async fn exchange(
    shared: &Shared,
    number: usize,
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Option<u16> {
    let answer = sender.send_request(request).await.ok()?;
    shared.tell(number, Tally::begun);
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

    use super::super::tally::{Loss, Turns};
    use super::*;

    /// The system accepts connections before anybody does: a handshake can go on for ever.
    #[test]
    fn a_handshake_without_an_end_is_counted_and_holds_nothing_up() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let aim = Target::parse(&format!("https://{}", silent.local_addr().unwrap())).unwrap();
        for (stops, lost) in [(false, None), (true, Some(&2))] {
            let load = Load::start(std::slice::from_ref(&aim), 2).unwrap();
            let _connected = [silent.accept().unwrap(), silent.accept().unwrap()];
            if stops {
                load.stopping();
            }
            let began = Instant::now();
            let (_, tally) = load.end().remove(0);
            assert!(began.elapsed() < LAST_ANSWER * 2, "it was waited for in vain");
            assert_eq!(tally.counts(Turns::Never, false).lost.get(&Loss::Hung), lost);
        }
    }
}
