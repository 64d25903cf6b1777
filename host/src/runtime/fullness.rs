//! Limits of the host on what one instance holds: when it is nearly full, and the words for it when it is.
//!
//! Invariant: a handle of a guest stands for an entry of one of the two tables that are counted here, or for a resource that
//! the guest itself has made. So an instance that only keeps what the host gave it is seen before it is full.

use wasmtime::component::{ResourceTable, ResourceTableError};
use wasmtime::{Error, StoreContextMut, Trap};
use wasmtime_wasi::WasiView;

use super::State;
use super::state::{HANDLES, HOSTCALL_BYTES};
use crate::text::units::format_size;

const RESOURCES: &str = "handles to resources of the host (files, sockets, streams, headers)";
const TASKS: &str = "handles to tasks, streams and futures";
const KEPT: &str = "drop what is done with, or have the instance replaced by `instances.requests`";
const MEMORY: &str = "raise `memory`, or have the instance replaced by `instances.requests`";
/// Entries of tables to count for each call: large tables are not counted after each of them.
const ENTRIES: usize = 256;

/// The holding of an instance of something that the host limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holding {
    what: &'static str,
    used: usize,
    limit: usize,
    is_bytes: bool,
}

impl Holding {
    fn is_nearly_full(&self) -> bool {
        self.used >= self.limit - self.limit / 10
    }

    fn amount(&self, amount: usize) -> String {
        if self.is_bytes { format_size(amount as u64) } else { amount.to_string() }
    }
}

/// Returns the holdings of the instance in this store. Counts its tables.
fn holdings(store: &mut StoreContextMut<'_, State>) -> [Holding; 4] {
    let count = |table: &mut ResourceTable| table.iter_mut().count();
    let tasks = store.concurrent_resource_table().map_or(0, count);
    let state = store.data_mut();
    let resources = count(state.wasi.ctx().table);
    let (memory, elements) = state.limits.used();
    let of = |what, (used, limit), is_bytes| Holding { what, used, limit, is_bytes };
    [
        of(RESOURCES, (resources, HANDLES), false),
        of(TASKS, (tasks, HANDLES), false),
        of("memory", memory, true),
        of("elements of tables", elements, false),
    ]
}

/// The looks at one instance.
#[derive(Debug, Default)]
pub(super) struct FullnessWatch {
    calls: u64,
    /// The call after which the next look is due.
    due: u64,
    /// The last look: its call, and the entries of the tables then.
    last: (u64, usize),
    /// The first look: its call, and the holdings then.
    first: Option<(u64, [usize; 4])>,
}

/// A limit that an instance has nearly reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NearlyFull {
    pub(crate) what: &'static str,
    pub(crate) used: String,
    pub(crate) limit: String,
    /// The growth for each call.
    pub(crate) per_call: String,
}

/// Looks at an instance after one of its calls, at times. Returns the limit that it has nearly reached: nine tenths.
pub(crate) fn look(mut store: StoreContextMut<'_, State>) -> Option<NearlyFull> {
    let watch = &mut store.data_mut().fullness;
    watch.calls += 1;
    if watch.calls < watch.due {
        return None;
    }
    let holdings = holdings(&mut store);
    store.data_mut().fullness.judge(&holdings)
}

impl FullnessWatch {
    fn judge(&mut self, holdings: &[Holding; 4]) -> Option<NearlyFull> {
        let entries = holdings[0].used + holdings[1].used;
        let (call, before) = std::mem::replace(&mut self.last, (self.calls, entries));
        let growth = entries.saturating_sub(before) as u64 / (self.calls - call).max(1) + 1;
        // Before it could have grown by half of what is left.
        let room = (HANDLES - holdings[0].used.max(holdings[1].used).min(HANDLES)) as u64;
        self.due = self.calls + 1 + (room / (2 * growth)).min((entries / ENTRIES) as u64);
        let (since, first) = *self.first.get_or_insert((self.calls, holdings.map(|holding| holding.used)));
        let mut grown = holdings.iter().zip(first).filter(|(holding, first)| holding.used > *first);
        let (holding, first) = grown.find(|(holding, _)| holding.is_nearly_full())?;
        let growth = (holding.used - first) as f64 / (self.calls - since).max(1) as f64;
        let per_call = match holding.is_bytes {
            true => format_size(growth.ceil() as u64),
            false => format!("{growth:.1}"),
        };
        let (used, limit) = (holding.amount(holding.used), holding.amount(holding.limit));
        Some(NearlyFull { what: holding.what, used, limit, per_call })
    }
}

/// The context of an error of a guest that had reached a limit of the host.
#[derive(Debug, thiserror::Error)]
#[error("reached the host's limit of {limit}: {remedy}")]
pub(crate) struct LimitReached {
    limit: String,
    remedy: &'static str,
    /// The limit is the error. Else the guest has gone on and given up by itself.
    pub(crate) is_the_error: bool,
}

/// Adds the limit to an error that comes from one.
pub(crate) fn name_limit(mut store: StoreContextMut<'_, State>, error: Error) -> Error {
    let of = |limit, remedy, is_the_error| LimitReached { limit, remedy, is_the_error };
    // These errors of wasmtime's have no type that can be named.
    let says = |text: &str| error.chain().any(|cause| cause.to_string().contains(text));
    let reached = if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        let [resources, tasks, ..] = holdings(&mut store);
        let what = if tasks.used > resources.used { TASKS } else { RESOURCES };
        of(format!("{HANDLES} {what}"), KEPT, true)
    } else if says("store handle limit exceeded") {
        of(format!("{} handles", store.max_component_handles()), KEPT, true)
    } else if says("fuel allocated for hostcalls") {
        let limit = format!("{} in one call to the host", format_size(HOSTCALL_BYTES as u64));
        of(limit, "pass less at a time", true)
    } else if error.downcast_ref::<Trap>().is_some() && store.data().limits.has_refused_memory() {
        let ((_, limit), _) = store.data().limits.used();
        of(format!("{} of memory", format_size(limit as u64)), MEMORY, false)
    } else {
        return error;
    };
    error.context(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings_of(resources: usize) -> [Holding; 4] {
        let of = |what, used, limit, is_bytes| Holding { what, used, limit, is_bytes };
        [
            of(RESOURCES, resources, HANDLES, false),
            of(TASKS, 3, HANDLES, false),
            of("memory", 95 << 20, 100 << 20, true),
            of("elements of tables", 1, 10, false),
        ]
    }

    #[test]
    fn an_instance_is_nearly_full_at_nine_tenths_of_what_it_takes_more_and_more_of() {
        let mut watch = FullnessWatch { calls: 1, ..FullnessWatch::default() };
        assert_eq!(watch.judge(&holdings_of(10)), None, "it began with nearly all of its memory");
        watch.calls = 4491;
        assert_eq!(watch.judge(&holdings_of(8999)), None);
        watch.calls = 4496;
        let full = watch.judge(&holdings_of(9000)).unwrap();
        assert_eq!((full.what, &*full.used, &*full.limit), (RESOURCES, "9000", "10000"));
        assert_eq!(full.per_call, "2.0");
    }

    #[test]
    fn a_large_table_is_not_counted_after_each_call() {
        let mut watch = FullnessWatch { calls: 1, ..FullnessWatch::default() };
        watch.judge(&holdings_of(0));
        assert_eq!(watch.due, 2);
        watch.calls = 5000;
        watch.judge(&holdings_of(5120));
        assert_eq!(watch.due, 5021);
        watch.calls = 5001;
        watch.judge(&holdings_of(6120));
        assert_eq!(watch.due, 5003, "it grows fast: the next look is in time");
    }
}
