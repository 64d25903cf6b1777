//! Promises of the source itself: its parts know only what is below them, imports go round in no large circle, one thing has
//! one name, and no test is forgotten.

mod imports;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use imports::{Imports, code};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(sources(&path)),
            path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
    found
}

#[test]
fn no_forgotten_test_files() {
    let tests = Path::new(ROOT).join("tests");
    let targets = fs::read_to_string(Path::new(ROOT).join("cli/Cargo.toml")).unwrap();
    for path in sources(&tests) {
        let folder = path.parent().unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if stem == "main" || stem == "mod" {
            continue;
        }
        let parents = [folder.join("main.rs"), folder.join("mod.rs"), folder.with_extension("rs")];
        let declared = parents
            .iter()
            .filter_map(|parent| fs::read_to_string(parent).ok())
            .any(|text| text.lines().any(|line| line.trim_start_matches("pub ") == format!("mod {stem};")));
        let file = format!("path = \"../{}\"", path.strip_prefix(ROOT).unwrap().display());
        let declared = declared || targets.contains(&file);
        assert!(declared, "{} is not a module of anything", path.display());
    }
}

/// The parts of `host/src`, each with the words that no file of it may import, and why the contract says so.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("text", &["crate", "wasmtime", "hyper", "tokio"]),
    (
        "plan",
        &["wasmtime", "clap", "crate::runtime", "crate::server", "crate::supervisor", "crate::teardown"],
    ),
    ("plan", &["crate::admin", "crate::output"]),
    ("teardown", &["wasmtime", "hyper", "tokio", "Instant", "SystemTime", "crate::runtime", "crate::server"]),
    ("teardown", &["crate::supervisor", "crate::output", "crate::admin"]),
    ("runtime", &["crate::server", "crate::supervisor", "crate::admin"]),
    ("server", &["crate::supervisor", "crate::admin"]),
    ("admin", &["wasmtime", "crate::supervisor", "crate::runtime"]),
    ("supervisor", &["clap", "hyper"]),
    ("systemd", &["wasmtime", "hyper", "tokio", "crate::server", "crate::supervisor", "crate::runtime"]),
    ("systemd", &["crate::admin", "crate::plan", "crate::teardown"]),
    ("output", &["wasmtime", "crate::server", "crate::supervisor", "crate::runtime", "crate::admin"]),
    ("output", &["crate::plan", "crate::teardown"]),
];

/// Design 5: imports point one way, `cli → supervisor → admin → server → runtime → teardown → plan`; `teardown` imports neither
/// wasmtime nor hyper nor a clock.
#[test]
fn the_parts_of_the_host_know_only_what_is_below_them() {
    for (part, forbidden) in FORBIDDEN {
        let folder = Path::new(ROOT).join("host/src").join(part);
        let mut files = if folder.is_dir() { sources(&folder) } else { Vec::new() };
        files.extend(Some(folder.with_extension("rs")).filter(|path| path.is_file()));
        assert!(!files.is_empty(), "{part} is not there: this rule watches nothing");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for word in *forbidden {
                let named = uses(&text).into_iter().find(|line| names(line, word));
                assert_eq!(named, None, "{} uses {word}", file.display());
            }
        }
    }
}

/// The `use` declarations, each as one line; also those in functions and nested modules.
fn uses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let after = start
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ");
        if !after.starts_with("use ") {
            continue;
        }
        let mut whole = after.to_string();
        while !whole.ends_with(';') {
            let Some(next) = lines.next() else { break };
            whole.push_str(next.trim());
        }
        found.push(whole);
    }
    found
}

/// Whether a word stands in the line by itself, so that `hyper` is not found in `hyperbole`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next())
    })
}

/// The crates, whose sources are checked.
const CRATES: [&str; 2] = ["host/src", "cli/src"];

/// Direction 5: no import circle of more than three files.
#[test]
fn no_circle_of_imports_has_more_than_three_files() {
    for folder in CRATES {
        let imports = Imports::read(&Path::new(ROOT).join(folder));
        assert!(
            imports.edges().values().map(|to| to.len()).sum::<usize>() > 50,
            "{folder}: nothing was read"
        );
        let large: Vec<_> = imports.circles().into_iter().filter(|circle| circle.len() > 3).collect();
        assert!(large.is_empty(), "{folder}: these files import each other in a circle: {large:#?}");
    }
}

