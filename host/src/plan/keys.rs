//! The keys of a manifest: for each its shape, its default and its meaning, declared once.
//!
//! Invariant: whatever reads, explains or documents a manifest gets its keys from [`ROOT`]. What a shape takes
//! is in `scalar`.

use std::time::Duration;

use super::http::{
    DEFAULT_CONNECTIONS, DEFAULT_HEADER_SIZE, DEFAULT_HEADER_TIMEOUT, DEFAULT_IDLE_TIMEOUT,
    DEFAULT_INSTANCE_IDLE, DEFAULT_QUEUE, DEFAULT_REQUEST_TIMEOUT, DEFAULT_REQUESTS, MAX_HEADER_SIZE,
    MIN_HEADER_SIZE,
};
use super::schema::Fallback::{self, Depends, Nothing, Required, Size, Word};
use super::schema::Shape::{self, Address, Flag, Label, Path, Text};
use super::schema::{
    AFTER_DRAIN, APPEND, AT_START, Choice, IGNORE, JSON, Key, NGINX, Names, OFF, READ_ONLY, READ_WRITE,
    REPLACE, RESTART, SAID, STANDARD, STARTED, STOP_APP, TEXT,
};
use super::types::{
    DEFAULT_FAIL_GRACE, DEFAULT_FIRST_PAUSE, DEFAULT_GRACE, DEFAULT_HEALTH_EVERY, DEFAULT_HEALTH_FAILURES,
    DEFAULT_LONGEST_PAUSE, DEFAULT_MEMORY, DEFAULT_RESTARTS, DEFAULT_START_TIMEOUT,
};

const fn key(name: &'static str, shape: Shape, fallback: Fallback, doc: &'static str) -> Key {
    Key { name, shape, fallback, doc }
}

const fn choice(word: &'static str, doc: &'static str) -> Choice {
    Choice { word, doc }
}

const TIME: Shape = Shape::Duration { zero: true };
const TIME_ABOVE_0: Shape = Shape::Duration { zero: false };
const SIZE: Shape = Shape::Size { min: 1, max: u64::MAX };
const HEADER_SIZE: Shape = Shape::Size { min: MIN_HEADER_SIZE as u64, max: MAX_HEADER_SIZE as u64 };
const FROM_0: Shape = Shape::Number { min: 0 };
const FROM_1: Shape = Shape::Number { min: 1 };
const NO: Fallback = Fallback::Flag(false);

