//! The facts of a core module that decide how it runs: imports, exports, tools. Its code is not read.

use std::collections::BTreeSet;

use wasmparser::{CustomSectionReader, KnownCustom, Parser, Payload, TypeRef};

/// The custom section that a tool embeds a world in.
const WORLD: &str = "component-type";

#[derive(Clone, Debug, Default)]
pub(crate) struct CoreModule {
    /// The module and the name of each import, in order.
    pub(super) imports: Vec<(String, String)>,
    pub(super) exports: BTreeSet<String>,
    pub(super) has_world: bool,
    pub(super) is_threaded: bool,
    /// It is a library that is linked when it is loaded.
    pub(super) is_shared_library: bool,
    /// It has yet to be linked.
    pub(super) is_object: bool,
    /// The language that it was written in, and the tools that made it.
    pub(crate) made_by: Vec<String>,
}

impl CoreModule {
    /// Reads the sections. The error says how they are damaged.
    pub(crate) fn read(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        module.is_threaded |= matches!(import.ty, TypeRef::Memory(memory) if memory.shared);
                        module.imports.push((import.module.to_owned(), import.name.to_owned()));
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        module.is_threaded |= memory?.shared;
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        module.exports.insert(export?.name.to_owned());
                    }
                }
                Payload::CustomSection(section) => module.take_custom(&section),
                _ => {}
            }
        }
        Ok(module)
    }

    fn take_custom(&mut self, section: &CustomSectionReader<'_>) {
        self.has_world |= section.name().starts_with(WORLD);
        match section.as_known() {
            // The section is for people: a damaged field of it does no harm.
            KnownCustom::Producers(fields) => {
                let values = fields.into_iter().flatten().flat_map(|field| field.values);
                self.made_by.extend(values.flatten().map(|value| value.name.to_owned()));
            }
            KnownCustom::Dylink0(_) => self.is_shared_library = true,
            KnownCustom::Linking(_) => self.is_object = true,
            _ => {}
        }
    }

    pub(crate) fn has(&self, export: &str) -> bool {
        self.exports.contains(export)
    }

    pub(super) fn import_from(&self, is_it: impl Fn(&str) -> bool) -> Option<&(String, String)> {
        self.imports.iter().find(|(module, _)| is_it(module))
    }

    /// Returns whether one of the tools or languages that made it begins so.
    pub(crate) fn is_made_by(&self, word: &str) -> bool {
        self.made_by.iter().any(|maker| maker.starts_with(word))
    }
}
