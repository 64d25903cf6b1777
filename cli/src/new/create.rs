//! Writes a project: a template's files under another name. All of it is there, or nothing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Language, ProjectKind, TEMPLATES, Template};

/// Most characters of a name.
const MOST: usize = 40;

/// The name of a project: one that every language and tool takes as it is, or with `_` for `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProjectName(pub(crate) String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error(
        "a name has a-z, 0-9 and single `-` between them, starts with a letter, and is at most {MOST} long"
    )]
    Form,
    #[error("this word has a meaning of its own in some language: take another")]
    Taken,
}

impl FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_word = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || text.len() > MOST || !text.split('-').all(is_word) {
            return Err(NameError::Form);
        }
        match text {
            // A package in Rust cannot have these names, or they hide a crate which it needs.
            "alloc" | "app" | "async" | "await" | "component" | "core" | "crate" | "fn" | "mod" | "self"
            | "std" | "super" | "test" | "wit-bindgen" => Err(NameError::Taken),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// An error that keeps a project from being written; nothing of it is there then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewError {
    /// The language's tools cannot build such a component.
    #[error("there is no async project in {}: {why}\nhint: leave `--async` out: {instead}", language.title())]
    Unavailable { language: Language, why: &'static str, instead: &'static str },
    #[error("{}: there is something of that name already\nhint: take another name, or move it away", .0.display())]
    Exists(PathBuf),
    #[error("{}: cannot be written: {cause}", folder.display())]
    Unwritable { folder: PathBuf, cause: io::Error },
}

pub(crate) fn find(
    language: Language,
    kind: ProjectKind,
    is_async: bool,
) -> Result<&'static Template, NewError> {
    let fits = |template: &&Template| {
        template.language == language && template.kind == kind && template.is_async == is_async
    };
    let instead = match kind {
        ProjectKind::Service => "its hook is called when its `run` has returned, which waits for the stop",
        ProjectKind::Http => "its hook is called when its requests are answered",
    };
    // The reason why a language has no WASI 0.3 project, as far as we have seen.
    let why = match language {
        Language::Js => {
            "componentize-js 0.23 builds for WASI 0.2 only, and componentize-qjs 0.4.5 has no `console` and cannot \
             import async functions such as `stop-requested`"
        }
        Language::C => {
            "what is one function elsewhere would be callbacks and a state machine, written by hand"
        }
        Language::Go => "its compiler has no async exports, and those of wit-bindgen need a patched Go",
        Language::Rust | Language::Python => "this is a bug in curfew",
    };
    TEMPLATES.iter().find(fits).ok_or(NewError::Unavailable { language, why, instead })
}

/// Writes a project into the folder `name` in `parent`, and returns that folder. An empty folder may be there.
pub(crate) fn create(parent: &Path, name: &ProjectName, template: &Template) -> Result<PathBuf, NewError> {
    let folder = parent.join(&name.0);
    let unwritable = |cause| NewError::Unwritable { folder: folder.clone(), cause };
    match std::fs::read_dir(&folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(false) | Err(_) => return Err(NewError::Exists(folder)),
    }
    // Not its owner's alone, as temporary folders are: what the umask takes away is enough.
    let everybody = std::fs::Permissions::from_mode(0o777);
    let mut builder = tempfile::Builder::new();
    let staged =
        builder.prefix(".curfew-new-").permissions(everybody).tempdir_in(parent).map_err(unwritable)?;
    for (path, content) in template.files {
        let path = staged.path().join(rename(path, name, template));
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let content = rename(content, name, template);
        made.and_then(|()| std::fs::write(&path, content)).map_err(unwritable)?;
    }
    // Takes the place of an empty folder, and of nothing else.
    std::fs::rename(staged.path(), &folder).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ENOTEMPTY | nix::libc::EEXIST | nix::libc::ENOTDIR) => {
            NewError::Exists(folder.clone())
        }
        _ => unwritable(error),
    })?;
    // The renamed folder is not temporary any more.
    let _kept = staged.keep();
    Ok(folder)
}

