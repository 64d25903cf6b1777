//! The guests of the matrix and what becomes of each, as data.

/// What a guest does, and how it must end.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The words of scenarios.md, part G.
    pub what: &'static str,
    pub run: &'static str,
    pub hook: &'static str,
    /// TOML that this guest needs.
    pub keys: &'static str,
    /// The outcome of a graceful stop.
    pub outcome: &'static str,
    /// It ends by itself: its end is ignored, and the event comes after it.
    pub early: bool,
    /// Which guests can do it.
    pub kinds: &'static [Kind],
}

/// The generation of WASI of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Async,
    Classic,
    JavaScript,
    Python,
    AsyncPython,
}

impl Kind {
    /// The grace of its cells, in milliseconds: short enough for a test of some hundred cells. An interpreter has more to do
    /// on its way out.
    pub fn grace(self) -> u32 {
        match self {
            Kind::Async | Kind::Classic => super::GRACE,
            Kind::JavaScript | Kind::Python | Kind::AsyncPython => 1600,
        }
    }

    /// As the tables call it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Async => "async",
            Kind::Classic => "sync",
            Kind::JavaScript => "JavaScript",
            Kind::Python => "Python",
            Kind::AsyncPython => "Python, async",
        }
    }
}

const BOTH: &[Kind] = &[Kind::Async, Kind::Classic];

const fn run(what: &'static str, run: &'static str, outcome: &'static str) -> Case {
    Case { what, run, hook: "good", keys: "", outcome, early: false, kinds: BOTH }
}

const fn early(what: &'static str, run: &'static str, outcome: &'static str) -> Case {
    Case { what, run, hook: "good", keys: "", outcome, early: true, kinds: BOTH }
}

const fn hook(what: &'static str, hook: &'static str, outcome: &'static str) -> Case {
    Case { what, run: "good", hook, keys: "", outcome, early: false, kinds: BOTH }
}

impl Case {
    const fn keys(mut self, keys: &'static str) -> Case {
        self.keys = keys;
        self
    }

    const fn only_async(self) -> Case {
        self.of(&[Kind::Async])
    }

    const fn of(mut self, kinds: &'static [Kind]) -> Case {
        self.kinds = kinds;
        self
    }
}

const DATA: &str = "dirs = [{ host = \"data\", guest = \"/data\" }]";
const LISTEN: &str = "network = { listen = [\"127.0.0.1:0\"] }";

/// All guests of the matrix.
pub const CASES: &[Case] = &[
    run("does what it should", "good", "stopped"),
    run("spins in `run`", "spin", "cut-off"),
    run("parks for an hour in `run`", "park", "cut-off"),
    run("parks the whole store for an hour", "park-sync", "cut-off").only_async(),
    run("reads a stdin that never speaks", "stdin", "cut-off").keys("stdin = true"),
    run("accepts with no client", "accept", "cut-off").keys(LISTEN),
    run("looks for ever whether a time is over", "look-for-ever", "cut-off").of(&[Kind::Classic]),
    run("is blocked in opening a file", "fifo", "leaked").keys(DATA),
    run("fills its memory without end", "fill", "cut-off"),
    run("grows its memory as far as it can", "grow", "stopped").keys("memory = \"32MiB\""),
    early("recurses without end", "recurse", "failed"),
    early("traps in `run`", "trap", "failed"),
    run("traps in `run` when asked to stop", "trap-on-stop", "failed"),
    run("returns an error when asked to stop", "error-on-stop", "failed"),
    early("calls `exit(0)` in `run`", "exit0", "finished"),
    early("calls `exit(3)` in `run`", "exit3", "failed"),
    early("returns at once", "return", "finished"),
    early("returns an error at once", "error", "failed"),
    run("never becomes ready", "never-ready", "stopped"),
    run("floods stdout until it is asked", "flood", "stopped"),
    run("floods stdout for ever", "flood-forever", "cut-off"),
    run("writes one endless line", "endless-line", "stopped"),
    run("asks for more grace for ever, in `run`", "extend", "cut-off"),
    run("leaks sockets and handles", "leak", "stopped"),
    run("leaks tasks", "leak-tasks", "cut-off").only_async(),
    early("panics in Rust in `run`", "panic", "failed"),
    hook("spins in the hook", "spin", "cut-off"),
    hook("parks for an hour in the hook", "park", "cut-off"),
    hook("traps in the hook", "trap", "hook-failed"),
    hook("returns an error from the hook", "error", "hook-failed"),
    hook("calls `exit(0)` in the hook", "exit0", "hook-failed"),
    hook("calls `exit(3)` in the hook", "exit3", "hook-failed"),
    hook("asks for more grace for ever, in the hook", "extend", "cut-off"),
    hook("panics in Rust in the hook", "panic", "hook-failed"),
    hook("takes 100 ms in the hook", "slow", "stopped"),
    hook("floods stdout in the hook", "flood", "cut-off"),
    hook("asks for the stop in the hook", "request-stop", "stopped"),
];

const OTHERS: &[Kind] = &[Kind::JavaScript, Kind::Python, Kind::AsyncPython];
const JAVASCRIPT: &[Kind] = &[Kind::JavaScript];
const PYTHONS: &[Kind] = &[Kind::Python, Kind::AsyncPython];

/// The guests in other languages: what goes wrong there in a way of its own.
pub const IN_LANGUAGES: &[Case] = &[
    run("does what it should", "good", "stopped").of(OTHERS),
    run("spins in `run`", "spin", "cut-off").of(OTHERS),
    run("never returns from `run`", "park", "cut-off").of(OTHERS),
    early("awaits a promise that never settles, in `run`", "pending", "failed").of(JAVASCRIPT),
    early("throws in `run`", "throw", "failed").of(JAVASCRIPT),
    early("raises in `run`", "raise", "failed").of(PYTHONS),
    run("throws when asked to stop", "throw-on-stop", "failed").of(JAVASCRIPT),
    run("raises when asked to stop", "raise-on-stop", "failed").of(PYTHONS),
    early("recurses without end", "recurse", "failed").of(OTHERS),
    early("calls `exit` without an error in `run`", "exit0", "finished").of(OTHERS),
    early("calls `exit` with an error in `run`", "exit3", "failed").of(OTHERS),
    early("returns at once", "return", "finished").of(OTHERS),
    hook("spins in the hook", "spin", "cut-off").of(OTHERS),
    hook("never returns from the hook", "park", "cut-off").of(OTHERS),
    hook("throws in the hook", "throw", "hook-failed").of(JAVASCRIPT),
    hook("raises in the hook", "raise", "hook-failed").of(PYTHONS),
    hook("returns an error from the hook", "error", "hook-failed").of(OTHERS),
    hook("calls `exit` without an error in the hook", "exit0", "hook-failed").of(OTHERS),
    hook("calls `exit` with an error in the hook", "exit3", "hook-failed").of(OTHERS),
    hook("asks for more grace for ever, in the hook", "extend", "cut-off").of(OTHERS),
    hook("takes 100 ms in the hook", "slow", "stopped").of(OTHERS),
];
