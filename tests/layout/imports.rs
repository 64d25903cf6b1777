//! The imports of a crate as a graph of its files, read from the text of the sources.
//!
//! A name that a `mod.rs` re-exports belongs to the file that declares it: `mod.rs` and `lib.rs` are no files of the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path below the crate, as in `["server", "pool"]`.
type Module = Vec<String>;

/// The files of a crate, and the imports between them.
pub struct Imports {
    modules: BTreeMap<Module, PathBuf>,
    texts: BTreeMap<PathBuf, String>,
    folder: PathBuf,
}

impl Imports {
    /// Reads all sources below `folder`, without tests.
    pub fn read(folder: &Path) -> Self {
        let (mut modules, mut texts) = (BTreeMap::new(), BTreeMap::new());
        for path in super::sources(folder) {
            let relative = path.strip_prefix(folder).unwrap();
            if is_test(relative) {
                continue;
            }
            let mut module: Module =
                relative.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
                module.pop();
            }
            modules.insert(module, path.clone());
            texts.insert(path.clone(), code(&fs::read_to_string(&path).unwrap()));
        }
        Self { modules, texts, folder: folder.to_path_buf() }
    }

    /// Returns the files that each file imports something of.
    pub fn edges(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut edges: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (module, path) in &self.modules {
            if is_index(path) {
                continue;
            }
            let found = edges.entry(path).or_default();
            for mut named in paths(&self.texts[path]) {
                found
                    .extend(absolute(module, &mut named).and_then(|absolute| self.declared_in(&absolute, 0)));
            }
            found.remove(path.as_path());
        }
        edges
    }

    /// Returns the circles of imports, each with its files relative to the folder.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reach: BTreeMap<&Path, BTreeSet<&Path>> =
            edges.keys().map(|from| (*from, reachable(&edges, from))).collect();
        let mut circles = BTreeSet::new();
        for (from, reached) in &reach {
            if !reached.contains(from) {
                continue;
            }
            let circle = reached.iter().filter(|to| reach.get(*to).is_some_and(|back| back.contains(from)));
            let name = |path: &&Path| path.strip_prefix(&self.folder).unwrap().display().to_string();
            circles.insert(circle.map(name).collect::<Vec<_>>());
        }
        circles.into_iter().collect()
    }

    /// Returns the file that declares the item of this path, through re-exports.
    fn declared_in(&self, absolute: &Module, depth: usize) -> Option<&Path> {
        let length =
            (0..=absolute.len()).rev().find(|length| self.modules.contains_key(&absolute[..*length]))?;
        let (module, rest) = (&absolute[..length], &absolute[length..]);
        let path = self.modules[module].as_path();
        let Some(item) = rest.first().filter(|_| is_index(path) && depth < 8) else {
            return (!is_index(path)).then_some(path);
        };
        for re_export in re_exports(&self.texts[path]) {
            let mut target = module.to_vec();
            match re_export.last().map(String::as_str) {
                Some("*") => {
                    target.extend_from_slice(&re_export[..re_export.len() - 1]);
                    let declares =
                        self.modules.get(&target).is_some_and(|file| declares(&self.texts[file], item));
                    if declares {
                        return self.declared_in(&target, depth + 1);
                    }
                }
                Some(name) if name == item => {
                    if re_export[0] == "crate" {
                        target.clear();
                    }
                    target
                        .extend(re_export.iter().filter(|part| *part != "self" && *part != "crate").cloned());
                    return self.declared_in(&target, depth + 1);
                }
                _ => {}
            }
        }
        None
    }
}

/// Turns a path as it stands in a module into one from the crate's root.
fn absolute(module: &Module, named: &mut Vec<String>) -> Option<Module> {
    let mut base = module.clone();
    match named.remove(0).as_str() {
        "crate" => base.clear(),
        "super" => drop(base.pop()),
        _ => {}
    }
    while named.first().is_some_and(|next| next == "super") {
        named.remove(0);
        base.pop();
    }
    base.append(named);
    (!base.is_empty()).then_some(base)
}

fn reachable<'a>(edges: &BTreeMap<&'a Path, BTreeSet<&'a Path>>, from: &Path) -> BTreeSet<&'a Path> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        for to in edges.get(next).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs" || name == "main.rs")
}

fn is_test(relative: &Path) -> bool {
    let is_tests = |part: &str| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs");
    relative.iter().any(|part| is_tests(part.to_str().unwrap()))
}

/// The text without comments and without the tests at its end.
pub fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = production.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// All paths that begin with `crate`, `super` or `self`, in imports and elsewhere, braces expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            expand(&code[at..], Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one path, or a group in braces, and returns the text behind it.
fn expand<'a>(mut text: &'a str, mut prefix: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    loop {
        text = text.trim_start();
        if let Some(mut group) = text.strip_prefix('{') {
            loop {
                group = group.trim_start();
                if let Some(rest) = group.strip_prefix('}') {
                    return rest;
                }
                let rest = expand(group, prefix.clone(), found);
                group = rest.trim_start().strip_prefix(',').unwrap_or(rest);
                if group.len() == rest.len() && !group.trim_start().starts_with('}') {
                    return group;
                }
            }
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
        if end > 0 {
            prefix.push(text[..end].to_owned());
        }
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(rest) if end > 0 => text = rest,
            _ => {
                found.push(prefix);
                return text;
            }
        }
    }
}

/// The paths that a `mod.rs` re-exports.
fn re_exports(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("pub").filter(|(at, _)| *at == 0 || code[..*at].ends_with('\n')) {
        let line = &code[at..];
        let Some(start) = line.find("use ").filter(|start| !line[..*start].contains(';')) else { continue };
        expand(&line[start + 4..], Vec::new(), &mut found);
    }
    found
}

fn declares(code: &str, item: &str) -> bool {
    let declares = |kind: &str| super::names(code, &format!("{kind} {item}"));
    ["struct", "enum", "fn", "const", "trait", "type", "static"].into_iter().any(declares)
}
