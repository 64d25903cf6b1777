//! The numbers of types, functions and globals of a core module: an item that is added gets the next index.
//!
//! Invariant: a section's own count may be any number, and is never believed beyond the largest index.

use wasmparser::{Payload, TypeRef};

/// The next index of each kind.
#[derive(Clone, Copy, Default)]
pub(super) struct Indices {
    pub(super) types: u32,
    /// Imported ones included.
    pub(super) functions: u32,
    /// Imported ones included.
    pub(super) globals: u32,
}

impl Indices {
    /// Counts the items of one part; `None` if that is damaged.
    pub(super) fn count(&mut self, payload: &Payload<'_>) -> Option<()> {
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
