//! Errors of loading: a finding about a file, and an advice for its author. Invariant: text of a file is shown as one line of
//! bounded length that can do nothing to a terminal.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use crate::plan::{ManifestPlace, Plan, in_lines};
use crate::text::sanitize::one_line;

/// The longest name that is shown whole, in characters; types of functions count as names.
const NAME_CHARS: usize = 120;
const TEXT_CHARS: usize = 1000;

/// The errors of the components that cannot run, in the order of the plan; at least one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", in_lines(.0))]
pub struct LoadErrors(pub Vec<LoadError>);

/// An error of loading one component.
#[derive(Clone, Debug, thiserror::Error)]
pub struct LoadError {
    /// The fault.
    pub fault: LoadFault,
    /// The component and the place of the key at fault, where a manifest names it.
    site: Option<Box<(String, ManifestPlace)>>,
}

/// The fault of a component that cannot be loaded.
#[derive(Clone, Debug)]
pub enum LoadFault {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// The file is not a component that can be run.
    Invalid {
        /// The file.
        path: PathBuf,
        /// The finding and the advice.
        refusal: Refusal,
    },
    /// The machine cannot give what a component needs.
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The answer of the system.
        cause: String,
        /// The remedy.
        hint: &'static str,
    },
    /// A name it may connect to has no address.
    Name {
        /// The name.
        name: String,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
}

impl From<LoadFault> for LoadError {
    fn from(fault: LoadFault) -> Self {
        Self { fault, site: None }
    }
}

impl LoadError {
    /// Returns the error with the place of the component's key in the plan's manifest, if there is one.
    pub fn of(self, component: &str, plan: &Plan) -> Self {
        let place = plan.places.find(component, self.key());
        let site = place.map(|place| Box::new((component.to_owned(), place)));
        Self { site: site.or(self.site), ..self }
    }

    /// Returns the place in the manifest.
    pub fn place(&self) -> Option<&ManifestPlace> {
        self.site.as_ref().map(|site| &site.1)
    }

    fn key(&self) -> &str {
        match &self.fault {
            LoadFault::Unreadable { .. } | LoadFault::Unavailable { .. } => "source",
            LoadFault::Invalid { refusal, .. } => &refusal.key,
            LoadFault::Name { .. } => "network.connect",
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut excerpt = "";
        if let Some((component, place)) = self.site.as_deref() {
            write!(f, "{place}: [component.{component}] {}: ", self.key())?;
            excerpt = &place.excerpt;
        }
        match &self.fault {
            LoadFault::Unreadable { path, cause } => {
                write!(f, "{}: cannot be read: {cause}{excerpt}", path.display())
            }
            LoadFault::Invalid { path, refusal: Refusal { found, hint, .. } } => {
                let (found, hint) = (shown(found), shown(hint));
                write!(f, "{}: {found}{excerpt}\nhint: {hint}", path.display())
            }
            LoadFault::Unavailable { path, cause, hint } => {
                let (path, cause) = (path.display(), shown(cause));
                write!(f, "{path}: this machine cannot load it: {cause}{excerpt}\nhint: {hint}")
            }
            LoadFault::Name { name, cause } => write!(f, "cannot look up `{name}`: {cause}{excerpt}"),
        }
    }
}

/// The refusal of a file or a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key of the component that would have to change: `source` for the file itself.
    pub key: Cow<'static, str>,
    /// The finding, as a sentence about "it".
    pub found: String,
    /// The advice, in the terms of the tools that built the file.
    pub hint: String,
}

impl Refusal {
    /// Returns a refusal.
    pub fn new(found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { key: "source".into(), found: found.into(), hint: hint.into() }
    }

    /// Returns the same about this key.
    pub fn about(self, key: impl Into<Cow<'static, str>>) -> Self {
        Self { key: key.into(), ..self }
    }

    pub(super) fn of(self, path: &Path) -> LoadError {
        LoadFault::Invalid { path: path.to_owned(), refusal: self }.into()
    }
}

/// Returns a text about a file as it can be shown. Names between backquotes are cut more.
pub(super) fn shown(text: &str) -> String {
    let line = one_line(text);
    let most = |at: usize| if at % 2 == 1 { NAME_CHARS } else { TEXT_CHARS };
    let parts: Vec<_> = line.split('`').enumerate().map(|(at, part)| cut(part, most(at))).collect();
    cut(&parts.join("`"), TEXT_CHARS)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => text.get(..at).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_what_is_said_of_them_stays() {
        assert_eq!(shown("it imports `a` of `b`: no"), "it imports `a` of `b`: no");
        let long = "ä".repeat(5000);
        let name = "ä".repeat(NAME_CHARS);
        assert_eq!(
            shown(&format!("it imports `{long}` of `b`: no")),
            format!("it imports `{name}…` of `b`: no")
        );
        assert_eq!(shown(&"`a".repeat(5000)).chars().count(), TEXT_CHARS + 1);
    }

    #[test]
    fn every_text_of_a_refused_file_is_harmless() {
        let nasty = "a\u{1b}[2J\nb\u{202e}";
        let error = Refusal::new(nasty, nasty).of(Path::new("app.wasm")).to_string();
        assert_eq!(error, "app.wasm: a [2J b \nhint: a [2J b ");
    }
}
