//! The app in a process of its own, as an operator has it: its signals, its log and output, its control socket, its end.
//!
//! Invariant: no process of its group outlives an `AppProcess`. If the drill is killed, the system kills the app
//! (`--leave-with`). Every wait has an end, and an [`Interrupt`] ends them all.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::LogRecord;
use crate::error::CliError;
use curfew_host::admin::{Status, client::ControlClient};

const LAST_LINES: usize = 100;
/// Longest line, in bytes.
const LINE_BYTES: u64 = 64 << 10;
/// Limits of records, and of relevant ones; an app that writes more is not observed to its end.
const MOST_RECORDS: usize = 200_000;
const MOST_RELEVANT: usize = 1_000_000;
const INTERRUPT_POLL: Duration = Duration::from_millis(20);
/// Longest time that the system takes to reap killed processes.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// A request to end the drill, from any thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<InterruptState>);

#[derive(Debug, Default)]
struct InterruptState {
    is_raised: AtomicBool,
    is_handled: AtomicBool,
}

impl Interrupt {
    /// Ends the drill: its processes are killed, no further scenario runs. Returns whether the drill handles it.
    pub(crate) fn raise(&self) -> bool {
        self.0.is_raised.store(true, SeqCst);
        self.0.is_handled.load(SeqCst)
    }

    /// Sets whether the drill polls the interrupt now, and has something to clean up.
    pub(crate) fn set_handled(&self, is_handled: bool) {
        self.0.is_handled.store(is_handled, SeqCst);
    }

    fn is_raised(&self) -> bool {
        self.0.is_raised.load(SeqCst)
    }
}

#[derive(Debug)]
pub(crate) struct AppProcess {
    pub(super) pid: Pid,
    shared: Arc<SharedState>,
    control: ControlClient,
    interrupt: Interrupt,
    /// No process of its group is left: the system may give its id to others.
    is_gone: AtomicBool,
    pub(super) started: Instant,
}

#[derive(Debug, Default)]
struct SharedState {
    state: Mutex<ProcessState>,
    changed: Condvar,
}

/// State of the process, as far as its streams have been read.
#[derive(Debug, Default)]
pub(crate) struct ProcessState {
    pub(super) records: Vec<LogRecord>,
    last_lines: VecDeque<Line>,
    pub(super) exit: Option<(ExitStatus, Instant)>,
    ended_streams: usize,
}

#[derive(Debug)]
struct Line {
    text: String,
    is_record: bool,
}

