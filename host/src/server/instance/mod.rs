//! One instance of a component: its store from the start to the end, whatever its kind, and how its end is put into words.
//! What a kind adds (which export is called, and when) is in the kind's own folder or in `handler_loop`.

pub(super) mod failure;
pub(super) mod handle;
pub(super) mod handler_loop;
