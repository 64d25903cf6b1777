//! The keys of a manifest, each declared once: its name, type, default and meaning, and the kinds that take it.
//!
//! Invariant: a `Plan` that exists is consistent (names are unique, durations sane, addresses parsed), whether it comes
//! from a manifest, from the command line or from an embedder. `declare` explains the notation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Choice, Fallback, Item, KeyGroup, KeyPlaces, KeyType, ListenAddress, ManifestKey, Names, Origin, Peer,
    Route, Section, Shape, Table, count, fallback, joined, table, words,
};

/// The top level of a manifest.
pub const ROOT: &[ManifestKey] = <Manifest as Table>::KEYS;
/// The keys of `[app]`.
pub const APP: &[ManifestKey] = <AppPlan as Table>::KEYS;
/// The keys of `[component.NAME]`.
pub const COMPONENT: &[ManifestKey] = <ComponentPlan as Table>::KEYS;

const ABOVE_0: Shape = Shape::Duration { zero: false };
const FROM_1: Shape = Shape::Number { min: 1 };
const SIZE: Shape = Shape::Size { min: 1, max: u64::MAX };
/// Less than 8 KiB breaks ordinary clients. Each connection may need a buffer of the limit's size.
const HEADER_SIZE: Shape = Shape::Size { min: 8 << 10, max: 1 << 20 };

/// An app: what one manifest or one command line describes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The app as a whole.
    pub app: AppPlan,
    /// The components, in the order of the manifest. Never empty; names are unique.
    pub components: Vec<ComponentPlan>,
    /// The manifest that the plan was read from, if there is one.
    pub manifest: Option<PathBuf>,
    /// The places of the keys in it.
    pub places: Arc<KeyPlaces>,
    /// A single bare file: its streams pass through unprefixed and its exit status is the app's.
    pub passthrough: bool,
}

table! {
    /// The whole of a manifest.
    pub(super) struct Manifest {
        /// The app as a whole.
        "app" => app: AppPlan, also("application");
        /// The components, one table each: `[component.NAME]`.
        "component" required => components: Components, also("service", "services", "container", "containers", "module");
    }
}

/// The components of a manifest, in the order of its text.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Components(pub(super) Vec<ComponentPlan>);

impl KeyType for Components {
    const SHAPE: Shape = Shape::Map(Names::Components, &<ComponentPlan as KeyType>::SHAPE);

    fn read(item: &Item, base: &Path) -> Option<Self> {
        let named = |(name, section): (&str, &Section)| ComponentPlan {
            name: name.to_owned(),
            ..ComponentPlan::from_section(section, base)
        };
        Some(Self(item.table()?.tables().map(named).collect()))
    }
}

table! {
    /// The app as a whole.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AppPlan {
        /// The app's name, in logs and in the report.
        "name" => name: String = Shape::Label, or(String::new(), "the name of the manifest's folder");
        /// Longest graceful stop of the whole app. 0 cuts off at once.
        "grace" => grace: Duration, or(Duration::from_secs(25)),
            also("timeout", "stop-timeout", "stop-grace-period", "termination-grace-period-seconds");
        /// Longest stop of the whole app after a component has failed.
        "fail-grace" => fail_grace: Duration, or(Duration::from_secs(5));
        /// Time after TERM in which the app is not ready, but serves; then the stop begins.
        "drain-delay" => drain_delay: Duration, or(Duration::ZERO), also("pre-stop", "shutdown-delay");
        /// The table of signals that holds while the app runs.
        "signals" => signals: SignalProfile, or(SignalProfile::Standard);
        /// The log of requests.
        "access-log" => access_log: AccessLogFormat, or(AccessLogFormat::Off), also("log", "logging");
        /// The address of /livez, /readyz, /status and /metrics. Off unless set.
        "admin" => admin: Option<SocketAddr>, also("metrics", "status", "health");
        /// The path of the control socket, whose mode is 0600. Off unless set.
        "control" => control: Option<PathBuf>, also("socket");
        /// Most bytes of all linear memories of all components together. No limit unless set.
        "memory" => memory: Option<u64> = SIZE;
    }
}