fn rename(text: &str, name: &ProjectName, template: &Template) -> String {
    text.replace(template.name(), &name.0)
        .replace(&template.name().replace('-', "_"), &name.0.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::ValueEnum;

    use super::*;
    use curfew_host::plan::names::{component_name_from, is_component_name};

    fn name(text: &str) -> ProjectName {
        text.parse().unwrap()
    }

    fn any() -> &'static Template {
        find(Language::Rust, ProjectKind::Http, false).unwrap()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
        }
        found
    }

    #[test]
    fn a_project_has_its_own_name_everywhere() {
        for template in TEMPLATES {
            let parent = tempfile::tempdir().unwrap();
            let folder = create(parent.path(), &name("cat-and-dog"), template).unwrap();
            let files = files(&folder);
            assert_eq!(files.len(), template.files.len());
            for file in files {
                let (path, text) = (file.to_str().unwrap(), std::fs::read_to_string(&file).unwrap());
                for word in [template.name(), &template.name().replace('-', "_")] {
                    assert!(!path.contains(word) && !text.contains(word), "{path} has {word}");
                }
            }
            let manifest = std::fs::read_to_string(folder.join("curfew.toml")).unwrap();
            assert!(manifest.contains("[component.cat-and-dog]"), "{manifest}");
            assert_eq!(component_name_from("cat-and-dog"), "cat-and-dog");
        }
    }

    /// The text of each WIT package in `wit/`, by the line that names the package.
    fn wit_packages() -> BTreeMap<String, String> {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let texts = files(&wit).into_iter().map(|file| std::fs::read_to_string(file).unwrap());
        texts.filter_map(|text| Some((package_line(&text)?, text))).collect()
    }

    fn package_line(text: &str) -> Option<String> {
        text.lines().find(|line| line.starts_with("package ")).map(str::to_owned)
    }

    #[test]
    fn the_wit_packages_of_a_project_are_those_in_wit() {
        let kept = wit_packages();
        for template in TEMPLATES {
            let parent = tempfile::tempdir().unwrap();
            let folder = create(parent.path(), &name("cat-and-dog"), template).unwrap();
            let deps = folder.join("wit/deps");
            for file in files(&folder).into_iter().filter(|file| file.starts_with(&deps)) {
                let text = std::fs::read_to_string(&file).unwrap();
                let package = package_line(&text).unwrap();
                assert_eq!(kept.get(&package), Some(&text), "{}: {package}", template.folder);
            }
        }
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let taken = parent.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("mine"), "mine").unwrap();
        let refused = create(parent.path(), &name("taken"), any()).unwrap_err();
        assert!(matches!(refused, NewError::Exists(_)), "{refused}");
        std::fs::write(parent.path().join("file"), "mine").unwrap();
        let refused = create(parent.path(), &name("file"), any()).unwrap_err();
        assert!(matches!(refused, NewError::Exists(_)), "{refused}");
        assert_eq!(files(parent.path()).len(), 2);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_empty_folder_is_filled_and_a_missing_parent_is_told() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::create_dir(parent.path().join("empty")).unwrap();
        let folder = create(parent.path(), &name("empty"), any()).unwrap();
        assert!(folder.join("curfew.toml").is_file());
        let refused = create(&parent.path().join("no"), &name("a"), any()).unwrap_err();
        assert!(matches!(refused, NewError::Unwritable { .. }), "{refused}");
    }

    #[test]
    fn names_are_what_every_language_takes() {
        for good in ["a", "hello", "my-app-2", "a1-b2"] {
            let name: ProjectName = good.parse().unwrap();
            assert!(is_component_name(&name.0));
        }
        let long = "a".repeat(MOST + 1);
        for bad in ["", "-a", "a-", "a--b", "A", "1a", "a_b", "ä", "a/b", "..", "a b", &long] {
            assert_eq!(bad.parse::<ProjectName>(), Err(NameError::Form), "{bad}");
        }
        assert_eq!("std".parse::<ProjectName>(), Err(NameError::Taken));
    }

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