const SIGNALS: Shape = Shape::Choice(&[
    choice(STANDARD, "TERM and INT stop gracefully."),
    choice(NGINX, "TERM and INT stop at once, QUIT stops gracefully."),
]);
const ON_END: Shape = Shape::Choice(&[
    choice(STOP_APP, "The whole app stops: one leaves, all leave."),
    choice(IGNORE, "The others go on."),
    choice(RESTART, "It is started again, within the limits of `restart`."),
]);
const READY: Shape = Shape::Choice(&[
    choice(STARTED, "When its `run` has been entered, or its listener accepts."),
    choice(SAID, "When it has called `ready` of `curfew:lifecycle/host`."),
]);
const HOOK: Shape = Shape::Choice(&[
    choice(AT_START, "As soon as the component is asked to stop."),
    choice(AFTER_DRAIN, "When its `run` has returned, or its requests are done."),
]);
const ACCESS_LOG: Shape = Shape::Choice(&[
    choice(OFF, "Requests are not told."),
    choice(TEXT, "One line of text for each request."),
    choice(JSON, "One line of JSON for each request."),
]);
const FORWARDED: Shape = Shape::Choice(&[
    choice(REPLACE, "They are taken away; the component gets what the host knows."),
    choice(APPEND, "They stay, and what the host knows is added: behind a proxy that is trusted."),
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
    key("access-log", ACCESS_LOG, Word(OFF), "Whether each request is told, and how."),
    key("admin", Address, Nothing, "The address of /livez, /readyz, /status and /metrics; off unless set."),
    key("control", Path, Nothing, "The control socket, with mode 0600; off unless set."),
];

/// The keys of `[component.NAME]`.
pub const COMPONENT: &[Key] = &[
    key("source", Path, Required, "The component's `.wasm` file."),
    key(
        "listen",
        Shape::List(&Shape::ListenAddress),
        Nothing,
        "Kinds `http` and `tcp`: the addresses the host listens on for it; http components that have routes can share \
         one. `fd:NAME` is a socket that systemd hands over.",
    ),
    key(
        "routes",
        Shape::List(&Shape::Route),
        Depends("what no other component's route takes"),
        "Kind `http`: which requests on its addresses are its own, each a host, the start of a path, or both.",
    ),
    key("tls", Shape::Table(TLS), Nothing, "Kinds `http` and `tcp`: the certificate of its addresses."),
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
    key(
        "hook",
        HOOK,
        Depends("`\"at-start\"` next to an async `run`, else `\"after-drain\"`"),
        "When its exported `shutdown` is called.",
    ),
    key("on-exit", ON_END, Word(STOP_APP), "What its normal end means for the app."),
    key(
        "on-failure",
        ON_END,
        Depends("`\"restart\"` for the kinds `http` and `tcp`, else `\"stop-app\"`"),
        "What its failure means for the app.",
    ),
    key(
        "restart",
        Shape::Table(RESTARTS),
        Nothing,
        "How often, and how soon, it is started again, where `on-exit` or `on-failure` says so.",
    ),
    key(
        "ready",
        READY,
        Depends("`\"said\"` if it imports `ready`, else `\"started\"`"),
        "When those that come `after` it can start.",
    ),
    key(
        "health",
        Shape::Table(HEALTH),
        Nothing,
        "How it is found out whether it is alive; off unless set. Who is not has failed.",
    ),
    key(
        "overlap",
        Flag,
        NO,
        "Services: on a reload, whether the new instance starts before the old one has ended.",
    ),
    key(
        "instances",
        Shape::Table(INSTANCES),
        Nothing,
        "Kinds `http` and `tcp`: how many instances there are, and for how long.",
    ),
    key(
        "request-timeout",
        TIME_ABOVE_0,
        Fallback::Duration(DEFAULT_REQUEST_TIMEOUT),
        "Kind `http`: longest time until the response to a request begins.",
    ),
    key("limits", Shape::Table(LIMITS), Nothing, "Kinds `http` and `tcp`: what clients may use up."),
    key(
        "forwarded",
        FORWARDED,
        Word(REPLACE),
        "Kind `http`: what becomes of the `forwarded` and `x-forwarded-*` headers of a client.",
    ),
    key(
        "start-timeout",
        TIME_ABOVE_0,
        Fallback::Duration(DEFAULT_START_TIMEOUT),
        "Longest time from the start of an instance until it is ready.",
    ),
    key("memory", SIZE, Size(DEFAULT_MEMORY), "All linear memories of one instance together."),
    key("stdin", Flag, NO, "Whether it reads the standard input; at most one component of an app does."),
    key("args", Shape::List(&Text), Nothing, "Its arguments, without the name of the program."),
    key("env", Shape::Map(Names::Variables, &Text), Nothing, "Its whole environment."),
    key("dirs", Shape::List(&Shape::Table(DIR)), Nothing, "The directories it sees."),
    key("network", Shape::Table(NETWORK), Nothing, "The addresses it may use."),
    key("outbound-http", Shape::List(&Shape::Origin), Nothing, "The HTTP servers it may send requests to."),
    key("config", Shape::Map(Names::Any, &Text), Nothing, "What it reads through `wasi:config/store`."),
];

const RESTARTS: &[Key] = &[
    key("max", FROM_0, Fallback::Number(DEFAULT_RESTARTS as u64), "So many restarts at most…"),
    key(
        "within",
        TIME_ABOVE_0,
        Depends("`\"1m\"`, or twice the time that `max` restarts can take if that is longer"),
        "…within this time; one more, and the app stops.",
    ),
    key(
        "backoff",
        Shape::Pair(&TIME),
        Fallback::Durations(DEFAULT_FIRST_PAUSE, DEFAULT_LONGEST_PAUSE),
        "The first pause before a restart, and the longest: each is twice the one before, less a little by \
         chance. Who has run for the longest begins anew with the first.",
    ),
];

const HEALTH: &[Key] = &[
    key(
        "path",
        Shape::RequestPath,
        Nothing,
        "Kind `http`, which needs it: what is asked for with GET; an answer below 500 is good. A service calls \
         `alive` of `curfew:lifecycle/host` instead.",
    ),
    key(
        "every",
        TIME_ABOVE_0,
        Fallback::Duration(DEFAULT_HEALTH_EVERY),
        "Time between two questions, or longest time between two calls of `alive`.",
    ),
    key(
        "timeout",
        TIME_ABOVE_0,
        Depends("what `every` says"),
        "Kind `http`: longest time until an answer begins.",
    ),
    key(
        "failures",
        FROM_1,
        Fallback::Number(DEFAULT_HEALTH_FAILURES as u64),
        "So many missed in a row, and it has failed.",
    ),
];

const TLS: &[Key] = &[
    key("cert", Path, Required, "The certificate, with those that sign it: a PEM file."),
    key("key", Path, Required, "Its private key: a PEM file."),
];

const INSTANCES: &[Key] = &[
    key("max", FROM_1, Depends("one for each core if its handler is async, else 32"), "Most at a time."),
    key(
        "concurrency",
        FROM_1,
        Depends("64 if its handler is async (`tcp`: 512), else always 1"),
        "Most requests, or connections, in one instance at a time.",
    ),
    key(
        "requests",
        FROM_0,
        Fallback::Number(DEFAULT_REQUESTS),
        "Requests, or connections, after which an instance is replaced; 0 is never.",
    ),
    key(
        "queue",
        FROM_0,
        Fallback::Number(DEFAULT_QUEUE as u64),
        "Requests, or connections, that may wait for an instance; one more is answered with 503, or reset.",
    ),
    key(
        "idle",
        TIME_ABOVE_0,
        Fallback::Duration(DEFAULT_INSTANCE_IDLE),
        "How long an instance stays without work; the last one stays for ever.",
    ),
];

const LIMITS: &[Key] = &[
    key(
        "connections",
        FROM_1,
        Fallback::Number(DEFAULT_CONNECTIONS as u64),
        "Most connections at a time on each of its addresses; more wait to be accepted.",
    ),
    key("header-size", HEADER_SIZE, Size(DEFAULT_HEADER_SIZE as u64), "Most bytes of a request's head."),
    key("body-size", SIZE, Nothing, "Most bytes of a request's body; no limit unless set."),
    key(
        "header-timeout",
        TIME_ABOVE_0,
        Fallback::Duration(DEFAULT_HEADER_TIMEOUT),
        "Longest time for the head of a request to arrive.",
    ),
    key(
        "idle-timeout",
        TIME_ABOVE_0,
        Fallback::Duration(DEFAULT_IDLE_TIMEOUT),
        "How long a connection stays without a request.",
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
        Shape::List(&Address),
        Nothing,
        "Addresses it may bind; port 0 allows one of the system's choice.",
    ),
    key("connect", Shape::List(&Shape::Peer), Nothing, "Peers it may connect or send to."),
    key("names", Flag, NO, "Whether it may look up names."),
];
