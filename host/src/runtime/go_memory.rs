//! Makes room in the memory of a Go program for what its host keeps there.
//!
//! Go's runtime takes for its heap all memory behind `runtime.firstmoduledata.end`, and when that grows it does not ask where
//! the new pages are (`sbrk` in its `mem_wasm.go`). So `end` is moved two pages up, and the pages that it leaves are handed
//! out by a function that is added to the module.
//!
//! Invariant: a module is changed only if exactly one word in it can be `end`.

use std::ops::Range;

use wasm_encoder::{ConstExpr, Encode, Function, GlobalType, MemorySection, MemoryType, RawSection, SectionId, ValType};
use wasmparser::{BinaryReader, DataKind, Operator, Parser, Payload, TypeRef};

const PAGE: u64 = 64 << 10;
/// A page for the adapter's stack, one for its state.
const PAGES: u64 = 2;
/// What Go's linker adds to `end` for the memory that a program starts with: since Go 1.24, and before.
const SLACK: [u64; 2] = [1 << 20, 16 << 20];
/// Go puts nothing below; a pointer to there is nil with an offset.
const LOWEST: u64 = 4096;
const WORD: usize = 8;
/// The words of `moduledata` from `noptrdata` to `end`.
const WORDS: usize = 11;

/// Returns the module with pages for its adapter and a function of this name that hands them out. `None` if its heap's
/// begin is not found.
pub fn reserve(module: &[u8], name: &str) -> Option<Vec<u8>> {
    let layout = Layout::read(module)?;
    let (at, end) = layout.find_end(module)?;
    let first = end.next_multiple_of(PAGE);
    let room = Room { first: u32::try_from(first).ok()?, behind: u32::try_from(first + PAGES * PAGE).ok()? };
    let mut moved = module.to_vec();
    moved.get_mut(at..at + WORD)?.copy_from_slice(&u64::from(room.behind).to_le_bytes());
    layout.extend(&moved, &room, name)
}

/// The addresses that are handed out.
struct Room {
    first: u32,
    behind: u32,
}

/// A piece of memory that the module comes with.
struct Segment {
    address: u64,
    /// Where it is in the file.
    bytes: Range<usize>,
}

/// What has to be known of a module to add to it.
#[derive(Default)]
struct Layout {
    types: u32,
    functions: u32,
    globals: u32,
    memory: Option<wasmparser::MemoryType>,
    segments: Vec<Segment>,
}