table! {
    /// One user-built component with everything it is granted. Equal plans of equal files make equal components.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ComponentPlan {
        /// The component's name, unique in the app.
        plain => name: String;
        /// The component's `.wasm` file.
        "source" required => source: PathBuf, also("image", "wasm", "path", "file", "module", "component");
        /// The settings of a component that the host listens for.
        flat => http: HttpPlan;
        /// The components that it depends on. It starts after they are ready, and stops before them.
        "after" => after: Vec<String> = Shape::List(&Shape::Component),
            also("depends-on", "requires", "wants", "needs");
        /// Longest time between its notice and its cut-off; never longer than the app's grace.
        "grace" => grace: Option<Duration>, or(None, "the app's grace"),
            also("stop-timeout", "stop-grace-period", "termination-grace-period-seconds", "timeout-stop");
        /// The time at which the host calls its exported `shutdown`.
        "hook" => hook: Option<HookTiming>,
            or(None, "`\"at-start\"` next to an async `run`, else `\"after-drain\"`");
        /// The meaning of its normal end for the app.
        "on-exit" => on_exit: OnEnd, or(OnEnd::StopApp);
        /// The meaning of its failure for the app.
        "on-failure" => on_failure: Option<OnEnd>,
            or(None, "`\"restart\"` for the kinds `http` and `tcp`, else `\"stop-app\"`"),
            also("restart-policy", "restart-condition");
        /// The budget and the pauses of its restarts, where `on-exit` or `on-failure` is `"restart"`.
        "restart" => restart: RestartPlan, or(RestartPlan::default());
        /// The time at which it is ready, and the components `after` it can start.
        "ready" => ready: Option<ReadyWhen>, or(None, "`\"said\"` for a service that imports `ready`, else `\"started\"`"),
            also("readiness-probe", "readiness", "startup-probe");
        /// The check that it is alive. A component that is not alive has failed. Off unless set.
        "health" => health: Option<HealthPlan>, also("healthcheck", "liveness-probe", "liveness"), for Health;
        /// True if the new instance starts before the old one has ended, on a reload.
        "overlap" => overlap: bool, for Overlap;
        /// Longest time from the start of an instance until it is ready.
        "start-timeout" => start_timeout: Duration = ABOVE_0, or(Duration::from_secs(10)), also("start-period");
        /// Most bytes of all linear memories of one instance together.
        "memory" => memory: u64 = SIZE, or(256 << 20),
            also("mem-limit", "memory-limit", "memory-max", "max-memory", "max-memory-size");
        /// True if it reads the standard input. At most one component of an app does.
        "stdin" => stdin: bool;
        /// Its arguments, without the name of the program.
        "args" => args: Vec<String>, also("command", "cmd", "entrypoint", "argv", "arguments");
        /// Its whole environment.
        "env" => env: Vec<(String, String)>, also("environment", "variables");
        /// The directories that it can access.
        "dirs" => dirs: Vec<DirGrant>, also("volumes", "volume-mounts", "mounts", "files", "preopens", "dir");
        /// The addresses that it may use. The log tells each refusal once, with the key that would grant it.
        "network" => network: NetworkGrant, also("network-mode", "networks");
        /// The HTTP servers that it may send requests to.
        "outbound-http" => outbound_http: Vec<Origin>, also("allowed-outbound-hosts", "allowed-http-hosts", "allow-outbound-http", "http");
        /// The values it reads through `wasi:config/store`.
        "config" => config: BTreeMap<String, String>;
    }
}

table! {
    /// The settings of a component that the host listens for, of kind `http` or `tcp`. The default listens nowhere.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HttpPlan {
        /// The addresses on which the host listens for it. Several http components that have `routes` can share one.
        /// `fd:NAME` is a socket that systemd hands over.
        "listen" => listen: Vec<ListenAddress>, also("ports", "port", "bind", "addr", "address", "expose"), for Listen;
        /// The requests on its addresses that are its own: each route is a host, the start of a path, or both. A host of one word
        /// ends with a dot: `api.`.
        "routes" => routes: Vec<Route>, or(Vec::new(), "all requests that no other route matches"),
            also("hosts", "host", "domains", "paths", "trigger"), for Requests;
        /// The certificate of its addresses.
        "tls" => tls: Option<TlsPlan>, also("https", "ssl"), for Listen;
        /// The number of its instances, and how long each stays.
        "instances" => instances: InstancesPlan, also("replicas", "scale", "workers", "deploy"), for Listen;
        /// Longest time until the response to a request begins.
        "request-timeout" => request_timeout: Duration = ABOVE_0, or(Duration::from_secs(30)), also("timeout"), for Requests;
        /// Limits of what clients, and the requests that it sends itself, may use up.
        "limits" => limits: LimitsPlan;
        /// The treatment of the `forwarded`, `x-forwarded-*` and `x-real-ip` headers of a client. They never pass in trailers.
        "forwarded" => forwarded: Forwarded, or(Forwarded::Replace), for Requests;
    }
}

table! {
    /// A certificate and its key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TlsPlan {
        /// The certificate with its chain: a PEM file.
        "cert" required => cert: PathBuf, also("certificate", "crt", "tls.crt");
        /// Its private key: a PEM file.
        "key" required => key: PathBuf, also("private-key", "keyfile", "tls.key");
    }
}

