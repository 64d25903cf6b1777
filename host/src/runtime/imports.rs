//! The imports of a component and the host's answers to them, for errors at load and for `check`.

use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentItem};

use super::network::Network;
use super::outbound::Grant;
use crate::plan::ComponentPlan;

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its full name, for instance `wasi:cli/stdin@0.2.6`.
    pub name: String,
    /// The answer to the import.
    pub state: ImportState,
}

/// The answer of the host to an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportState {
    /// The component gets it.
    Given,
    /// The interface is there; this key of the manifest has to grant something in it.
    NotGranted(&'static str),
    /// The host has no such interface.
    Unknown,
}

/// Reports that a component can make, by its imports: tools for compiled languages leave out functions that are not called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Says {
    /// It imports the interface.
    pub(crate) anything: bool,
    pub(crate) ready: bool,
    pub(crate) alive: bool,
}

const HOST: &str = "curfew:lifecycle/host@";

pub(super) fn says(engine: &Engine, component: &Component) -> Says {
    let mut says = Says::default();
    for (name, import) in component.imports(engine) {
        if let ComponentItem::ComponentInstance(host) = &import.ty
            && name.starts_with(HOST)
        {
            says.anything = true;
            says.ready |= host.get_export(engine, "ready").is_some();
            says.alive |= host.get_export(engine, "alive").is_some();
        }
    }
    says
}

/// The packages that the host defines, as prefixes of import names with the versions that link.
pub(super) const PACKAGES: [(&str, &[&str]); 12] = [
    ("wasi:cli/", &["0.2.", "0.3."]),
    ("wasi:clocks/", &["0.2.", "0.3."]),
    ("wasi:random/", &["0.2.", "0.3."]),
    ("wasi:filesystem/", &["0.2.", "0.3."]),
    ("wasi:sockets/", &["0.2.", "0.3."]),
    ("wasi:http/client", &["0.3."]),
    ("wasi:http/outgoing-handler", &["0.2."]),
    ("wasi:http/types", &["0.2.", "0.3."]),
    ("wasi:io/", &["0.2."]),
    ("wasi:config/", &["0.2.0-rc.1"]),
    ("curfew:lifecycle/", &["0.2.", "0.3."]),
    // Adapted core modules only.
    ("curfew:adapter/", &["1."]),
];

/// Returns the imports of a component, without interfaces of nothing but types.
pub(super) fn list(
    engine: &Engine,
    component: &Component,
    plan: &ComponentPlan,
    network: &Network,
    outbound: &Grant,
) -> Vec<Import> {
    component
        .imports(engine)
        .filter(|(_, import)| needs_definition(engine, &import.ty))
        .map(|(name, _)| Import { name: name.to_owned(), state: state(name, plan, network, outbound) })
        .collect()
}

fn needs_definition(engine: &Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, export)| needs_definition(engine, &export.ty))
        }
        item => !matches!(item, ComponentItem::Type(_)),
    }
}

fn state(name: &str, plan: &ComponentPlan, network: &Network, outbound: &Grant) -> ImportState {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let links = |prefix: &&str| version.starts_with(prefix) && (*prefix == version || !version.contains('-'));
    let known =
        |(package, versions): &(&str, &[&str])| interface.starts_with(package) && versions.iter().any(links);
    if !PACKAGES.iter().any(known) {
        return ImportState::Unknown;
    }
    match interface {
        "wasi:filesystem/preopens" if plan.dirs.is_empty() => ImportState::NotGranted("dirs"),
        "wasi:sockets/ip-name-lookup" if !network.names => ImportState::NotGranted("network.names"),
        "wasi:cli/stdin" if !plan.stdin => ImportState::NotGranted("stdin"),
        "wasi:config/store" if plan.config.is_empty() => ImportState::NotGranted("config"),
        "wasi:http/outgoing-handler" | "wasi:http/client" if outbound.is_empty() => {
            ImportState::NotGranted("outbound-http")
        }
        _ if interface.starts_with("wasi:sockets/") && network.is_empty() => {
            ImportState::NotGranted("network")
        }
        _ => ImportState::Given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Runtime, RuntimeOptions};

    fn runtime() -> Runtime {
        Runtime::new(RuntimeOptions { cache: None, interruptible: true, kinds: Vec::new() }).unwrap()
    }

    #[test]
    fn what_a_component_says_is_read_off_its_imports() {
        let runtime = runtime();
        let found = |imports: &str| {
            let bytes = wat::parse_str(format!("(component {imports})")).unwrap();
            let component = wasmtime::component::Component::new(&runtime.engine, bytes).unwrap();
            let ty = component.component_type();
            let says = says(&runtime.engine, &ty);
            [says.ready, says.alive]
        };
        let host = |version: &str, function: &str| {
            format!("(import \"curfew:lifecycle/host@{version}\" (instance (export \"{function}\" (func))))")
        };
        assert_eq!(found(""), [false, false]);
        assert_eq!(found(&host("0.2.0", "ready")), [true, false]);
        assert_eq!(found(&host("0.3.0", "ready")), [true, false]);
        assert_eq!(found(&host("0.3.1", "alive")), [false, true]);
        assert_eq!(found(&host("0.3.0", "request-stop")), [false, false]);
        assert_eq!(
            found("(import \"curfew:lifecycle/hook@0.3.0\" (instance (export \"ready\" (func))))"),
            [false, false]
        );
    }
}
