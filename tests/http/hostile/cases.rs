//! What the guests of the matrix do in the handler and in the hook, and what becomes of each, as data.

/// The generation of WASI of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Async,
    Classic,
}

pub const KINDS: [Kind; 2] = [Kind::Async, Kind::Classic];

/// What is left of a request when the stop comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it was answered, whatever it did to its instance.
    Nothing,
    /// It is in flight, and another function of the instance can be entered beside it, if it is async.
    Waiting,
    /// It is in flight and never lets go.
    Running,
}

/// How the client of the request fares before the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Its answer is whole, with this status.
    Answered(u16),
    /// The host tells it that the guest failed.
    Told,
    /// Its answer was cut off.
    Aborted,
    /// It waits for the head.
    Waits,
    /// It has the head and waits for more.
    Reads,
}

/// One guest in the handler.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The words of the table.
    pub what: &'static str,
    pub path: &'static str,
    pub client: Client,
    pub left: Left,
}

const fn case(what: &'static str, path: &'static str, client: Client, left: Left) -> Case {
    Case { what, path, client, left }
}

pub const CASES: &[Case] = &[
    case("does what it should", "/", Client::Answered(200), Left::Nothing),
    case("spins", "/spin", Client::Waits, Left::Running),
    case("parks for an hour", "/park", Client::Waits, Left::Waiting),
    case("traps", "/trap", Client::Told, Left::Nothing),
    case("calls `exit(3)`", "/exit?code=3", Client::Told, Left::Nothing),
    case("calls `exit(0)`", "/exit?code=0", Client::Told, Left::Nothing),
    case("takes more memory than it may", "/grow?mib=100", Client::Answered(507), Left::Nothing),
    case("gives no response", "/no-response", Client::Told, Left::Nothing),
    case("spins in the middle of a body", "/spin-mid?after=1", Client::Reads, Left::Running),
    case("parks in the middle of a body", "/park-mid", Client::Reads, Left::Waiting),
    case("traps in the middle of a body", "/trap-mid", Client::Aborted, Left::Nothing),
    case("streams without end", "/endless", Client::Reads, Left::Waiting),
];

/// The hook: its words, the value of `HOOK`, and the outcome of a component that only waits for it.
pub const HOOKS: &[(&str, &str, &str)] = &[
    ("returns", "ok", "stopped"),
    ("returns an error", "error", "hook-failed"),
    ("traps", "trap", "hook-failed"),
    ("spins", "spin", "cut-off"),
    ("parks for an hour", "park", "cut-off"),
];

/// The outcome of a stop that waits for requests as long as it may, or that a second signal cuts off.
pub fn outcome(case: &Case, hook: (&str, &str, &'static str), kind: Kind, cut_at_once: bool) -> &'static str {
    match case.left {
        Left::Nothing => hook.2,
        // The hook comes at half of the grace, beside the request; its trap ends both.
        Left::Waiting if kind == Kind::Async && hook.1 == "trap" && !cut_at_once => "hook-failed",
        Left::Waiting | Left::Running => "cut-off",
    }
}
