//! The hook `shutdown` of a component: finding it in the component's type, and calling it. An unknown form is an error at
//! load, not at the stop.

use std::fmt;

use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Accessor, Func, Val};

use super::orders::{Notice, NoticeCause};
use super::refusal::Refusal;
use super::state::State;
use crate::text::sanitize::short_line;

/// The name of the hook, at world level and in the interface.
const HOOK: &str = "shutdown";
/// The interface it may be in, without the version.
const HOOK_INTERFACE: &str = "curfew:lifecycle/hook";
const ERROR_CHARS: usize = 500;
/// The cases that a cause may have, and whether they carry a text.
const CAUSES: [(&str, bool); 5] =
    [("signal", true), ("failure", true), ("finished", true), ("reload", false), ("request", true)];

/// The place of a hook among the exports.
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
    /// Its place among the exports.
    pub place: HookPlace,
    /// It is an `async func`.
    pub is_async: bool,
    /// It takes the notice.
    pub takes_notice: bool,
    /// It returns a `result`.
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

fn wrong_form(place: &HookPlace, found: &str) -> Refusal {
    Refusal::new(
        format!(
            "its hook `shutdown` {place} is `{found}`; accepted are `func()`, `func() -> result` and \
             `func() -> result<_, string>`, each also `async`, and each also with one parameter `notice` of the type in \
             `curfew:lifecycle/types`"
        ),
        "change the hook's type, or rename the function",
    )
}

/// Returns the hook of a component, if it has one.
///
/// # Errors
/// When there are several, or it has a form that is not accepted.
pub(super) fn find_hook(engine: &Engine, component: &Component) -> Result<Option<HookShape>, Refusal> {
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
        let hooks: Vec<_> = found.iter().map(|(place, _)| format!("`shutdown` {place}")).collect();
        let found = format!("it exports more than one hook: {}; export one of them", hooks.join(", "));
        return Err(Refusal::new(found, "remove the others"));
    }
    let Some((place, item)) = found.pop() else {
        return Ok(None);
    };
    match item {
        ComponentItem::ComponentFunc(func) => shape(place, &func).map(Some),
        _ => Err(wrong_form(&place, "not a function")),
    }
}

/// An export that may have been meant as a hook, and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayHook {
    /// `shutdown` in this interface, which is not the hook's.
    InInterface(String),
    /// A function of this name, which is nearly `shutdown`.
    Named(String),
}

/// The most letters that a name is off from the hook's and was still meant as it.
const NEARLY: usize = 2;

pub(super) fn stray_hooks(engine: &Engine, component: &Component) -> Vec<StrayHook> {
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

fn shape(place: HookPlace, func: &ComponentFunc) -> Result<HookShape, Refusal> {
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
        _ => Err(wrong_form(&place, &describe(func))),
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

/// Calls the hook of an instance. The call waits until the instance can be entered.
///
/// Returns the text of the error, if the hook returned one: `Err(None)` for an error without a text.
///
/// # Errors
/// The outer error is a trap or an exit of the guest.
///
/// # Cancel safety
/// None: dropping it leaves the instance in the middle of its hook. Drop its store, too.
pub async fn call_hook(
    accessor: &Accessor<State>,
    hook: Func,
    shape: &HookShape,
    notice: &Notice,
) -> wasmtime::Result<Result<(), Option<String>>> {
    let params = if shape.takes_notice { vec![notice_value(notice)] } else { Vec::new() };
    let mut results = if shape.returns_result { vec![Val::Bool(false)] } else { Vec::new() };
    hook.call_concurrent(accessor, &params, &mut results).await?;
    Ok(match results.pop() {
        Some(Val::Result(Err(None))) => Err(None),
        Some(Val::Result(Err(Some(text)))) => match *text {
            Val::String(text) => Err(Some(short_line(&text, ERROR_CHARS))),
            _ => Err(None),
        },
        _ => Ok(()),
    })
}

fn notice_value(notice: &Notice) -> Val {
    let (case, text) = match &notice.cause {
        NoticeCause::Signal(name) => ("signal", Some(name)),
        NoticeCause::Failure(name) => ("failure", Some(name)),
        NoticeCause::Finished(name) => ("finished", Some(name)),
        NoticeCause::Reload => ("reload", None),
        NoticeCause::Request(name) => ("request", Some(name)),
    };
    let cause = Val::Variant(case.to_owned(), text.map(|text| Box::new(Val::String(text.clone()))));
    let grace = u64::try_from(notice.grace.as_nanos()).unwrap_or(u64::MAX);
    Val::Record(vec![("cause".to_owned(), cause), ("grace".to_owned(), Val::U64(grace))])
}

/// Returns the type of a function as WIT would write it.
pub(super) fn describe(func: &ComponentFunc) -> String {
    let params: Vec<_> = func.params().map(|(name, ty)| format!("{name}: {}", word(&ty))).collect();
    let results: Vec<_> = func.results().map(|ty| word(&ty)).collect();
    let arrow = if results.is_empty() { String::new() } else { format!(" -> {}", results.join(", ")) };
    format!("{}func({}){arrow}", if func.async_() { "async " } else { "" }, params.join(", "))
}

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
