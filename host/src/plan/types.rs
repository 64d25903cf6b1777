//! What is to run, as plain checked data: no file is open, nothing is compiled.
//!
//! Invariant: a `Plan` that exists is consistent (names unique, durations sane, addresses parsed), whoever
//! made it: the manifest, the command line, or an embedder. How text becomes a plan is in `manifest`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::http::HttpPlan;
use super::origin::Origin;

/// Longest graceful stop of the app, where nothing else is said.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(25);
/// Longest stop after a component has failed, where nothing else is said.
pub const DEFAULT_FAIL_GRACE: Duration = Duration::from_secs(5);
/// Longest time from the start of an instance to its `run`, where nothing else is said.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(10);
/// Most restarts within the period, where nothing else is said.
pub const DEFAULT_RESTARTS: u32 = 5;
/// The period that restarts are counted in, where nothing else is said.
pub const DEFAULT_RESTART_PERIOD: Duration = Duration::from_secs(60);
/// The first pause before a restart, where nothing else is said.
pub const DEFAULT_FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause before a restart, where nothing else is said.
pub const DEFAULT_LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Time between two looks whether a component is alive, where nothing else is said.
pub const DEFAULT_HEALTH_EVERY: Duration = Duration::from_secs(10);
/// Looks in a row that may fail, where nothing else is said.
pub const DEFAULT_HEALTH_FAILURES: u32 = 3;
/// Bytes of linear memory of one instance, where nothing else is said.
pub const DEFAULT_MEMORY: u64 = 256 << 20;

/// An app: what one manifest or one command line describes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The app as a whole.
    pub app: AppPlan,
    /// The components, in the order of the manifest. Never empty; names are unique.
    pub components: Vec<ComponentPlan>,
    /// Where the plan was read from, when it came from a manifest.
    pub manifest: Option<PathBuf>,
    /// A single bare file: its streams pass through unprefixed and its exit status is the app's.
    pub passthrough: bool,
}

/// What holds for the app as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPlan {
    /// The app's name, for logs and the report.
    pub name: String,
    /// Longest graceful stop, from the end of the delay to the cut-off. 0 cuts off at once.
    pub grace: Duration,
    /// The same when a component has failed.
    pub fail_grace: Duration,
    /// How long a stop by TERM stays not ready but serving before anyone is asked.
    pub drain_delay: Duration,
    /// Which table of signals holds.
    pub signals: SignalProfile,
    /// Whether each request is told, and how.
    pub access_log: AccessLogFormat,
    /// Where `/livez`, `/readyz`, `/status` and `/metrics` are served; `None` is nowhere.
    pub admin: Option<SocketAddr>,
    /// The control socket's path, absolute; `None` is no control socket.
    pub control: Option<PathBuf>,
}

/// Whether each request is told, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// It is not.
    #[default]
    Off,
    /// In one line of text.
    Text,
    /// In one line of JSON.
    Json,
}

/// Which table of signals holds while the app runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignalProfile {
    /// TERM and INT stop gracefully.
    #[default]
    Standard,
    /// TERM and INT stop at once, QUIT stops gracefully, as nginx does.
    Nginx,
}

/// What a component's end, or its failure, means for the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnEnd {
    /// One leaves, all leave.
    #[default]
    StopApp,
    /// The others go on.
    Ignore,
    /// It is started again, within its budget.
    Restart,
}

/// How often a component is started again, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPlan {
    /// Most restarts within that time; one more, and the component has given up.
    pub max: u32,
    /// The time that `max` is about.
    pub within: Duration,
    /// The first pause before a restart. Each further one is twice as long, less up to a quarter by chance.
    pub first_pause: Duration,
    /// The longest pause; who has run for so long has been stable, and begins anew with the first.
    pub longest_pause: Duration,
}

impl Default for RestartPlan {
    fn default() -> Self {
        Self {
            max: DEFAULT_RESTARTS,
            within: DEFAULT_RESTART_PERIOD,
            first_pause: DEFAULT_FIRST_PAUSE,
            longest_pause: DEFAULT_LONGEST_PAUSE,
        }
    }
}

