//! The loading of components at the start: its threads, and the progress that a terminal shows.

use crate::output::Progress;
use crate::runtime::Loading;

/// Dropping it ends the loading and the progress.
pub(super) struct StartupProgress {
    progress: Progress,
    _loading: Loading,
}

impl StartupProgress {
    /// Shows the progress of this loading.
    pub(super) fn new(progress: Progress, loading: Loading) -> Self {
        Self { progress, _loading: loading }
    }

    /// Shows that one more component has been loaded.
    pub(super) fn step(&self, component: &str) {
        self.progress.step(component);
    }
}
