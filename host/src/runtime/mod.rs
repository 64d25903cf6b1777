//! Everything that touches wasmtime: the engine, loading, the grants and limits of an instance, and the interruption of
//! running code. Knows nothing of servers, supervisors or signals.

mod activity;
#[cfg(feature = "adapt")]
mod adapt;
#[cfg(not(feature = "adapt"))]
#[path = "adapt/absent.rs"]
mod adapt;
mod app_memory;
mod cache;
mod code;
mod component;
mod container;
mod diagnose;
mod engine;
mod exports;
mod fullness;
mod hook;
mod imports;
mod kind;
mod lifecycle;
mod link;
mod listeners;
mod load;
mod module;
mod names;
mod needs;
mod network;
mod orders;
mod outbound;
mod probe;
mod program;
mod refusal;
mod refused_once;
mod shortage;
mod state;
mod stdin;
mod store;

pub use adapt::Adaptation;
pub(crate) use app_memory::AppMemory;
pub use cache::Cache;
pub(crate) use code::Linked;
pub use component::Loaded;
pub use container::memory_warning;
pub use engine::{Runtime, RuntimeOptions};
pub use exports::RunExport;
pub(crate) use fullness::{LimitReached, NearlyFull, look, name_limit};
pub(crate) use hook::call_hook;
pub use hook::{HookShape, StrayHook};
pub(crate) use imports::Says;
pub use imports::{Import, ImportState};
pub use kind::{ExportSpec, Hearing, Kind, Words};
pub use link::Link;
pub(crate) use link::{Failure, HookResult, InstanceEvent};
pub(crate) use load::{Known, LoadEvent, Loading, load_all};
pub use load::{check_sharing, exports_any, load_one};
pub(crate) use module::START;
pub use orders::RunClock;
pub(crate) use orders::{Notice, NoticeCause};
pub(crate) use outbound::Outbound;
pub use refusal::{LoadError, LoadErrors, LoadFault, Refusal};
pub(crate) use shortage::is_shortage;
pub(crate) use state::AtEpoch;
pub use state::{Interruption, State};
pub(crate) use store::{MakeStdio, Stdio, new_store};
