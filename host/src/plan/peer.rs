//! One more component beside those of a plan: the one that fails in a fire drill.
//!
//! Invariant: whatever the plan was, nobody in it is changed, and nobody depends on the peer.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::error::PlanError;
use super::from_files::Bare;
use super::names::unique;
use super::types::Plan;

/// The peer's name, where it is free.
const PEER_NAME: &str = "drill-peer";

impl Plan {
    /// What the peer is called beside these components: whoever adds it and whoever watches it must mean the same.
    pub fn peer_name(&self) -> String {
        unique(PEER_NAME, &self.components.iter().map(|component| component.name.clone()).collect())
    }

    /// Adds the component in `source`, which starts when all others are ready.
    ///
    /// # Errors
    /// [`PlanError::Unreadable`] for a file that is not there.
    pub fn add_peer(&mut self, source: PathBuf) -> Result<(), PlanError> {
        let name = self.peer_name();
        let taken: BTreeSet<String> =
            self.components.iter().map(|component| component.name.clone()).collect();
        for mut peer in Self::from_files(&[source], &Bare::default())?.components {
            peer.name.clone_from(&name);
            peer.after = taken.iter().cloned().collect();
            peer.stdin = false;
            self.components.push(peer);
        }
        // There are two now: whose output it is has to be told.
        self.passthrough = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_comes_after_everybody_and_takes_nobodys_name() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["drill-peer.wasm", "b.wasm", "c.wasm"].map(|name| folder.path().join(name));
        files.iter().for_each(|file| std::fs::write(file, "").unwrap());
        let mut plan = Plan::from_files(&files[..2], &Bare::default()).unwrap();
        let before = plan.components.clone();
        assert_eq!(plan.peer_name(), "drill-peer-2");
        plan.add_peer(files[2].clone()).unwrap();
        assert_eq!(plan.components[..2], before);
        let peer = &plan.components[2];
        assert_eq!(
            (peer.name.as_str(), &peer.after),
            ("drill-peer-2", &vec!["b".into(), "drill-peer".into()])
        );
        let mut plan = Plan::from_files(&files[1..2], &Bare::default()).unwrap();
        plan.add_peer(files[2].clone()).unwrap();
        let readers = plan.components.iter().map(|component| component.stdin).collect::<Vec<_>>();
        assert_eq!((plan.passthrough, readers), (false, vec![true, false]));
    }
}