table! {
    /// The number of instances, and how long each stays.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct InstancesPlan {
        /// Most instances at a time.
        "max" => max: Option<usize> = FROM_1, or(None, "one for each core if its handler is async, else 32"), also("replicas", "count", "number");
        /// Most requests, or connections, in one instance at a time.
        "concurrency" => concurrency: Option<usize> = FROM_1,
            or(None, "64 if its handler is async (`tcp`: 512), else always 1"), also("max-concurrent-reuse-count");
        /// Requests, or connections, after which the host replaces an instance. 0 is never.
        "requests" => requests: Option<u64>,
            or(None, "1 for a sync `http` component that cannot hear of a stop (no hook, no `curfew:lifecycle`), else 0"),
            also("max-instance-reuse-count", "reuse", "max-requests");
        /// Most requests, or connections, that wait for an instance. The host answers one more with 503, or resets it.
        "queue" => queue: usize, or(1024);
        /// Time that an instance stays without work. The last one stays for ever.
        "idle" => idle: Duration = ABOVE_0, or(Duration::from_secs(60)), also("idle-instance-timeout", "timeout");
    }
}

table! {
    /// Limits of what clients, and the requests that a component sends itself, may use up.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LimitsPlan {
        /// Most connections at a time on each of its addresses. For one more the host evicts the one of kind `http` that has been idle
        /// for longest, for a second at least. Without such a one it waits.
        "connections" => connections: usize = FROM_1, or(4096), also("max-connections"), for Listen;
        /// Most connections at a time of one client on each of its addresses. One more is reset. A client is an IPv4 address, or a
        /// /64 of IPv6; clients of unix sockets are not limited. No limit unless set. Behind a proxy (`forwarded = "append"`) leave it
        /// unset: all connections are the proxy's.
        "per-client" => per_client: Option<usize> = FROM_1, also("limit-conn", "max-connections-per-ip", "max-conns-per-client"), for Listen;
        /// Most bytes of a request's head.
        "header-size" => header_size: usize = HEADER_SIZE, or(64 << 10), for Requests;
        /// Most bytes of a request's body. No limit unless set.
        "body-size" => body_size: Option<u64> = SIZE, also("client-max-body-size", "max-body-size", "body"), for Requests;
        /// Longest time for the head of a request to arrive.
        "header-timeout" => header_timeout: Duration = ABOVE_0, or(Duration::from_secs(10)), for Listen;
        /// Time that a connection stays open without a request.
        "idle-timeout" => idle_timeout: Duration = ABOVE_0, or(Duration::from_secs(75)), for Listen;
        /// Bytes a second that a client has to send of a request's body, or to take of a response, on average over
        /// `rate-window`. Only the time counts in which the host waits for the client. A client that is slower loses its
        /// request. Calls of gRPC over HTTP/2 may be silent until a request waits
        /// for a place, or the app stops.
        "min-rate" => min_rate: u64 = SIZE, or(256), also("min-data-rate", "limit-rate"), for Requests;
        /// Time over which `min-rate` counts. It is at most 10 s while requests wait for a place in the component, and at most 5 s, or
        /// half the grace, while the app stops.
        "rate-window" => rate_window: Duration = ABOVE_0, or(Duration::from_secs(30)), also("send-timeout", "body-timeout"), for Requests;
        /// Most requests of `outbound-http` at a time, of all its instances together. One more waits, as long as its guest lets its
        /// connection take (1 min unless it says so), and then fails with `connection-limit-reached`. It fails at once
        /// if twice as many wait already.
        "outbound" => outbound: usize = FROM_1, or(256), also("max-outbound", "max-requests", "max-pending-requests");
    }
}

table! {
    /// The check that a component is alive.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HealthPlan {
        /// The path that the host requests with GET, for the kind `http`, which needs it. A status below 500 is good.
        /// These are no requests of clients: tables, metrics and logs do not count them; `instances.requests` does.
        /// A service calls `alive` of `curfew:lifecycle/host` instead.
        "path" => path: Option<String> = Shape::RequestPath, also("test", "url", "endpoint", "http-get");
        /// Time between two such requests, or longest time between two calls of `alive`.
        "every" => every: Duration = ABOVE_0, or(Duration::from_secs(10)), also("interval", "period", "period-seconds");
        /// Longest time until the response begins, for the kind `http`.
        "timeout" => timeout: Duration = ABOVE_0, or(every, "the value of `every`"), also("timeout-seconds");
        /// The number of misses in a row after which the component has failed.
        "failures" => failures: u32 = FROM_1, or(3), also("retries", "failure-threshold", "threshold");
    }
}

table! {
    /// A directory of the host that a component sees.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DirGrant {
        /// The directory on the host.
        "host" required => host: PathBuf, also("source", "src", "host-path", "from");
        /// Its path in the component.
        "guest" required => guest: String = Shape::GuestPath, also("target", "destination", "dst", "mount-path", "to", "path");
        /// The component's rights in it.
        "access" => access: Access, or(Access::ReadOnly), also("mode", "read-only", "ro", "permissions");
    }
}

