//! Which `shutdown` a component exports, and whether it has an accepted form. Read off its type, before it
//! runs: a form that nobody understands is an error at load, not at the stop.

use std::fmt;

use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentFunc, ComponentItem, Type};

/// The name of the hook, at world level and in the interface.
const HOOK: &str = "shutdown";
/// The interface it may be in, without its version.
const HOOK_INTERFACE: &str = "curfew:lifecycle/hook";
/// The cases that a cause may have, and whether they carry a text.
const CAUSES: [(&str, bool); 5] =
    [("signal", true), ("failure", true), ("finished", true), ("reload", false), ("request", true)];

/// Where a hook is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookPlace {
    /// As a function of the component itself.
    World,
    /// In an interface of this full name.
    Interface(String),
}

impl fmt::Display for HookPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("at world level"),
            Self::Interface(name) => write!(f, "in `{name}`"),
        }
    }
}

/// A hook of an accepted form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookShape {
    /// Where it is exported.
    pub place: HookPlace,
    /// Whether it is an `async func`.
    pub is_async: bool,
    /// Whether it takes the notice.
    pub takes_notice: bool,
    /// Whether it returns a `result`.
    pub returns_result: bool,
}

impl fmt::Display for HookShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asyncness = if self.is_async { "async " } else { "" };
        let notice = if self.takes_notice { "notice" } else { "" };
        let result = if self.returns_result { " -> result" } else { "" };
        write!(f, "{asyncness}func({notice}){result} {}", self.place)
    }
}

/// Why a component's hook cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It has a form that is not accepted.
    #[error(
        "its hook `shutdown` {place} is `{found}`; accepted are `func()`, `func() -> result` and \
         `func() -> result<_, string>`, each also `async`, and each also with one parameter `notice` of the \
         type in `curfew:lifecycle/types`"
    )]
    Shape {
        /// Where it is exported.
        place: HookPlace,
        /// Its type, as WIT writes it.
        found: String,
    },
    /// There is more than one.
    #[error("it exports more than one hook: {}; export one of them", list(.0))]
    Several(Vec<HookPlace>),
}

fn list(places: &[HookPlace]) -> String {
    places.iter().map(|place| format!("`shutdown` {place}")).collect::<Vec<_>>().join(", ")
}

/// Returns the hook of a component, if it has one.
///
/// # Errors
/// When there are several, or it has a form that is not accepted.
pub fn find_hook(engine: &Engine, component: &Component) -> Result<Option<HookShape>, HookError> {
    let mut found = Vec::new();
    for (name, item) in component.exports(engine) {
        match item.ty {
            ComponentItem::ComponentInstance(instance) if is_hook_interface(name) => {
                if let Some(hook) = instance.get_export(engine, HOOK) {
                    found.push((HookPlace::Interface(name.to_owned()), hook.ty));
                }
            }
            item if name == HOOK => found.push((HookPlace::World, item)),
            _ => {}
        }
    }
    if found.len() > 1 {
        return Err(HookError::Several(found.into_iter().map(|(place, _)| place).collect()));
    }
    let Some((place, item)) = found.pop() else {
        return Ok(None);
    };
    match item {
        ComponentItem::ComponentFunc(func) => shape(place, &func).map(Some),
        _ => Err(HookError::Shape { place, found: "not a function".to_owned() }),
    }
}

/// Something that may have been meant as a hook, and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayHook {
    /// The right name in this interface, which is not the hook's.
    InInterface(String),
    /// A function of this name, which is nearly the hook's.
    Named(String),
}

/// How many letters a name can be off to have been meant as the hook's.
const NEARLY: usize = 2;

