//! The languages and kinds of projects, and the reasons why some do not exist. The files are in `files`.

use clap::ValueEnum;

use super::files::TEMPLATES;

/// The language of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust, built by cargo
    Rust,
    /// JavaScript, built by npm and componentize-js
    #[value(alias = "javascript")]
    Js,
    /// Python, built by componentize-py
    #[value(alias = "py")]
    Python,
    /// C, built by make, clang and wit-bindgen
    C,
    /// Go, built by its own compiler
    Go,
}

/// The kind of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProjectKind {
    /// It runs by itself: a timer that is asked to stop
    Service,
    /// It answers HTTP requests
    Http,
}

impl ProjectKind {
    /// Returns the word that users read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Http => "http",
        }
    }
}

impl Language {
    /// Returns the word that users write.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Js => "js",
            Self::Python => "python",
            Self::C => "c",
            Self::Go => "go",
        }
    }

    /// Returns its name as people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
            Self::Go => "Go",
        }
    }
}

/// One project that can be copied.
#[derive(Debug)]
pub struct Template {
    /// The folder below `guest-components/`.
    pub folder: &'static str,
    /// Its language.
    pub language: Language,
    /// Its kind.
    pub kind: ProjectKind,
    /// It is for WASI 0.3.
    pub is_async: bool,
    /// The paths and contents of its files.
    pub files: &'static [(&'static str, &'static str)],
}

impl Template {
    /// Returns the name that stands in its files for that of the project.
    pub fn name(&self) -> &'static str {
        self.folder.split('/').next().unwrap_or(self.folder)
    }
}

/// There is no such project.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no async project in {}: {why}\nhint: leave `--async` out: {instead}", language.title())]
pub struct Unavailable {
    language: Language,
    why: &'static str,
    instead: &'static str,
}

/// Returns the project in a language, of a kind.
///
/// # Errors
/// When the language's tools cannot build such a component.
pub fn find(language: Language, kind: ProjectKind, is_async: bool) -> Result<&'static Template, Unavailable> {
    let fits = |template: &&Template| {
        template.language == language && template.kind == kind && template.is_async == is_async
    };
    let instead = match kind {
        ProjectKind::Service => "its hook is called when its `run` has returned, which waits for the stop",
        ProjectKind::Http => "its hook is called when its requests are answered",
    };
    TEMPLATES.iter().find(fits).ok_or(Unavailable { language, why: why_not_async(language), instead })
}

/// The reason why a language has no WASI 0.3 project, as far as we have seen.
fn why_not_async(language: Language) -> &'static str {
    match language {
        Language::Js => {
            "componentize-js 0.23 builds for WASI 0.2 only, and componentize-qjs 0.4.5 has no `console` and cannot \
             import async functions such as `stop-requested`"
        }
        Language::C => {
            "what is one function elsewhere would be callbacks and a state machine, written by hand"
        }
        Language::Go => "its compiler has no async exports, and those of wit-bindgen need a patched Go",
        Language::Rust | Language::Python => "this is a bug in curfew",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_none_of_is_told_with_the_reason() {
        for language in Language::value_variants() {
            for kind in ProjectKind::value_variants() {
                for is_async in [false, true] {
                    if let Err(error) = find(*language, *kind, is_async) {
                        let text = error.to_string();
                        assert!(is_async && text.contains("hint: leave `--async` out"), "{text}");
                        assert!(!text.contains("a bug"), "{text}");
                    }
                }
            }
            assert!(find(*language, ProjectKind::Service, false).is_ok());
        }
    }
}
