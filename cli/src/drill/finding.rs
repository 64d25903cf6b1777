//! What a drill finds out, and what its author can do about it.

use serde::Serialize;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Good to know.
    Note,
    /// It went well, and not by much.
    Warning,
    /// The drill has failed.
    Failure,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// What it is about, in one word that stays the same.
    pub code: &'static str,
    /// The component that it is about; `None` is the app.
    pub component: Option<String>,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    /// A finding about the app that fails the drill.
    pub fn failure(code: &'static str, text: impl Into<String>) -> Self {
        Self { weight: Weight::Failure, code, component: None, text: text.into(), advice: None }
    }

    /// One that does not fail it, and should be looked at.
    pub fn warning(code: &'static str, text: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::failure(code, text) }
    }

    /// One that is good to know.
    pub fn note(code: &'static str, text: impl Into<String>) -> Self {
        Self { weight: Weight::Note, ..Self::failure(code, text) }
    }

    /// The same about one component.
    #[must_use]
    pub fn of(self, component: &str) -> Self {
        Self { component: Some(component.to_owned()), ..self }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// Whether it is the same thing, found again.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.code, &self.component, self.weight) == (other.code, &other.component, other.weight)
    }
}