/// Returns what may have been meant as a hook.
pub fn stray_hooks(engine: &Engine, component: &Component) -> Vec<StrayHook> {
    let stray = |name: &str, item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) if !is_hook_interface(name) => {
            let hook = instance.get_export(engine, HOOK)?;
            matches!(hook.ty, ComponentItem::ComponentFunc(_))
                .then(|| StrayHook::InInterface(name.to_owned()))
        }
        ComponentItem::ComponentFunc(_) if strsim::damerau_levenshtein(name, HOOK) <= NEARLY => {
            Some(StrayHook::Named(name.to_owned()))
        }
        _ => None,
    };
    component.exports(engine).filter_map(|(name, item)| stray(name, &item.ty)).collect()
}

fn is_hook_interface(name: &str) -> bool {
    name == HOOK_INTERFACE || name.strip_prefix(HOOK_INTERFACE).is_some_and(|rest| rest.starts_with('@'))
}

fn shape(place: HookPlace, func: &ComponentFunc) -> Result<HookShape, HookError> {
    let params: Vec<_> = func.params().collect();
    let results: Vec<_> = func.results().collect();
    let takes_notice = match params.as_slice() {
        [] => Some(false),
        [(_, ty)] if is_notice(ty) => Some(true),
        _ => None,
    };
    let returns_result = match results.as_slice() {
        [] => Some(false),
        [Type::Result(result)] if result.ok().is_none() => match result.err() {
            None | Some(Type::String) => Some(true),
            Some(_) => None,
        },
        _ => None,
    };
    match (takes_notice, returns_result) {
        (Some(takes_notice), Some(returns_result)) => {
            Ok(HookShape { place, is_async: func.async_(), takes_notice, returns_result })
        }
        _ => Err(HookError::Shape { place, found: describe(func) }),
    }
}

/// Returns whether this is the record `notice`: a cause of the known cases, and the grace.
fn is_notice(ty: &Type) -> bool {
    let Type::Record(record) = ty else { return false };
    let fields: Vec<_> = record.fields().collect();
    match fields.as_slice() {
        [cause, grace] => {
            cause.name == "cause" && is_cause(&cause.ty) && grace.name == "grace" && grace.ty == Type::U64
        }
        _ => false,
    }
}

fn is_cause(ty: &Type) -> bool {
    let Type::Variant(variant) = ty else { return false };
    let cases: Vec<_> = variant.cases().collect();
    cases.len() == CAUSES.len()
        && cases.iter().zip(CAUSES).all(|(case, (name, carries_text))| {
            case.name == name && case.ty == carries_text.then_some(Type::String)
        })
}

/// Returns the type of a function as WIT would write it.
pub(super) fn describe(func: &ComponentFunc) -> String {
    let params: Vec<_> = func.params().map(|(name, ty)| format!("{name}: {}", word(&ty))).collect();
    let results: Vec<_> = func.results().map(|ty| word(&ty)).collect();
    let arrow = if results.is_empty() { String::new() } else { format!(" -> {}", results.join(", ")) };
    format!("{}func({}){arrow}", if func.async_() { "async " } else { "" }, params.join(", "))
}

/// Returns a type as WIT would write it, with the insides of named types left out.
fn word(ty: &Type) -> String {
    let inner = |ty: Option<Type>| ty.map_or("_".to_owned(), |ty| word(&ty));
    match ty {
        Type::Result(result) => match (result.ok(), result.err()) {
            (None, None) => "result".to_owned(),
            (ok, None) => format!("result<{}>", inner(ok)),
            (ok, err) => format!("result<{}, {}>", inner(ok), inner(err)),
        },
        Type::Stream(stream) => format!("stream<{}>", inner(stream.ty())),
        Type::Future(future) => format!("future<{}>", inner(future.ty())),
        Type::List(list) => format!("list<{}>", word(&list.ty())),
        Type::Option(option) => format!("option<{}>", word(&option.ty())),
        Type::Record(record) => {
            let fields: Vec<_> = record.fields().map(|f| format!("{}: {}", f.name, word(&f.ty))).collect();
            format!("record {{ {} }}", fields.join(", "))
        }
        Type::Variant(_) => "variant".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}