impl ProcessState {
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.last_lines.iter().map(|line| line.text.clone()).collect()
    }

    fn add(&mut self, record: LogRecord) {
        let most = if record.is_relevant() { MOST_RELEVANT } else { MOST_RECORDS };
        if self.records.len() < most {
            self.records.push(record);
        }
    }
}

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, ProcessState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut ProcessState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl AppProcess {
    /// Starts the app. Call it on the main thread: the app dies with the thread that started it.
    pub(super) fn start(
        mut command: Command,
        control_socket: PathBuf,
        interrupt: &Interrupt,
    ) -> Result<Self, CliError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = Instant::now();
        let mut process = command.spawn().map_err(CliError::system("start the app"))?;
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap_or_default());
        let shared = Arc::new(SharedState::default());
        let app = Self {
            pid,
            shared: shared.clone(),
            control: ControlClient::new(control_socket),
            interrupt: interrupt.clone(),
            is_gone: AtomicBool::new(false),
            started,
        };
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let reaper = shared.clone();
        spawn("drill-reaper", move || {
            // It stays a zombie until the lock is held, so that `signal` never reaches another process of that id.
            let _gone = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            let now = Instant::now();
            reaper.change(|state| {
                let status = process.wait().unwrap_or_else(|_| ExitStatus::from_raw(1));
                state.exit = Some((status, now));
            });
        })?;
        // Output of guests; the log is on stderr.
        read_stream(shared.clone(), stdout, false)?;
        read_stream(shared, stderr, true)?;
        Ok(app)
    }

    pub(super) fn signal(&self, signal: Signal) {
        let state = self.shared.lock();
        if state.exit.is_none() {
            let _gone = kill(self.pid, signal);
        }
    }

    /// Returns the status of the app, or why the app does not return it.
    pub(super) fn status(&self) -> Result<Result<Status, String>, CliError> {
        let document = self.unless_interrupted(self.control.get("/status"))?;
        Ok(document.map_err(|error| error.to_string()).and_then(|document| {
            serde_json::from_str(&document).map_err(|error| format!("its status cannot be read: {error}"))
        }))
    }

    /// Sends an order and waits until it is carried out. Returns the app's answer or refusal.
    pub(super) fn order(&self, target: &str, within: Duration) -> Result<Result<String, String>, CliError> {
        self.unless_interrupted(async {
            match timeout(within, self.control.post(target)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_late) => Err(format!("it was not done within {} s", within.as_secs())),
            }
        })
    }

    fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Result<T, CliError> {
        let interrupted = async {
            while !self.interrupt.is_raised() {
                tokio::time::sleep(INTERRUPT_POLL).await;
            }
        };
        event_loop()?.block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = interrupted => Err(CliError::Interrupted),
            }
        })
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&ProcessState) -> T) -> T {
        read(&self.shared.lock())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.read(|state| state.exit.is_some())
    }

    /// Waits until `find` returns something, or until `until`; then returns `None`.
    pub(super) fn wait<T>(
        &self,
        until: Instant,
        mut find: impl FnMut(&ProcessState) -> Option<T>,
    ) -> Result<Option<T>, CliError> {
        let mut state = self.shared.lock();
        loop {
            if self.interrupt.is_raised() {
                return Err(CliError::Interrupted);
            }
            if let Some(found) = find(&state) {
                return Ok(Some(found));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.shared.changed.wait_timeout(state, left.min(INTERRUPT_POLL));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for this time, unless it is done or the process ends before.
    pub(super) fn pause(
        &self,
        time: Duration,
        mut is_done: impl FnMut(&ProcessState) -> bool,
    ) -> Result<(), CliError> {
        let is_over = |state: &ProcessState| (state.exit.is_some() || is_done(state)).then_some(());
        self.wait(Instant::now() + time, is_over).map(drop)
    }

    /// Waits for the end of the process and of its streams.
    pub(super) fn wait_for_end(&self, until: Instant) -> Result<Option<(ExitStatus, Instant)>, CliError> {
        let Some(exit) = self.wait(until, |state| state.exit)? else { return Ok(None) };
        // A process that it started can still hold the pipes open.
        self.wait(Instant::now() + REAP_TIMEOUT, |state| (state.ended_streams >= 2).then_some(()))?;
        Ok(Some(exit))
    }

    /// Waits for the end of its process group, and returns whether it came: the system takes a moment to reap processes.
    pub(super) fn group_is_gone(&self) -> Result<bool, CliError> {
        let gone = |_: &ProcessState| (killpg(self.pid, None) == Err(Errno::ESRCH)).then_some(());
        let is_gone = self.wait(Instant::now() + REAP_TIMEOUT, gone)?.is_some();
        self.is_gone.store(is_gone, SeqCst);
        Ok(is_gone)
    }

    pub(super) fn kill(&self) {
        if !self.is_gone.load(SeqCst) {
            let _gone = killpg(self.pid, Signal::SIGKILL);
        }
    }
}

impl Drop for AppProcess {
    fn drop(&mut self) {
        self.kill();
        let state = self.shared.lock();
        let lives = |state: &mut ProcessState| state.exit.is_none();
        let _ended = self.shared.changed.wait_timeout_while(state, REAP_TIMEOUT, lives);
    }
}

/// Adds a line and drops one: the oldest line of guests if they have more than half of all lines, else the oldest line.
fn push_line(lines: &mut VecDeque<Line>, text: String, is_record: bool) {
    lines.push_back(Line { text, is_record });
    if lines.len() > LAST_LINES {
        let guests = lines.iter().filter(|line| !line.is_record).count();
        let oldest = lines.iter().position(|line| !line.is_record).filter(|_| guests > LAST_LINES / 2);
        lines.remove(oldest.unwrap_or_default());
    }
}

/// Reads a stream to its end on a thread of its own. Only the log has records.
fn read_stream(
    shared: Arc<SharedState>,
    stream: Option<impl Read + Send + 'static>,
    is_log: bool,
) -> Result<(), CliError> {
    let Some(stream) = stream else { return Ok(()) };
    spawn("drill-reader", move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        // Longer lines come in pieces: none of them is a record.
        while matches!(stream.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
            let at = Instant::now();
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches('\n');
            let record = is_log.then(|| LogRecord::read(text, at)).flatten();
            shared.change(|state| {
                match LogRecord::plain(text).filter(|_| is_log) {
                    None => push_line(&mut state.last_lines, text.to_owned(), record.is_some()),
                    Some(plain) => plain
                        .lines()
                        .for_each(|line| push_line(&mut state.last_lines, line.to_owned(), false)),
                }
                record.into_iter().for_each(|record| state.add(record));
            });
            line.clear();
        }
        shared.change(|state| state.ended_streams += 1);
    })
}

pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(CliError::system("start a thread"))
}

