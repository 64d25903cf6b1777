//! Changes of a core module's sections. An added item gets the next index; the rest keeps its bytes. A count in a damaged file
//! may be any number: no sum of them overflows.

use wasm_encoder::{ConstExpr, Encode, GlobalType, Module, RawSection, ValType};
use wasmparser::{BinaryReader, MemoryType, Parser, Payload, TypeRef};

/// The next indices of a module, imported items included, and its memory.
pub(super) struct Layout {
    pub(super) types: u32,
    pub(super) functions: u32,
    pub(super) globals: u32,
    pub(super) memory: MemoryType,
}

impl Layout {
    /// Reads a module with one plain memory of its own; `None` for another or a damaged one.
    pub(super) fn read(module: &[u8]) -> Option<Self> {
        let (mut types, mut functions, mut globals) = (0_u32, 0_u32, 0_u32);
        let mut memories = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::TypeSection(section) => {
                    for group in section {
                        types = types.checked_add(u32::try_from(group.ok()?.types().len()).ok()?)?;
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import.ok()?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                                functions = functions.checked_add(1)?
                            }
                            TypeRef::Global(_) => globals = globals.checked_add(1)?,
                            TypeRef::Memory(_) => return None,
                            TypeRef::Table(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::FunctionSection(section) => functions = functions.checked_add(section.count())?,
                Payload::GlobalSection(section) => globals = globals.checked_add(section.count())?,
                Payload::MemorySection(section) => {
                    memories = section.into_iter().collect::<wasmparser::Result<_>>().ok()?;
                }
                _ => {}
            }
        }
        let is_plain =
            |memory: &MemoryType| !memory.memory64 && !memory.shared && memory.page_size_log2.is_none();
        match memories.as_slice() {
            [memory] if is_plain(memory) => Some(Self { types, functions, globals, memory: *memory }),
            _ => None,
        }
    }
}

/// The change of one section. Items are those of a section that is a list.
pub(super) enum Change {
    Keep,
    LeaveOut,
    Replace(Vec<Vec<u8>>),
    Append(Vec<Vec<u8>>),
}

/// Returns the module with its sections changed; `None` if `change` gives up, the module is damaged, or the number of sections
/// that get items is not `lists`.
pub(super) fn rewrite(
    module: &[u8],
    mut lists: usize,
    mut change: impl FnMut(&Payload<'_>) -> Option<Change>,
) -> Option<Vec<u8>> {
    let mut written = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.ok()?;
        let Some((id, range)) = payload.as_section() else { continue };
        let section = module.get(range)?;
        let changed = match change(&payload)? {
            Change::Keep => section.into(),
            Change::LeaveOut => continue,
            Change::Replace(items) => list(0, &[], &items)?,
            Change::Append(items) => {
                lists = lists.checked_sub(1)?;
                let mut reader = BinaryReader::new(section, 0);
                let count = reader.read_var_u32().ok()?;
                list(count, section.get(reader.original_position()..)?, &items)?
            }
        };
        written.section(&RawSection { id, data: &changed });
    }
    (lists == 0).then(|| written.finish())
}

/// Returns the section of `count` old items and new ones.
fn list(count: u32, old: &[u8], items: &[Vec<u8>]) -> Option<Vec<u8>> {
    let count = count.checked_add(u32::try_from(items.len()).ok()?)?;
    Some([&encoded(&count), old, &items.concat()].concat())
}

pub(super) fn encoded(item: &(impl Encode + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.encode(&mut bytes);
    bytes
}

/// Returns a mutable global with this first value.
pub(super) fn global(value: i32) -> Vec<u8> {
    let mut global = encoded(&GlobalType { val_type: ValType::I32, mutable: true, shared: false });
    ConstExpr::i32_const(value).encode(&mut global);
    global
}
