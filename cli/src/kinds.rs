//! The kinds of component that this process knows: those that are built in, or those that an embedder gave.

use std::sync::OnceLock;

use curfew_host::runtime::Kind;
use curfew_host::server::{KindSet, built_in};

static KINDS: OnceLock<Vec<KindSet>> = OnceLock::new();

/// Sets the kinds, before the first command looks at them.
pub(super) fn set(kinds: Vec<KindSet>) {
    // A process has one command line: there is no second call.
    let _first = KINDS.set(kinds);
}

pub(super) fn sets() -> Vec<KindSet> {
    KINDS.get().cloned().unwrap_or_else(built_in)
}

pub(super) fn kinds() -> Vec<&'static Kind> {
    sets().iter().flat_map(|set| set.kinds).copied().collect()
}
