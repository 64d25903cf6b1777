//! One run of the app in a process of its own: its signals, what it says, and its end.
//!
//! Invariant: it leads a process group, and when a `Child` is gone, nothing of that group is left. A drill that is killed
//! takes it along: the system sees to that (`--leave-with`).

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::error::DrillError;
use super::interrupt::Interrupt;
use super::record::Record;

/// Lines of output that are kept for whoever wants to know why.
const TAIL_LINES: usize = 100;
/// Longest line that is kept, in bytes.
const LINE_BYTES: u64 = 64 << 10;
/// Records that are kept, and of those that are looked for; an app that says more is not understood to its end.
const MOST_RECORDS: usize = 200_000;
const MOST_LOOKED_FOR: usize = 1_000_000;
/// How often somebody who waits looks whether the drill is to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long killed processes may take to be gone.
const REAPING: Duration = Duration::from_secs(2);

/// A running app.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    heard: Arc<Heard>,
    interrupt: Interrupt,
    /// Nothing of its group is left: its number can be somebody else's now.
    gone: AtomicBool,
    /// When it was started.
    pub started: Instant,
}

#[derive(Debug, Default)]
struct Heard {
    all: Mutex<All>,
    changed: Condvar,
}

/// Everything heard of a child.
#[derive(Debug, Default)]
pub struct All {
    /// Its log.
    pub records: Vec<Record>,
    tail: VecDeque<Line>,
    /// Its end.
    pub exit: Option<(ExitStatus, Instant)>,
    ended_streams: usize,
}

/// A line of log or output.
#[derive(Debug)]
struct Line {
    text: String,
    is_record: bool,
}

