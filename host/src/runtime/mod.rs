//! Everything that touches wasmtime: the engine, loading, what a component gets, its limits, and how running
//! code is interrupted. Knows nothing of servers, supervisors or signals.

mod adapt;
mod address_conflicts;
mod cache;
mod clock;
mod component;
#[cfg(feature = "adapt")]
mod core_module;
mod detect_kind;
mod diagnose;
mod engine;
mod exports;
mod fingerprint;
mod handler;
mod hook;
mod hook_shape;
mod imports;
mod instance_event;
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
pub use detect_kind::serves_http;
pub use engine::{Runtime, RuntimeOptions};
pub use exports::{Kind, RunExport};
pub use handler::{Handler, HandlerPre, TcpFunc};
pub use hook::call_hook;
pub use hook_shape::{HookPlace, HookShape, StrayHook};
pub use imports::{Import, ImportState, Says};
pub use instance_event::{Failure, HookResult, InstanceEvent};
pub use link::{Link, RestartPermits, Vitals};
pub use load::{Known, LoadEvent, Loading, load_all, load_one};
pub use orders::{Notice, NoticeCause, Orders};
pub use outbound::Outbound;
pub use refusal::LoadError;
pub use state::{Fairness, State};
pub use store::{Stdio, StoreParts, new_store};
