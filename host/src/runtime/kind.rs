//! A kind of component as data, the only source of supervision, reports, metrics and `check`. The code that runs a kind is in
//! its folder of `server`.

use wasmtime::component::InstancePre;
use wasmtime::component::types::ComponentFunc;

use super::{Refusal, Says, State};
use crate::plan::{ComponentPlan, HookTiming, KindDefaults, OnEnd, ReadyWhen, RestartPlan};

/// Most instances of a sync component, each of which has one piece of work at a time.
const SYNC_INSTANCES: usize = 32;

/// A kind of component. It is one static; two kinds never share a name.
#[derive(Debug)]
pub struct Kind {
    /// The word that users read and write.
    pub name: &'static str,
    /// The name of what it exports, as an error says it: the package, or the interface.
    pub handles: &'static str,
    /// The exports that make a component one of this kind. It has one of them.
    pub exports: &'static [ExportSpec],
    /// True: its components are programs as `wasmtime run` runs them. Another kind's export comes first, as every program has
    /// the export. A single program gives its exit status to the process.
    pub is_program: bool,
    /// True: the host listens for it, makes instances as work comes in, and replaces failed ones.
    pub is_pooled: bool,
    /// True: its components can share an address.
    pub shares_addresses: bool,
    /// True: the host listens on the default address for a single file that names none.
    pub has_default_address: bool,
    /// The time at which the hook of an async component is called.
    pub hook: HookTiming,
    /// Most work in one async instance at a time, unless the plan says so.
    pub concurrency: usize,
    /// True: a sync component that cannot hear of a stop gets a fresh instance for each piece of work, as on other hosts.
    pub fresh_instances: bool,
    /// The meaning of a failure.
    pub on_failure: OnEnd,
    /// Checks an export of this version further than `ExportSpec::fits`. The error says why it cannot be called.
    pub check_export: fn(&InstancePre<State>, version: &str) -> wasmtime::Result<()>,
    /// Refuses a plan with a key that is missing, or that is for other kinds.
    pub check_plan: fn(&ComponentPlan) -> Result<(), Refusal>,
    /// Says how its components hear of a stop.
    pub delivery: fn(Hearing) -> &'static str,
    /// The words for its work.
    pub words: Words,
}

/// One export that makes a component one of a kind.
#[derive(Debug)]
pub struct ExportSpec {
    /// The interface, without its version.
    pub interface: &'static str,
    /// The function in it.
    pub function: &'static str,
    /// The minor versions that are known, of major version 0.
    pub generations: &'static [u64],
    /// Returns whether a function of this type can be called.
    pub fits: fn(&ComponentFunc) -> bool,
    /// The hint for a function that cannot be called.
    pub form: &'static str,
}

/// The ways in which a component can hear of a stop.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    /// The time at which its hook is called, if it has one.
    pub hook: Option<HookTiming>,
    /// Its export is async.
    pub is_async: bool,
    /// It imports `curfew:lifecycle/host`.
    pub imports_host: bool,
}

/// The words for a kind's work, in status lines, errors and the report.
#[derive(Debug)]
pub struct Words {
    /// The export, in `sync run` or `async handler`.
    pub export: &'static str,
    /// The work in flight.
    pub in_flight: &'static str,
    /// The work that is left when nothing is in flight.
    pub behind: &'static str,
    /// The subject of an error about work that overran the grace.
    pub in_flight_subject: &'static str,
    /// The same of what is left behind the work.
    pub behind_subject: &'static str,
    /// The step that its start did not reach in time.
    pub not_started: &'static str,
    /// The moment at which it counts as ready, unless it reports this itself.
    pub ready: &'static str,
}

impl Kind {
    /// Returns the defaults of a component. `hears`: it has a hook, or imports the host's interface.
    pub(super) fn defaults(&self, is_async: bool, hears: bool, says: Says) -> KindDefaults {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Of several instances each would say so for itself.
        let said = !self.is_pooled && says.ready;
        KindDefaults {
            is_async,
            hook: self.hook,
            on_failure: self.on_failure,
            // A service can wait for its peers as long as it takes; clients that wait for a pool cannot.
            max_restarts: self.is_pooled.then_some(RestartPlan::DEFAULT_MAX),
            ready: if said { ReadyWhen::Said } else { ReadyWhen::Started },
            max_instances: if is_async { cores } else { SYNC_INSTANCES },
            concurrency: self.concurrency,
            requests: u64::from(self.fresh_instances && !is_async && !hears),
        }
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
