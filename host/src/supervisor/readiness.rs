//! The readiness of the app as the log tells it: when it flips.

/// A change of readiness that the log tells.
pub(super) enum Flip {
    /// Ready for the first time.
    Started,
    Ready,
    NotReady,
}

/// The last readiness that the log told.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    started: bool,
    ready: bool,
    /// The log has told that the app is not ready because it stops.
    stop_told: bool,
}

impl Readiness {
    /// Returns whether the app has been ready.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    /// Notes the readiness of this moment. Returns the change that the log has to tell.
    pub(super) fn flip(&mut self, ready: bool, stops: bool) -> Option<Flip> {
        let was_ready = std::mem::replace(&mut self.ready, ready);
        if ready {
            let first = !std::mem::replace(&mut self.started, true);
            return match (first, was_ready) {
                (true, _) => Some(Flip::Started),
                (false, false) => Some(Flip::Ready),
                (false, true) => None,
            };
        }
        let tells = was_ready || (stops && !self.stop_told);
        self.stop_told |= tells && stops;
        tells.then_some(Flip::NotReady)
    }
}
