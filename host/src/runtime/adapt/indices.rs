//! How many types, functions and globals a core module has: what is added behind them gets the next index.
//!
//! Invariant: what a section says how much is in it may be anything, and is never believed beyond what an index can be.

use wasmparser::{Payload, TypeRef};

/// The next index of each kind.
#[derive(Clone, Copy, Default)]
pub struct Indices {
    /// Types.
    pub types: u32,
    /// Functions, with those that are imported.
    pub functions: u32,
    /// Globals, with those that are imported.
    pub globals: u32,
}

impl Indices {
    /// Counts what is in a part of the module. `None` if that is damaged.
    pub fn count(&mut self, payload: &Payload<'_>) -> Option<()> {
        let Self { types, functions, globals } = self;
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    *types = types.checked_add(u32::try_from(group.ok()?.types().len()).ok()?)?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    match import.ok()?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => *functions = functions.checked_add(1)?,
                        TypeRef::Global(_) => *globals = globals.checked_add(1)?,
                        TypeRef::Memory(_) | TypeRef::Table(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            Payload::FunctionSection(section) => *functions = functions.checked_add(section.count())?,
            Payload::GlobalSection(section) => *globals = globals.checked_add(section.count())?,
            _ => {}
        }
        Some(())
    }
}