pub(crate) fn event_loop() -> Result<Runtime, CliError> {
    Builder::new_current_thread().enable_all().build().map_err(CliError::system("make an event loop"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, interrupt: &Interrupt) -> AppProcess {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        AppProcess::start(command, PathBuf::new(), interrupt).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn output_and_exit_are_observed() {
        let app = start("echo one; echo two >&2; exit 7", &Interrupt::default());
        let (status, _) = app.wait_for_end(soon()).unwrap().unwrap();
        assert_eq!(status.code(), Some(7));
        let mut lines: Vec<String> = app.read(ProcessState::last_lines);
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        assert!(app.group_is_gone().unwrap());
    }

    #[test]
    fn guests_that_say_much_do_not_hide_the_log() {
        let mut lines = VecDeque::new();
        push_line(&mut lines, "record".to_owned(), true);
        (0..500).for_each(|number| push_line(&mut lines, number.to_string(), false));
        assert_eq!(
            (lines.len(), lines[0].text.as_str(), lines[1].text.as_str()),
            (LAST_LINES, "record", "401")
        );
        (0..500).for_each(|number| push_line(&mut lines, number.to_string(), true));
        assert_eq!(lines.iter().filter(|line| !line.is_record).count(), 0, "the newest are kept");
    }

    #[test]
    fn records_are_in_the_log_alone() {
        let say = |message: &str| format!(r#"{{"timestamp":"t","level":"INFO","message":"{message}"}}"#);
        let script = format!("echo '{}'; echo '{}' >&2", say("said by a guest"), say("app started"));
        let app = start(&script, &Interrupt::default());
        app.wait_for_end(soon()).unwrap().unwrap();
        let messages =
            |state: &ProcessState| state.records.iter().map(|record| record.message.clone()).collect();
        let messages: Vec<String> = app.read(messages);
        assert_eq!(messages, ["app started"]);
    }

    #[test]
    fn a_long_log_hides_no_relevant_record() {
        let mut state = ProcessState::default();
        let mut hear = |message: &str| {
            let line = format!(r#"{{"timestamp":"t","level":"INFO","message":"{message}"}}"#);
            state.add(LogRecord::read(&line, Instant::now()).unwrap());
        };
        (0..=MOST_RECORDS).for_each(|_| hear("something else"));
        hear("component ended");
        assert_eq!(state.records.len(), MOST_RECORDS + 1);
        assert!(state.records.last().is_some_and(|record| record.is("component ended", "")));
    }

    #[test]
    fn nothing_of_its_group_outlives_it() {
        let app = start("sleep 1000 & echo $!; exit 0", &Interrupt::default());
        app.wait(soon(), |state| state.exit).unwrap().unwrap();
        assert_eq!(killpg(app.pid, None), Ok(()), "the one that was left behind");
        let group = app.pid;
        drop(app);
        let end = soon();
        while killpg(group, None) != Err(Errno::ESRCH) {
            assert!(Instant::now() < end, "it lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_interrupt_ends_every_wait() {
        let interrupt = Interrupt::default();
        let app = start("sleep 1000", &interrupt);
        assert!(matches!(app.wait(Instant::now(), |state| state.exit), Ok(None)));
        assert!(!interrupt.raise());
        assert!(matches!(app.wait_for_end(soon()), Err(CliError::Interrupted)));
    }
}
