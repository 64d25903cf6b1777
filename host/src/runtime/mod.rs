//! Everything that touches wasmtime: the engine, loading, the grants and limits of an instance, and the interruption of
//! running code. Knows nothing of servers, supervisors or signals.

#[cfg(feature = "adapt")]
mod adapt;
#[cfg(not(feature = "adapt"))]
#[path = "adapt/absent.rs"]
mod adapt;
mod address_conflicts;
mod cache;
mod clock;
mod component;
mod detect_kind;
mod diagnose;
mod engine;
mod exports;
mod fingerprint;
mod hook;
mod imports;
mod instance_event;
mod kind;
mod lifecycle;
mod limits;
mod link;
mod linker;
mod load;
mod network;
mod orders;
mod outbound;
mod refusal;
mod state;
mod store;

pub use adapt::Adaptation;
pub use address_conflicts::check_sharing;
pub use cache::Cache;
pub use clock::RunClock;
pub use component::Loaded;
pub use detect_kind::exports_any;
pub use engine::{Runtime, RuntimeOptions};
pub use exports::RunExport;
pub use hook::{HookPlace, HookShape, StrayHook, call_hook};
pub use imports::{Import, ImportState, Says};
pub use instance_event::{Failure, HookResult, InstanceEvent};
pub use kind::{ExportSpec, Hearing, Kind, Words};
pub use link::{Link, RestartPermits, Vitals};
pub use load::load_one;
pub(crate) use load::{Known, LoadEvent, Loading, load_all};
pub use orders::{Notice, NoticeCause, Orders};
pub use outbound::Outbound;
pub use refusal::{LoadError, Refusal};
pub use state::{Fairness, State};
pub use store::{Stdio, StoreParts, new_store};
