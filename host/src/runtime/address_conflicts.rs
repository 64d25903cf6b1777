//! Whether the components on one address can share it. Routes decide which of them gets a request; a kind without routes
//! shares no address. The plan's own checks find what two manifests' keys cannot share.

use super::component::Loaded;
use super::refusal::LoadError;
use crate::plan::ComponentPlan;

/// Checks that each component whose kind shares no address has its addresses for itself.
///
/// # Errors
/// When one has not; the first in the order of the plan is named.
pub fn check_sharing<'a>(
    all: impl Iterator<Item = (&'a ComponentPlan, &'a Loaded)> + Clone,
) -> Result<(), LoadError> {
    for (plan, loaded) in all.clone().filter(|(_, loaded)| !loaded.kind.shares_addresses) {
        let others = all.clone().filter(|(other, _)| other.name != plan.name);
        for (other, _) in others {
            // Each port 0 is a port of its own.
            let shared = plan.http.listen.iter().filter(|address| !address.is_any_port());
            let mut shared = shared.filter(|address| other.http.listen.contains(address));
            if let Some(address) = shared.next() {
                let found = format!(
                    "component `{}` is of kind `{}` and listens on {address}, where `{}` listens, too",
                    plan.name, loaded.kind.name, other.name
                );
                let hint = "a connection cannot be for both: give each an address of its own".to_owned();
                return Err(LoadError::Invalid { path: plan.source.clone(), found, hint });
            }
        }
    }
    Ok(())
}