/// Files of production code with their text, without comments and tests.
fn production() -> Vec<(String, String)> {
    let files = CRATES.iter().flat_map(|folder| sources(&Path::new(ROOT).join(folder)));
    let is_test = |path: &PathBuf| path.iter().any(|part| part == "tests" || part == "tests.rs");
    files
        .filter(|path| !is_test(path))
        .map(|path| {
            let name = path.strip_prefix(ROOT).unwrap().display().to_string().replace("/../", "");
            (name, code(&fs::read_to_string(&path).unwrap()))
        })
        .collect()
}

/// The types that a file declares, each with whether all files of the crate can name it.
fn types(code: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    for line in code.lines() {
        let line = line.trim_start();
        let public = ["pub ", "pub(crate) "].iter().find_map(|public| line.strip_prefix(public));
        let rest = public.or(line.strip_prefix("pub(super) ")).unwrap_or(line);
        let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
        if let Some(rest) = kinds.iter().find_map(|kind| rest.strip_prefix(kind)) {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            if end > 0 {
                found.push((&rest[..end], public.is_some()));
            }
        }
    }
    found
}

/// Direction 1: one thing has one name. A type that stands for another one without a feature has its name.
#[test]
fn no_two_public_types_share_a_name() {
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, code) in production() {
        if file.ends_with("adapt/absent.rs") {
            continue;
        }
        for (name, _) in types(&code).into_iter().filter(|(_, is_public)| *is_public) {
            declared.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    assert!(declared.len() > 200, "nothing was read");
    let twice: Vec<_> = declared.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "these names stand for more than one type: {twice:#?}");
}

/// The nouns of the domain, each with the type and the file that it is.
const NOUNS: &[(&str, &str)] = &[
    ("Plan", "host/src/plan/"),
    ("ComponentPlan", "host/src/plan/"),
    ("Machine", "host/src/teardown/machine.rs"),
    ("Generation", "host/src/teardown/generation.rs"),
    ("Rollout", "host/src/teardown/"),
    ("Level", "host/src/teardown/level.rs"),
    ("Cause", "host/src/teardown/event.rs"),
    ("ExitCode", "host/src/teardown/exit_code.rs"),
    ("Notice", "host/src/runtime/"),
    ("Loaded", "host/src/runtime/component.rs"),
    ("Ingress", "host/src/server/ingress/"),
    ("Address", "host/src/server/address/"),
    ("Pool", "host/src/server/pool/"),
    ("Worker", "host/src/server/worker/"),
    ("EventLoop", "host/src/supervisor/event_loop.rs"),
    ("GenerationRecord", "host/src/supervisor/generation_record.rs"),
    ("Guardian", "host/src/supervisor/guardian.rs"),
    ("Report", "host/src/supervisor/report.rs"),
];

/// Words that were replaced: metaphors, and second names of things in [`NOUNS`]. None may come back as a file or as a type.
const RETIRED: &[&str] = &[
    "Bell",
    "Birth",
    "Board",
    "Climb",
    "Conductor",
    "Desk",
    "Door",
    "Ears",
    "Front",
    "Group",
    "Hold",
    "Lane",
    "Lanes",
    "Ledger",
    "Life",
    "Member",
    "Mouth",
    "Narrate",
    "Operate",
    "Perform",
    "Roster",
    "Seat",
    "Seen",
    "Standing",
    "Ticker",
    "Tries",
    "Visit",
];

#[test]
fn one_thing_has_one_name() {
    let files = production();
    for (noun, home) in NOUNS {
        let is_home = |(file, code): &&(String, String)| {
            file.starts_with(home) && types(code).into_iter().any(|(name, _)| name == *noun)
        };
        assert!(files.iter().any(|file| is_home(&file)), "{noun} is not declared in {home}");
    }
    for (file, code) in &files {
        let stem = Path::new(file).file_stem().unwrap().to_str().unwrap();
        for word in RETIRED {
            assert!(!stem.eq_ignore_ascii_case(word), "{file}: {word} was replaced by another word");
            let declared = types(code).into_iter().any(|(name, _)| name == *word);
            assert!(!declared, "{file} declares {word}, which was replaced by another word");
        }
    }
}

/// House rule: `mod.rs` holds docs and re-exports only.
#[test]
fn a_mod_file_holds_docs_and_re_exports_only() {
    for (file, code) in production().into_iter().filter(|(file, _)| file.ends_with("/mod.rs")) {
        for line in code.lines() {
            let items = ["fn ", "struct ", "enum ", "impl ", "trait ", "static ", "macro_rules"];
            let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            assert!(!items.iter().any(|item| line.starts_with(item)), "{file} has code: {line}");
        }
    }
}
