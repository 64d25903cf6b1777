//! One instance of a component: its store from the start to the end, whatever its kind, and how its end is put into words.
//! The work of a kind in it is in the kind's own folder; that of pooled kinds in `handler_loop`.

pub(super) mod failure;
pub(super) mod handle;
pub(super) mod handler;
pub(super) mod handler_loop;
pub(super) mod lifecycle;
pub(super) mod runtime;
pub(super) mod single;
