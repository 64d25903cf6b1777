//! What an instance of a component needs before its code runs: read off the sections of the file, for errors before the start.

use wasmparser::{Parser, Payload};

use super::Refusal;
use super::code::Code;
use super::state::TABLE_ELEMENTS;
use crate::plan::ComponentPlan;
use crate::text::units::format_size;

/// Bytes of a page, as a power of two, unless a memory says otherwise.
const PAGE: u32 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StartNeeds {
    /// Bytes of all its memories together.
    memory: u64,
    /// Elements of all its tables together.
    elements: u64,
    has_shared_memory: bool,
}

impl StartNeeds {
    /// Returns what each instance needs at least. `bytes` is the file that the code is made of.
    pub(super) fn of(bytes: &[u8], code: &Code) -> Self {
        let mut needs = Self::default();
        let (mut memories, mut tables) = (0, 0);
        // Without the rest of a damaged file it needs less, and the compiler refuses it anyway.
        for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
            match payload {
                Payload::MemorySection(section) => {
                    for memory in section.into_iter().flatten() {
                        let page = memory.page_size_log2.unwrap_or(PAGE);
                        let size =
                            memory.initial.checked_shl(page).filter(|size| size >> page == memory.initial);
                        needs.memory = needs.memory.saturating_add(size.unwrap_or(u64::MAX));
                        needs.has_shared_memory |= memory.shared;
                        memories += 1;
                    }
                }
                Payload::TableSection(section) => {
                    for table in section.into_iter().flatten() {
                        needs.elements = needs.elements.saturating_add(table.ty.initial);
                        tables += 1;
                    }
                }
                _ => {}
            }
        }
        // Modules that are instantiated more or less than once make the sums wrong; the largest of each stays true.
        match code.resources_required() {
            Some(required) if (required.num_memories, required.num_tables) != (memories, tables) => {
                let pages = required.max_initial_memory_size.unwrap_or(0);
                needs.memory = needs.memory.min(pages.saturating_mul(1 << PAGE));
                needs.elements = required.max_initial_table_size.unwrap_or(0);
            }
            Some(_) => {}
            None => (needs.memory, needs.elements) = (0, 0),
        }
        needs
    }

    /// Refuses what no instance can have, whatever its plan is.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.has_shared_memory {
            return Err(Refusal::new(
                "it has a shared memory, and threads of that kind have no host here",
                "build it without threads: for a target without `threads` in its name, and without `-pthread` or `+atomics`",
            ));
        }
        if self.elements > TABLE_ELEMENTS as u64 {
            return Err(Refusal::new(
                format!(
                    "it needs tables of {} elements at its start; an instance has at most {TABLE_ELEMENTS}",
                    self.elements
                ),
                "build it with smaller tables: with fewer functions whose addresses it takes, or without a table of a fixed size",
            ));
        }
        Ok(())
    }

    /// Refuses a plan that grants less.
    pub(super) fn check_plan(&self, plan: &ComponentPlan) -> Result<(), Refusal> {
        if self.memory <= plan.memory {
            return Ok(());
        }
        let (needed, most) = (in_whole(self.memory), format_size(plan.memory));
        let room = in_whole(self.memory.saturating_mul(2));
        Err(Refusal::new(
            format!("it needs {needed} of memory at its start, and its limit, the key `memory`, is {most}"),
            format!(
                "write `memory = \"{room}\"` in the manifest, which leaves it room to grow, or build it with a smaller initial memory"
            ),
        )
        .about("memory"))
    }
}

/// Writes a size as MiB, rounded up.
fn in_whole(size: u64) -> String {
    format!("{}MiB", size.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Component;

    use super::*;
    use crate::runtime::{Runtime, RuntimeOptions};

    fn needs(text: &str) -> StartNeeds {
        let runtime =
            Runtime::new(RuntimeOptions { cache: None, interruptible: true, kinds: Vec::new() }).unwrap();
        let bytes = wat::parse_str(text).unwrap();
        StartNeeds::of(&bytes, &Code::Component(Component::new(&runtime.engine, &bytes).unwrap()))
    }

    #[test]
    fn all_that_is_instantiated_counts() {
        let module = |index: u32| {
            format!(
                "(core module $m{index} (memory 16) (table 100 funcref)) (core instance (instantiate $m{index}))"
            )
        };
        let found = needs(&format!("(component {} {})", module(0), module(1)));
        assert_eq!(found, StartNeeds { memory: 2 << 20, elements: 200, has_shared_memory: false });
        let twice = needs(&format!("(component {} (core instance (instantiate $m0)))", module(0)));
        assert_eq!((twice.memory, twice.elements), (1 << 20, 100), "at least");
        let never = needs("(component (core module (memory 16) (table 100 funcref)))");
        assert_eq!((never.memory, never.elements), (0, 0));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_its_remedy() {
        let memory = StartNeeds { memory: (300 << 20) - 1, ..StartNeeds::default() };
        assert!(memory.check().is_ok());
        let refusal = memory.check_plan(&ComponentPlan::default()).unwrap_err();
        assert_eq!(refusal.key, "memory");
        assert!(refusal.found.contains("300MiB") && refusal.found.contains("256MiB"), "{}", refusal.found);
        assert!(refusal.hint.contains("memory = \"600MiB\""), "{}", refusal.hint);
        let plan = ComponentPlan { memory: 300 << 20, ..ComponentPlan::default() };
        assert!(memory.check_plan(&plan).is_ok());
        let tables = StartNeeds { elements: 2_000_000, ..StartNeeds::default() };
        assert!(tables.check().unwrap_err().found.contains("2000000 elements"));
        assert!(StartNeeds { elements: 1 << 20, ..StartNeeds::default() }.check().is_ok());
        let shared =
            needs("(component (core module $m (memory 1 1 shared)) (core instance (instantiate $m)))");
        assert!(shared.check().unwrap_err().found.contains("shared memory"));
    }
}