impl Layout {
    fn read(module: &[u8]) -> Option<Self> {
        let mut layout = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            layout.take(payload.ok()?)?;
        }
        Some(layout)
    }

    fn take(&mut self, payload: Payload<'_>) -> Option<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types += u32::try_from(group.ok()?.types().len()).ok()?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    match import.ok()?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions += 1,
                        TypeRef::Global(_) => self.globals += 1,
                        // Go has its own memory.
                        TypeRef::Memory(_) => return None,
                        TypeRef::Table(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            Payload::FunctionSection(section) => self.functions += section.count(),
            Payload::GlobalSection(section) => self.globals += section.count(),
            Payload::MemorySection(section) => {
                let mut memories = section.into_iter();
                self.memory = Some(memories.next()?.ok()?);
                return memories.next().is_none().then_some(());
            }
            Payload::DataSection(section) => {
                for data in section {
                    let data = data.ok()?;
                    // What begins elsewhere, or is put there later, is none of Go's.
                    let DataKind::Active { memory_index: 0, offset_expr } = data.kind else { return None };
                    let Ok(Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else {
                        return None;
                    };
                    let address = u64::from(value.cast_unsigned());
                    let begin = data.range.end - data.data.len();
                    self.segments.push(Segment { address, bytes: begin..data.range.end });
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Returns where in the file `end` is, and what it is.
    fn find_end(&self, module: &[u8]) -> Option<(usize, u64)> {
        let pages = self.memory?.initial;
        let last = self.segments.iter().map(|segment| segment.address + segment.bytes.len() as u64).max()?;
        let fits = |end: u64| end >= last && SLACK.iter().any(|slack| (end + slack) / PAGE == pages);
        let mut found = None;
        for segment in &self.segments {
            let to_first_word = segment.address.next_multiple_of(WORD as u64) - segment.address;
            let bytes = module.get(segment.bytes.clone())?.get(usize::try_from(to_first_word).ok()?..);
            let words: Vec<_> = bytes.unwrap_or_default().as_chunks::<WORD>().0.iter().collect();
            for (index, words) in words.windows(WORDS).enumerate() {
                let value = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(**word));
                if !fits(value(WORDS - 1)) || !is_end_of_moduledata(value) {
                    continue;
                }
                let at = segment.bytes.end - bytes.map_or(0, <[u8]>::len) + (index + WORDS - 1) * WORD;
                if found.replace((at, value(WORDS - 1))).is_some() {
                    return None;
                }
            }
        }
        found
    }

    /// Returns the module with the function that hands out the room, and memory for it.
    fn extend(&self, module: &[u8], room: &Room, name: &str) -> Option<Vec<u8>> {
        let mut extended = wasm_encoder::Module::new();
        let mut added = 0;
        for payload in Parser::new(0).parse_all(module) {
            let Some((id, range)) = payload.ok()?.as_section() else { continue };
            let section = module.get(range)?;
            let item = match id {
                id if id == SectionId::Memory as u8 => {
                    extended.section(&self.larger_memory()?);
                    continue;
                }
                // (i32, i32, i32, i32) -> i32
                id if id == SectionId::Type as u8 => vec![0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f],
                id if id == SectionId::Function as u8 => encoded(&self.types),
                id if id == SectionId::Global as u8 => next_page(room),
                id if id == SectionId::Export as u8 => {
                    let mut export = encoded(name);
                    export.push(0);
                    self.functions.encode(&mut export);
                    export
                }
                id if id == SectionId::Code as u8 => encoded(&hand_out(self.globals, room)),
                id => {
                    extended.section(&RawSection { id, data: section });
                    continue;
                }
            };
            added += 1;
            extended.section(&RawSection { id, data: &with_item(section, &item)? });
        }
        (added == 5).then(|| extended.finish())
    }

    fn larger_memory(&self) -> Option<MemorySection> {
        let memory = self.memory?;
        let minimum = memory.initial + PAGES;
        let is_plain = !memory.memory64 && !memory.shared && memory.page_size_log2.is_none();
        if !is_plain || memory.maximum.is_some_and(|maximum| maximum < minimum) {
            return None;
        }
        let mut section = MemorySection::new();
        let maximum = memory.maximum;
        section.memory(MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None });
        Some(section)
    }
}

/// Whether these words can be what Go's linker writes: `noptrdata`, `enoptrdata`, `data`, `edata`, `bss`, `ebss`,
/// `noptrbss`, `enoptrbss`, `covctrs`, `ecovctrs` and `end`. The last section ends where all does; the counters of
/// `go build -cover` are in it.
fn is_end_of_moduledata(word: impl Fn(usize) -> u64) -> bool {
    let (noptrbss, enoptrbss, covctrs, ecovctrs, end) = (word(6), word(7), word(8), word(9), word(10));
    word(0) >= LOWEST
        && (1..8).all(|at| word(at - 1) <= word(at))
        && enoptrbss == end
        && noptrbss <= covctrs
        && covctrs <= ecovctrs
        && ecovctrs <= end
}

/// The global with the page that is handed out next.
fn next_page(room: &Room) -> Vec<u8> {
    let mut global = encoded(&GlobalType { val_type: ValType::I32, mutable: true, shared: false });
    ConstExpr::i32_const(room.first.cast_signed()).encode(&mut global);
    global
}

/// The function: it hands out single new pages, as the adapter wants them, and traps when it is asked for anything else.
fn hand_out(global: u32, room: &Room) -> Function {
    const BYTES: i32 = 64 << 10;
    let mut function = Function::new([]);
    function
        .instructions()
        .local_get(0)
        .local_get(3)
        .i32_const(BYTES)
        .i32_ne()
        .i32_or()
        .global_get(global)
        .i32_const(room.behind.cast_signed())
        .i32_eq()
        .i32_or()
        .if_(wasm_encoder::BlockType::Empty)
        .unreachable()
        .end()
        .global_get(global)
        .global_get(global)
        .i32_const(BYTES)
        .i32_add()
        .global_set(global)
        .end();
    function
}

fn encoded(item: &(impl Encode + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.encode(&mut bytes);
    bytes
}

/// A section that is a list, with one more item.
fn with_item(section: &[u8], item: &[u8]) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32().ok()?;
    let items = section.get(reader.original_position()..)?;
    let mut longer = encoded(&count.checked_add(1)?);
    longer.extend_from_slice(items);
    longer.extend_from_slice(item);
    Some(longer)
}