impl All {
    /// Returns the last lines that it said, log and output.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().map(|line| line.text.clone()).collect()
    }

    fn keep(&mut self, record: Record) {
        let most = if record.is_looked_for() { MOST_LOOKED_FOR } else { MOST_RECORDS };
        if self.records.len() < most {
            self.records.push(record);
        }
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut All)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Child {
    /// Starts it. Call it on the main thread: the child dies with the thread that started it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(mut command: Command, interrupt: &Interrupt) -> Result<Self, DrillError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = Instant::now();
        let mut process = command.spawn().map_err(DrillError::system("start the app"))?;
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap_or_default());
        let heard = Arc::new(Heard::default());
        let child = Self {
            pid,
            heard: heard.clone(),
            interrupt: interrupt.clone(),
            gone: AtomicBool::new(false),
            started,
        };
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let reaper = heard.clone();
        thread::Builder::new()
            .name("drill-reaper".to_owned())
            .spawn(move || {
                // It stays a zombie until the lock is held: nobody signals a number that is somebody else's by then.
                let _gone = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
                let now = Instant::now();
                reaper.change(|all| {
                    let status = process.wait().unwrap_or_else(|_| ExitStatus::from_raw(1));
                    all.exit = Some((status, now));
                });
            })
            .map_err(DrillError::system("start a thread"))?;
        if let Some(stdout) = stdout {
            // Guests write there what they like; the log is the other one.
            listen(heard.clone(), stdout, false)?;
        }
        if let Some(stderr) = stderr {
            listen(heard, stderr, true)?;
        }
        Ok(child)
    }

    /// Returns its process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal and says when. Nothing happens when it has gone.
    pub fn signal(&self, signal: Signal) -> Instant {
        let all = self.heard.lock();
        if all.exit.is_none() {
            let _gone = kill(self.pid, signal);
        }
        Instant::now()
    }

    /// Looks at what was heard up to now.
    pub fn look<T>(&self, look: impl FnOnce(&All) -> T) -> T {
        look(&self.heard.lock())
    }

    /// Whether its process is gone.
    pub fn has_ended(&self) -> bool {
        self.look(|all| all.exit.is_some())
    }

    /// Waits until `found` finds something, or `until`; then `None`.
    ///
    /// # Errors
    /// When the drill is to end.
    pub fn wait<T>(
        &self,
        until: Instant,
        mut found: impl FnMut(&All) -> Option<T>,
    ) -> Result<Option<T>, DrillError> {
        let mut all = self.heard.lock();
        loop {
            if self.interrupt.is_raised() {
                return Err(DrillError::Interrupted);
            }
            if let Some(found) = found(&all) {
                return Ok(Some(found));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.heard.changed.wait_timeout(all, left.min(LOOK));
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets a moment pass, where the system tells nobody of what is waited for. Its end cuts it short.
    ///
    /// # Errors
    /// When the drill is to end.
    pub fn pause(&self, time: Duration) -> Result<(), DrillError> {
        self.wait(Instant::now() + time, |all| all.exit.map(drop)).map(drop)
    }

    /// Waits for its end, and for the end of what it said.
    ///
    /// # Errors
    /// When the drill is to end.
    pub fn wait_for_end(&self, until: Instant) -> Result<Option<(ExitStatus, Instant)>, DrillError> {
        let Some(exit) = self.wait(until, |all| all.exit)? else { return Ok(None) };
        // A process that it left behind can hold the pipes open.
        self.wait(Instant::now() + REAPING, |all| (all.ended_streams >= 2).then_some(()))?;
        Ok(Some(exit))
    }

    /// Waits for the end of its group, and returns whether it came: killed children take a moment to be reaped.
    ///
    /// # Errors
    /// When the drill is to end.
    pub fn group_is_gone(&self) -> Result<bool, DrillError> {
        let gone = |_: &All| (killpg(self.pid, None) == Err(Errno::ESRCH)).then_some(());
        let is_gone = self.wait(Instant::now() + REAPING, gone)?.is_some();
        self.gone.store(is_gone, SeqCst);
        Ok(is_gone)
    }

    /// Ends it by force, with all its group.
    pub fn kill(&self) {
        if !self.gone.load(SeqCst) {
            let _gone = killpg(self.pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let mut all = self.heard.lock();
        let end = Instant::now() + REAPING;
        while all.exit.is_none() && Instant::now() < end {
            all = self.heard.changed.wait_timeout(all, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Keeps a line, and forgets one for it: of guests' lines that are more than half of all the oldest, else the oldest of all.
fn remember(tail: &mut VecDeque<Line>, text: String, is_record: bool) {
    tail.push_back(Line { text, is_record });
    if tail.len() > TAIL_LINES {
        let guests = tail.iter().filter(|line| !line.is_record).count();
        let oldest = tail.iter().position(|line| !line.is_record).filter(|_| guests > TAIL_LINES / 2);
        tail.remove(oldest.unwrap_or_default());
    }
}

/// Reads a stream to its end on a thread of its own; records are in a log only.
fn listen(heard: Arc<Heard>, stream: impl Read + Send + 'static, is_log: bool) -> Result<(), DrillError> {
    let work = move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        // Longer lines come in pieces: none of them is a record.
        while matches!(stream.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
            let at = Instant::now();
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches('\n');
            let record = is_log.then(|| Record::read(text, at)).flatten();
            heard.change(|all| {
                remember(&mut all.tail, text.to_owned(), record.is_some());
                if let Some(record) = record {
                    all.keep(record);
                }
            });
            line.clear();
        }
        heard.change(|all| all.ended_streams += 1);
    };
    let thread = thread::Builder::new().name("drill-listener".to_owned()).spawn(work);
    thread.map(drop).map_err(DrillError::system("start a thread"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn what_a_child_says_and_how_it_ends_is_heard() {
        let child = Child::start(shell("echo one; echo two >&2; exit 7"), &Interrupt::default()).unwrap();
        let (status, _) = child.wait_for_end(soon()).unwrap().unwrap();
        assert_eq!(status.code(), Some(7));
        let mut tail: Vec<String> = child.look(All::tail);
        tail.sort();
        assert_eq!(tail, ["one", "two"]);
        assert!(child.group_is_gone().unwrap());
    }

    #[test]
    fn guests_that_say_much_do_not_hide_the_log() {
        let mut tail = VecDeque::new();
        remember(&mut tail, "record".to_owned(), true);
        (0..500).for_each(|number| remember(&mut tail, number.to_string(), false));
        assert_eq!((tail.len(), tail[0].text.as_str(), tail[1].text.as_str()), (TAIL_LINES, "record", "401"));
        (0..500).for_each(|number| remember(&mut tail, number.to_string(), true));
        assert_eq!(tail.iter().filter(|line| !line.is_record).count(), 0, "the newest are kept");
    }

    #[test]
    fn records_are_in_the_log_alone() {
        let say = |message: &str| format!(r#"{{"timestamp":"t","level":"INFO","message":"{message}"}}"#);
        let script = format!("echo '{}'; echo '{}' >&2", say("said by a guest"), say("app started"));
        let child = Child::start(shell(&script), &Interrupt::default()).unwrap();
        child.wait_for_end(soon()).unwrap().unwrap();
        let said = |all: &All| all.records.iter().map(|record| record.said.message.clone()).collect();
        let said: Vec<String> = child.look(said);
        assert_eq!(said, ["app started"]);
    }

    #[test]
    fn a_long_log_hides_nothing_that_is_looked_for() {
        let mut all = All::default();
        let mut hear = |message: &str| {
            let line = format!(r#"{{"timestamp":"t","level":"INFO","message":"{message}"}}"#);
            all.keep(Record::read(&line, Instant::now()).unwrap());
        };
        (0..=MOST_RECORDS).for_each(|_| hear("something else"));
        hear("component ended");
        assert_eq!(all.records.len(), MOST_RECORDS + 1);
        assert!(all.records.last().is_some_and(|record| record.is("component ended", "")));
    }

    #[test]
    fn nothing_of_its_group_outlives_it() {
        let child = Child::start(shell("sleep 1000 & echo $!; exit 0"), &Interrupt::default()).unwrap();
        child.wait(soon(), |all| all.exit).unwrap().unwrap();
        assert_eq!(killpg(child.pid, None), Ok(()), "the one that was left behind");
        let group = child.pid;
        drop(child);
        let end = soon();
        while killpg(group, None) != Err(Errno::ESRCH) {
            assert!(Instant::now() < end, "it lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_interrupt_ends_every_wait() {
        let interrupt = Interrupt::default();
        let child = Child::start(shell("sleep 1000"), &interrupt).unwrap();
        assert!(matches!(child.wait(Instant::now(), |all| all.exit), Ok(None)));
        assert!(!interrupt.raise());
        assert!(matches!(child.wait_for_end(soon()), Err(DrillError::Interrupted)));
    }
}
