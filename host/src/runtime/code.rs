//! The code of a file: a component, or a core module that runs as it is. Compiled, and linked.

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};
use wasmtime::{Module, ResourcesRequired};

use super::State;

/// Compiled code.
#[derive(Clone)]
pub(super) enum Code {
    Component(Component),
    Program(Module),
}

impl Code {
    /// Returns the memories and tables of one instance, unless it gets modules as imports.
    pub(super) fn resources_required(&self) -> Option<ResourcesRequired> {
        match self {
            Self::Component(component) => component.resources_required(),
            Self::Program(module) => Some(module.resources_required()),
        }
    }

    pub(super) fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Component(component) => component.serialize(),
            Self::Program(module) => module.serialize(),
        }
    }
}

/// Code with its imports, ready to be instantiated any number of times.
#[derive(Clone)]
pub(crate) enum Linked {
    /// A component, and the place of the export that is called.
    Component(InstancePre<State>, ComponentExportIndex),
    /// A core module whose `_start` is called.
    Program(wasmtime::InstancePre<State>),
}
