//! Projects in other languages: built by the commands of their own READMEs, in copies below `target/`, when somebody
//! asks for them.
//!
//! Invariant: a project is built again when any file of it, or this builder, has changed, and only then; two that ask at
//! a time wait for each other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::script::{Script, blocks};
use crate::{BUILT, COMPONENTS};

/// What tools make of a project, besides what it is built to; never a part of it.
const MADE: [&str; 7] = ["target", "node_modules", ".venv", "__pycache__", "build", "gen", "dist"];

/// The language a project is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Built by cargo.
    Rust,
    /// Built by npm.
    JavaScript,
    /// Built by componentize-py.
    Python,
    /// Built by make and clang.
    C,
    /// Built by go.
    Go,
}

impl Language {
    /// Reads off the file that says how a project is built which language it is in.
    fn of(folder: &Path) -> io::Result<Self> {
        let marks = [
            ("Cargo.toml", Self::Rust),
            ("package.json", Self::JavaScript),
            ("requirements.txt", Self::Python),
            ("go.mod", Self::Go),
            ("Makefile", Self::C),
        ];
        let found = marks.into_iter().find(|(mark, _)| folder.join(mark).is_file());
        found
            .map(|(_, language)| language)
            .ok_or_else(|| io::Error::other(format!("{}: nothing says how it is built", folder.display())))
    }

    /// The programs that building and testing need, each with an argument that makes it say its version.
    fn tools(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[("cargo", "--version")],
            Self::JavaScript => &[("node", "--version"), ("npm", "--version")],
            Self::Python => &[("python3", "--version")],
            Self::C => {
                &[("clang-19", "--version"), ("wasm-ld-19", "--version"), ("wit-bindgen", "--version")]
            }
            Self::Go => &[("go", "version"), ("wasm-tools", "--version")],
        }
    }
}

/// One project.
#[derive(Clone, Debug)]
pub struct Project {
    name: String,
    folder: PathBuf,
    language: Language,
}

impl Project {
    /// Returns the project in a folder of `guest-components/`, such as `tick-tock/python`.
    ///
    /// # Errors
    /// When there is none.
    pub fn sample(folder: &str) -> io::Result<Self> {
        let path = ["hostile/", "first-steps/"].iter().find_map(|group| folder.strip_prefix(group));
        let name = path.unwrap_or(folder).replace('/', "-");
        Self::at(&Path::new(COMPONENTS).join(folder), &name)
    }

    /// Returns the project in a folder; copies of it are built under this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(folder: &Path, name: &str) -> io::Result<Self> {
        let language = Language::of(folder)?;
        Ok(Self { name: name.to_owned(), folder: folder.to_owned(), language })
    }

    /// Returns the samples that `languages.toml` hosts together, in its order.
    ///
    /// # Errors
    /// When it cannot be read, or names one that is not there.
    pub fn samples() -> io::Result<Vec<Self>> {
        let manifest = fs::read_to_string(Path::new(COMPONENTS).join("languages.toml"))?;
        let files = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("source = \"../target/guests/")?.split(".wasm").next());
        files.map(|name| Self::sample(&folder(name)?)).collect()
    }

    /// Returns the name that its built file has in `target/guests`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the folders with the tools that `make setup` installs, to be put before `PATH`.
    pub fn tools() -> Vec<PathBuf> {
        let target = Path::new(BUILT).parent().unwrap_or(Path::new(BUILT));
        vec![target.join("tools/bin")]
    }

    /// Returns which program is missing to build it, if one is.
    pub fn missing(&self) -> Option<&'static str> {
        let script = |program: &str, argument: &str| Script {
            text: format!("{program} {argument}"),
            folder: self.folder.clone(),
            path: Self::tools(),
            env: Vec::new(),
        };
        let works = |(program, argument): &&(&'static str, &str)| {
            script(program, argument).run().is_ok_and(|output| output.status.success())
        };
        self.language.tools().iter().find(|tool| !works(tool)).map(|(program, _)| *program)
    }

    /// Returns the folder of the copy that is built. What its tools have fetched and built stays there.
    pub fn workshop(&self) -> PathBuf {
        Path::new(BUILT).join("projects").join(&self.name)
    }

    /// Builds it, unless that has been done, and returns the file.
    ///
    /// # Errors
    /// When its files cannot be copied, or its build fails; the text has what the build printed.
    pub fn build(&self) -> io::Result<PathBuf> {
        let workshop = self.workshop();
        fs::create_dir_all(&workshop)?;
        let lock = File::create(workshop.with_extension("lock"))?;
        lock.lock()?;
        let sources = sources(&self.folder)?;
        let state = state(&sources);
        let noted = workshop.with_extension("state");
        let built = Path::new(BUILT).join(format!("{}.wasm", self.name));
        if built.is_file() && fs::read_to_string(&noted).is_ok_and(|noted| noted == state) {
            return Ok(built);
        }
        lay_out(&workshop, &sources)?;
        let build = blocks(&workshop.join("README.md"), "Build")?;
        let folder = workshop.clone();
        let output = Script { text: build, folder, path: Self::tools(), env: Vec::new() }.run()?;
        if !output.status.success() {
            return Err(io::Error::other(format!(
                "{}: its build failed: {}\n{}{}",
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        // Never half of a file, for those who read it at this moment.
        let staged = built.with_extension("staged");
        fs::copy(source(&workshop)?, &staged)?;
        fs::rename(&staged, &built)?;
        fs::write(&noted, state)?;
        Ok(built)
    }
}

/// Returns the folder of the sample that is built to the file of this name.
fn folder(name: &str) -> io::Result<String> {
    let group = ["say-hello", "tick-tock"].into_iter().find(|group| name.starts_with(group));
    let variant = group.and_then(|group| name.strip_prefix(group)?.strip_prefix('-'));
    match (group, variant) {
        (Some(group), Some(variant)) => Ok(format!("{group}/{variant}")),
        _ => Err(io::Error::other(format!("there is no sample {name}"))),
    }
}

/// Returns the file that a project is built to: the `source` of its manifest; without one, the WebAssembly in its folder.
fn source(workshop: &Path) -> io::Result<PathBuf> {
    let manifest = workshop.join("curfew.toml");
    if !manifest.is_file() {
        let files = fs::read_dir(workshop)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut built = files.filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        return built.next().ok_or_else(|| {
            io::Error::other(format!("{}: its build made no .wasm file", workshop.display()))
        });
    }
    let text = fs::read_to_string(&manifest)?;
    let line = text.lines().find_map(|line| line.strip_prefix("source = \"")?.split('"').next());
    line.map(|source| workshop.join(source))
        .ok_or_else(|| io::Error::other(format!("{}: it has no source", manifest.display())))
}

/// Returns a project's own files, by their paths in it. It reads through links, which most of `wit/deps` is, so that the
/// copy stands alone.
fn sources(folder: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !MADE.contains(&name.as_str()) {
                folders.push(path);
            } else if path.is_file() && !name.ends_with(".wasm") {
                let inner = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                found.insert(inner, fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

fn state(sources: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut hasher = DefaultHasher::new();
    (include_str!("project.rs"), sources).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Brings the copy up to date: files that are the same keep their times, files of an older version go.
fn lay_out(workshop: &Path, new: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    let old = sources(workshop)?;
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        fs::remove_file(workshop.join(path))?;
    }
    for (path, content) in new.iter().filter(|(path, content)| old.get(*path) != Some(content)) {
        let path = workshop.join(path);
        fs::create_dir_all(path.parent().unwrap_or(workshop))?;
        fs::write(path, content)?;
    }
    Ok(())
}
