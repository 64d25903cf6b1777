//! Manifests as text, since text is what users write.

use std::cell::RefCell;
use std::fmt::Write as _;

use boon::{Compiler, SchemaIndex, Schemas};

thread_local! {
    static SCHEMA: RefCell<(Schemas, SchemaIndex)> = RefCell::new(schema());
}

fn schema() -> (Schemas, SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("curfew.schema.json", curfew_host::plan::json_schema()).unwrap();
    let index = compiler.compile("curfew.schema.json", &mut schemas).unwrap();
    (schemas, index)
}

/// What an editor with `curfew schema` says of a manifest.
pub fn valid_manifest(text: &str) -> Result<(), String> {
    let value: serde_json::Value = toml::from_str(text).map_err(|error| error.to_string())?;
    SCHEMA.with_borrow(|(schemas, index)| schemas.validate(&value, *index).map_err(|error| error.to_string()))
}

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
