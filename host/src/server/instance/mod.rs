//! One instance of a component: its store from the start to the end, whatever its kind, and how its end is put into words.
//! The work of a kind in it is in the kind's own folder; that of pooled kinds in `handler_loop`.

mod answer;
pub(super) mod failure;
mod fresh;
pub(super) mod handle;
mod handler_loop;
pub(super) mod lifecycle;
mod runtime;
pub(super) mod single;

pub(super) use answer::{BodyError, GuestBody, OpenAnswers, READ_ON, READ_ON_BYTES, content_length};
pub(super) use failure::CouldNotStart;
pub(super) use fresh::FreshInstances;
pub(super) use handle::{CloseReason, InstanceHandle};
pub(super) use handler_loop::{HandlerIndex, HandlerLoop, TcpFunc, run_instance};
pub(super) use lifecycle::{InstanceEnd, InstanceSpec};
pub use lifecycle::{KindWork, Lifecycle};
pub(super) use runtime::{BusyTime, InstanceRuntime, spawn};
pub(super) use single::SingleServer;
pub use single::SingleWork;