table! {
    /// The addresses a component may use. The default is none.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NetworkGrant {
        /// Addresses it may bind. Port 0 allows one of the system's choice.
        "listen" => listen: Vec<SocketAddr>, also("bind", "ports", "inbound");
        /// Peers that it may connect or send to.
        "connect" => connect: Vec<Peer>, also("allow", "outbound", "hosts", "peers");
        /// True if it may look up names.
        "names" => names: bool, also("dns", "allow-ip-name-lookup", "resolve");
        /// All of it, whatever the keys say; only the command line can grant that.
        plain => all: bool;
    }
}

table! {
    /// The budget and the pauses of the restarts of a component. A period of 0 stands for the default, which depends on the
    /// graces: `Plan::keep_budgets_possible` sets it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RestartPlan {
        /// The time in which `max` restarts are allowed.
        "within" => within: Duration = ABOVE_0,
            or(Duration::ZERO, "the longer of `\"1m\"` and twice the time that `max` restarts can take"),
            also("window", "interval", "start-limit-interval-sec");
        /// Most restarts within the time `within`. A component that needs one more gives up.
        "max" => max: Option<u32>,
            or((!within.is_zero()).then_some(Self::DEFAULT_MAX), "no limit for a service without `within`, else `5`"),
            also("max-attempts", "attempts", "retries", "start-limit-burst");
        /// The first pause before a restart, and the longest one. Each pause is twice the one before, less up to a
        /// quarter by chance: `["200ms", "30s"]` is 200 ms, 400 ms, 800 ms and so on, at most 30 s. After a run as
        /// long as the longest pause, the next pause is the first one again.
        "backoff" => backoff: [Duration; 2], or([Duration::from_millis(200), Duration::from_secs(30)]),
            also("delay", "pause", "restart-sec");
    }
}

impl ComponentPlan {
    /// Returns the first key that says something other than its default and is in none of these groups, as a manifest
    /// writes it. Every kind takes [`KeyGroup::General`].
    pub fn key_beyond(&self, groups: &[KeyGroup]) -> Option<String> {
        KeyType::key_beyond(self, groups)
    }
}

words! {
    /// The log of requests.
    pub enum AccessLogFormat {
        /// The host logs no request.
        Off = "off" | "false" | "none" | "no",
        /// One line of text for each request.
        Text = "text" | "true" | "on" | "yes" | "combined" | "common",
        /// One line of JSON for each request.
        Json = "json",
    }
}

words! {
    /// The table of signals that holds while the app runs.
    pub enum SignalProfile {
        /// TERM and INT stop gracefully.
        Standard = "standard",
        /// TERM and INT stop at once, QUIT stops gracefully.
        Nginx = "nginx",
    }
}

words! {
    /// The meaning of a component's end, or of its failure, for the app.
    pub enum OnEnd {
        /// The whole app stops.
        StopApp = "stop-app" | "stop" | "exit" | "fail" | "abort",
        /// The other components go on.
        Ignore = "ignore" | "no" | "never" | "none" | "continue" | "false",
        /// The host starts it again, within the limits of `restart`.
        Restart = "restart" | "always" | "unless-stopped" | "on-failure" | "true",
    }
}

words! {
    /// The time at which a component is ready, and the components after it can start.
    pub enum ReadyWhen {
        /// When its `run` has been entered, or its listener accepts.
        Started = "started" | "service_started",
        /// When it has called `ready` of `curfew:lifecycle/host`.
        Said = "said" | "healthy" | "service_healthy" | "notify",
    }
}

words! {
    /// The time at which the host calls the hook of a component.
    pub enum HookTiming {
        /// As soon as the component gets its notice.
        AtStart = "at-start" | "before" | "pre-stop" | "immediately",
        /// When its `run` has returned, or its requests are done.
        AfterDrain = "after-drain" | "after" | "at-end",
    }
}

words! {
    /// The treatment of the `forwarded`, `x-forwarded-*` and `x-real-ip` headers of a client.
    pub enum Forwarded {
        /// The host removes them, as any client can write them. The component gets what the host knows.
        Replace = "replace" | "off" | "false" | "strip" | "overwrite",
        /// The host keeps them and adds what it knows, for an app behind a proxy that is trusted.
        Append = "append" | "on" | "true" | "trust" | "keep" | "add",
    }
}

words! {
    /// The rights of a component in a directory.
    pub enum Access {
        /// The component reads.
        ReadOnly = "read-only" | "ro" | "r" | "ReadOnlyMany",
        /// The component reads, writes, creates and deletes.
        ReadWrite = "read-write" | "rw" | "w" | "write" | "ReadWriteOnce" | "ReadWriteMany",
    }
}
