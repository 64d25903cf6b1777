//! Manifests as text, since text is what users write.

use std::fmt::Write as _;

/// The `[app]` table; `keys` is TOML.
pub fn app(keys: &str) -> String {
    format!("[app]\nname = \"test\"\n{keys}\n\n")
}

/// The table of one component; `keys` is TOML.
pub fn component(name: &str, source: &str, keys: &str) -> String {
    format!("[component.{name}]\nsource = {source:?}\n{keys}\n\n")
}

/// `args = [...]` from words, so that tests need not quote.
pub fn keys(args: &[&str]) -> String {
    let mut text = String::new();
    write!(text, "args = {args:?}").expect("a string takes all");
    text
}