/// How it is found out whether a component is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// Kind `http`: the path that is asked for; an answer below 500 is good. `None` for a service, which has to call
    /// `alive` of `curfew:lifecycle/host` instead.
    pub path: Option<String>,
    /// Time between two questions, or longest time between two calls of `alive`.
    pub every: Duration,
    /// Longest time until an answer begins.
    pub timeout: Duration,
    /// So many missed in a row, and the component has failed.
    pub failures: u32,
}

/// When a component counts as ready, for those that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyWhen {
    /// When its `run` has been entered, or its listener accepts.
    Started,
    /// When it has said so, through `ready` of `curfew:lifecycle/host`.
    Said,
}

/// When the hook of a component is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookTiming {
    /// As soon as the component is asked, next to its `run`. The default for an async `run`; a sync `run`
    /// cannot be entered while it runs.
    AtStart,
    /// When `run` has returned. The default, and the only way, for a sync `run`.
    AfterDrain,
}

/// One user-built component with everything it is granted. Equal plans of equal files make equal components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentPlan {
    /// Unique in the app.
    pub name: String,
    /// The `.wasm` file; absolute, or relative to the working directory.
    pub source: PathBuf,
    /// Longest time between its notice and its cut-off, within what the app has; `None` is all of that.
    pub grace: Option<Duration>,
    /// When its hook is called; `None` leaves it to the kind of its `run`.
    pub hook: Option<HookTiming>,
    /// What its normal end means.
    pub on_exit: OnEnd,
    /// What its failure means; `None` leaves it to its kind: a service's stops the app, a trap in a handler of
    /// kind `http` does not.
    pub on_failure: Option<OnEnd>,
    /// What holds where its end or its failure means a restart.
    pub restart: RestartPlan,
    /// The names of those it depends on: it starts after they are ready, and stops before them.
    pub after: Vec<String>,
    /// When it counts as ready; `None`: when it has said so if it imports `ready`, else when it has started.
    pub ready: Option<ReadyWhen>,
    /// How it is found out whether it is alive; `None` is not at all.
    pub health: Option<HealthPlan>,
    /// On a reload: whether the new instance of a service starts before the old one has ended.
    pub overlap: bool,
    /// Longest time from the start of the instance until it is ready.
    pub start_timeout: Duration,
    /// Bytes of all its linear memories together.
    pub memory: u64,
    /// Whether it reads the process's standard input. At most one component of an app does.
    pub stdin: bool,
    /// Its arguments, without the name of the program.
    pub args: Vec<String>,
    /// Its whole environment, in this order.
    pub env: Vec<(String, String)>,
    /// The directories it sees.
    pub dirs: Vec<DirGrant>,
    /// The addresses it may use.
    pub network: NetworkGrant,
    /// What holds for it as a server; only kind `http` is one.
    pub http: HttpPlan,
    /// The HTTP servers it may send requests to.
    pub outbound_http: Vec<Origin>,
    /// What it reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
}

/// A directory of the host that a component sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirGrant {
    /// The directory on the host.
    pub host: PathBuf,
    /// Its path in the guest.
    pub guest: String,
    /// What the guest may do in it.
    pub access: Access,
}

/// What a component may do in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    #[default]
    ReadOnly,
    /// It reads, writes, creates and deletes.
    ReadWrite,
}

/// The addresses a component may use. Nothing is granted by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkGrant {
    /// Addresses it may bind and listen on; port 0 allows it a port of the system's choice.
    pub listen: Vec<SocketAddr>,
    /// Peers it may connect or send to.
    pub connect: Vec<Peer>,
    /// Whether it may look up names.
    pub names: bool,
    /// All of it, whatever else is said; only the command line can.
    pub all: bool,
}

/// One peer a component may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which host.
    pub host: PeerHost,
    /// Which port; `None` is any.
    pub port: Option<u16>,
}

/// The host part of a [`Peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerHost {
    /// Any address, written `*`.
    Any,
    /// This address.
    Ip(std::net::IpAddr),
    /// A name, looked up once before the app starts; the addresses it had then are granted.
    Name(String),
}
