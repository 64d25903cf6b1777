//! Everything that touches wasmtime: the engine, loading, the grants and limits of an instance, and the interruption of
//! running code. Knows nothing of servers, supervisors or signals.

#[cfg(feature = "adapt")]
mod adapt;
#[cfg(not(feature = "adapt"))]
#[path = "adapt/absent.rs"]
mod adapt;
mod app_memory;
mod cache;
mod component;
mod diagnose;
mod engine;
mod exports;
mod hook;
mod imports;
mod kind;
mod lifecycle;
mod link;
mod load;
mod network;
mod orders;
mod outbound;
mod probe;
mod refusal;
mod shortage;
mod state;
mod store;

pub use adapt::Adaptation;
pub(crate) use app_memory::AppMemory;
pub use app_memory::memory_warning;
pub use cache::Cache;
pub use component::Loaded;
pub use engine::{Runtime, RuntimeOptions};
pub use exports::RunExport;
pub(crate) use hook::call_hook;
pub use hook::{HookShape, StrayHook};
pub(crate) use imports::Says;
pub use imports::{Import, ImportState};
pub use kind::{ExportSpec, Hearing, Kind, Words};
pub use link::Link;
pub(crate) use link::{Failure, HookResult, InstanceEvent};
pub(crate) use load::{Known, LoadEvent, Loading, load_all};
pub use load::{check_sharing, exports_any, load_one};
pub use orders::RunClock;
pub(crate) use orders::{Notice, NoticeCause};
pub(crate) use outbound::Outbound;
pub use refusal::{LoadError, Refusal};
pub(crate) use shortage::is_shortage;
pub(crate) use state::Fairness;
pub use state::State;
pub(crate) use store::{Stdio, new_store};
