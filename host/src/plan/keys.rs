//! The keys of a manifest: for each its shape, its default and its meaning, declared once.
//!
//! Invariant: whatever reads, explains or documents a manifest gets its keys from [`ROOT`]. What a shape takes
//! is in `scalar`.

use std::time::Duration;

use super::schema::Fallback::{self, Depends, Nothing, Required, Size, Word};
use super::schema::Shape::{self, Flag, Label, Listen, Path, Text};
use super::schema::{
    AFTER_DRAIN, AT_START, Choice, IGNORE, Key, NGINX, Names, READ_ONLY, READ_WRITE, RESTART, STANDARD,
    STOP_APP,
};
use super::types::{DEFAULT_FAIL_GRACE, DEFAULT_GRACE, DEFAULT_MEMORY, DEFAULT_START_TIMEOUT};

const fn key(name: &'static str, shape: Shape, fallback: Fallback, doc: &'static str) -> Key {
    Key { name, shape, fallback, doc }
}

const fn choice(word: &'static str, doc: &'static str) -> Choice {
    Choice { word, doc }
}

const TIME: Shape = Shape::Duration { zero: true };
const TIME_ABOVE_0: Shape = Shape::Duration { zero: false };

const SIGNALS: Shape = Shape::Choice(&[
    choice(STANDARD, "TERM and INT stop gracefully."),
    choice(NGINX, "TERM and INT stop at once, QUIT stops gracefully."),
]);
const ON_END: Shape = Shape::Choice(&[
    choice(STOP_APP, "The whole app stops: one leaves, all leave."),
    choice(IGNORE, "The others go on."),
    choice(RESTART, "It is started again, within the limits of `restart`."),
]);
const HOOK: Shape = Shape::Choice(&[
    choice(AT_START, "As soon as the component is asked to stop."),
    choice(AFTER_DRAIN, "When its `run` has returned, or its requests are done."),
]);
const ACCESS: Shape = Shape::Choice(&[
    choice(READ_ONLY, "The component reads."),
    choice(READ_WRITE, "The component reads, writes, creates and deletes."),
]);

/// The top level of a manifest.
pub const ROOT: &[Key] = &[
    key("app", Shape::Table(APP), Nothing, "What holds for the app as a whole."),
    key(
        "component",
        Shape::Map(Names::Components, &Shape::Table(COMPONENT)),
        Required,
        "The components, one table each: `[component.NAME]`.",
    ),
];

/// The keys of `[app]`.
pub const APP: &[Key] = &[
    key(
        "name",
        Label,
        Depends("the name of the manifest's folder"),
        "The app's name, for logs and the report.",
    ),
    key(
        "grace",
        TIME,
        Fallback::Duration(DEFAULT_GRACE),
        "Longest graceful stop of the whole app; 0 cuts off at once.",
    ),
    key("fail-grace", TIME, Fallback::Duration(DEFAULT_FAIL_GRACE), "The same when a component has failed."),
    key(
        "drain-delay",
        TIME,
        Fallback::Duration(Duration::ZERO),
        "How long a stop by TERM stays not ready, but serving, before any component is asked.",
    ),
    key("signals", SIGNALS, Word(STANDARD), "Which table of signals holds."),
    key("admin", Listen, Nothing, "The address of /livez, /readyz, /status and /metrics; off unless set."),
    key("control", Path, Nothing, "The control socket, with mode 0600; off unless set."),
];

/// The keys of `[component.NAME]`.
pub const COMPONENT: &[Key] = &[
    key("source", Path, Required, "The component's `.wasm` file."),
    key("listen", Shape::List(&Listen), Nothing, "Kind `http`: the addresses the host listens on for it."),
    key(
        "after",
        Shape::List(&Shape::Component),
        Nothing,
        "The components it depends on: it starts after they are ready, and stops before them.",
    ),
    key(
        "grace",
        TIME,
        Depends("the app's grace"),
        "Longest time between its notice and its cut-off; never longer than the app's.",
    ),
    key("hook", HOOK, Depends("the component's kind"), "When its exported `shutdown` is called."),
    key("on-exit", ON_END, Word(STOP_APP), "What its normal end means for the app."),
    key("on-failure", ON_END, Word(STOP_APP), "What its failure means for the app."),
    key("restart", Shape::Table(RESTARTS), Nothing, "How often, and how soon, it is started again."),
    key(
        "instances",
        Shape::Table(INSTANCES),
        Nothing,
        "Kind `http`: how many instances there are, and for how long.",
    ),
    key("request-timeout", TIME_ABOVE_0, Nothing, "Kind `http`: longest time for one request."),
    key(
        "start-timeout",
        TIME_ABOVE_0,
        Fallback::Duration(DEFAULT_START_TIMEOUT),
        "Longest time from the start of an instance until its `run` is entered.",
    ),
    key("memory", Shape::Size, Size(DEFAULT_MEMORY), "All linear memories of one instance together."),
    key("stdin", Flag, Nothing, "Whether it reads the standard input; at most one component of an app does."),
    key("args", Shape::List(&Text), Nothing, "Its arguments, without the name of the program."),
    key("env", Shape::Map(Names::Variables, &Text), Nothing, "Its whole environment."),
    key("dirs", Shape::List(&Shape::Table(DIR)), Nothing, "The directories it sees."),
    key("network", Shape::Table(NETWORK), Nothing, "The addresses it may use."),
    key("outbound-http", Shape::List(&Shape::Origin), Nothing, "The HTTP servers it may send requests to."),
    key("config", Shape::Map(Names::Any, &Text), Nothing, "What it reads through `wasi:config/store`."),
];

const RESTARTS: &[Key] = &[
    key("max", Shape::Number { min: 0 }, Nothing, "So many restarts at most…"),
    key("within", TIME_ABOVE_0, Nothing, "…within this time; one more, and the component has given up."),
    key("backoff", Shape::Pair(&TIME), Nothing, "The first pause before a restart, and the longest."),
];

const INSTANCES: &[Key] = &[
    key("max", Shape::Number { min: 1 }, Nothing, "Most instances at a time."),
    key("concurrency", Shape::Number { min: 1 }, Nothing, "Most requests in one instance at a time."),
    key(
        "requests",
        Shape::Number { min: 0 },
        Nothing,
        "Requests after which an instance is replaced; 0 is never.",
    ),
];

const DIR: &[Key] = &[
    key("host", Path, Required, "The directory on the host."),
    key("guest", Shape::GuestPath, Required, "Its path in the component."),
    key("access", ACCESS, Word(READ_ONLY), "What the component may do in it."),
];

const NETWORK: &[Key] = &[
    key(
        "listen",
        Shape::List(&Listen),
        Nothing,
        "Addresses it may bind; port 0 allows one of the system's choice.",
    ),
    key("connect", Shape::List(&Shape::Peer), Nothing, "Peers it may connect or send to."),
    key("names", Flag, Nothing, "Whether it may look up names."),
];
