//! A finding of a drill, with advice to the author of the app.

use serde::Serialize;

/// The advice for a fault of curfew's own.
pub(super) const REPORT_BUG: &str = "This is a bug in curfew, not in the app. Please report it.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Good to know.
    Note,
    /// The stop went well, but only just.
    Warning,
    /// The drill has failed.
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    #[serde(rename = "weight")]
    pub(super) severity: Severity,
    /// A name of the fault that stays the same.
    pub(super) code: &'static str,
    /// The component; `None` is the app.
    pub(super) component: Option<String>,
    pub(super) text: String,
    pub(super) advice: Option<String>,
}

impl Finding {
    /// A finding about the app that fails the drill.
    pub(super) fn failure(code: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Failure, code, component: None, text: text.into(), advice: None }
    }

    /// A finding that does not fail the drill, but deserves a look.
    pub(super) fn warning(code: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::failure(code, text) }
    }

    /// A finding that is good to know.
    pub(super) fn note(code: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::failure(code, text) }
    }

    /// The same finding about one component.
    #[must_use]
    pub(super) fn of(self, component: &str) -> Self {
        Self { component: Some(component.to_owned()), ..self }
    }

    /// The same finding with advice.
    #[must_use]
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// Returns whether both are about the same fault.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.code, &self.component, self.severity) == (other.code, &other.component, other.severity)
    }
}
