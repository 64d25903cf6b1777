//! Part G in JavaScript and Python: their runtimes have their own ways to fail, to leave, and not to come back.

use std::sync::OnceLock;

use super::cases::{IN_LANGUAGES, Kind};
use crate::harness::sample;

static SOURCES: OnceLock<[String; 3]> = OnceLock::new();

/// The built guest; there is one when the test below has begun.
pub fn source_of(kind: Kind) -> &'static str {
    let [javascript, python, async_python] = SOURCES.get().unwrap();
    match kind {
        Kind::JavaScript => javascript,
        Kind::Python => python,
        Kind::AsyncPython => async_python,
        Kind::Async | Kind::Classic => panic!("{kind:?} is a guest in Rust"),
    }
}

/// Issue 5: the G matrix holds for a JavaScript and a Python guest too.
#[test]
fn every_hostile_guest_in_another_language_ends_as_the_table_says() {
    let folders = ["hostile/hostile-js", "hostile/hostile-python", "hostile/hostile-python-async"];
    let built: Option<Vec<String>> =
        folders.into_iter().map(|folder| Some(sample(folder)?.to_str().unwrap().to_owned())).collect();
    let Some(built) = built else { return };
    SOURCES.set(built.try_into().unwrap()).unwrap();
    super::check_table(
        IN_LANGUAGES,
        "hostile-languages.md",
        "# Guests in JavaScript and Python that misbehave\n\n",
    );
}
