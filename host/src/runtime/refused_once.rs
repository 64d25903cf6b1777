//! The targets that a component was refused and the log has told. Made-up targets fill neither the memory nor the log.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Number of refused targets that are remembered and logged; all others are refused in silence.
const TARGETS: usize = 32;
/// Characters of a target that are logged: a guest can ask for names of any length.
const TARGET_CHARS: usize = 255;

/// Shared by all instances of a component.
#[derive(Debug)]
pub(super) struct RefusedOnce {
    pub(super) component: String,
    told: Mutex<HashSet<String>>,
}

impl RefusedOnce {
    pub(super) fn new(component: &str) -> Self {
        Self { component: component.to_owned(), told: Mutex::default() }
    }

    /// Returns the target as it is to be logged, unless it was, or too many were.
    pub(super) fn first(&self, target: &str) -> Option<String> {
        let target: String = target.chars().take(TARGET_CHARS).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = told.len() < TARGETS && told.insert(target.clone());
        if is_first && told.len() == TARGETS {
            tracing::warn!(component = self.component, "more was refused than is told");
        }
        is_first.then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_told_once_and_their_number_is_bounded() {
        let refused = RefusedOnce::new("web");
        assert_eq!(refused.first("a").as_deref(), Some("a"));
        assert_eq!(refused.first("a"), None);
        assert_eq!(refused.first(&"ä".repeat(5000)), Some("ä".repeat(TARGET_CHARS)));
        let told = (0..1000).filter(|n| refused.first(&n.to_string()).is_some()).count();
        assert_eq!(told, TARGETS - 2);
    }
}
