//! The hook `shutdown` of a component: finding it in the component's type at load, and calling it.

use std::fmt;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type, Variant};
use wasmtime::component::{Accessor, Component, ComponentExportIndex, Func, Val};

use super::orders::nanos;
use super::{Notice, NoticeCause, Refusal, State};
use crate::text::sanitize::short_line;

const HOOK: &str = "shutdown";
const HOOK_INTERFACE: &str = "curfew:lifecycle/hook";
const ERROR_CHARS: usize = 500;
/// The most letters by which a name that was meant as the hook's is off.
const NEARLY: usize = 2;
/// The cases of a cause. True: a case carries a text.
const CAUSES: [(&str, bool); 5] =
    [("signal", true), ("failure", true), ("finished", true), ("reload", false), ("request", true)];

/// A hook of an accepted form.
#[derive(Clone, Debug)]
pub struct HookShape {
    /// Its interface; `None`: it is at world level.
    interface: Option<String>,
    /// It is an `async func`.
    pub is_async: bool,
    takes_notice: bool,
    returns_result: bool,
    pub(crate) index: Option<ComponentExportIndex>,
}

impl fmt::Display for HookShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asyncness = if self.is_async { "async " } else { "" };
        let notice = if self.takes_notice { "notice" } else { "" };
        let result = if self.returns_result { " -> result" } else { "" };
        write!(f, "{asyncness}func({notice}){result} {}", place(self.interface.as_deref()))
    }
}

fn place(interface: Option<&str>) -> String {
    interface.map_or("at world level".to_owned(), |name| format!("in `{name}`"))
}

/// Returns the hook of a component, if it has one.
///
/// # Errors
/// When there are several, or it has a form that is not accepted.
pub(super) fn find_hook(component: &Component) -> Result<Option<HookShape>, Refusal> {
    let engine = component.engine();
    let mut found = Vec::new();
    for (name, item) in component.component_type().exports(engine) {
        match item.ty {
            ComponentItem::ComponentInstance(instance) if is_hook_interface(name) => {
                if let Some(hook) = instance.get_export(engine, HOOK) {
                    found.push((Some(name.to_owned()), hook.ty));
                }
            }
            item if name == HOOK => found.push((None, item)),
            _ => {}
        }
    }
    if found.len() > 1 {
        let hooks = found.iter().map(|(interface, _)| format!("`shutdown` {}", place(interface.as_deref())));
        let hooks = hooks.collect::<Vec<_>>().join(", ");
        let found = format!("it exports more than one hook: {hooks}; export one of them");
        return Err(Refusal::new(found, "remove the others"));
    }
    let Some((interface, item)) = found.pop() else {
        return Ok(None);
    };
    let wrong = |found: &str| {
        let place = place(interface.as_deref());
        Refusal::new(
            format!(
                "its hook `shutdown` {place} is `{found}`; accepted are `func()`, `func() -> result` and \
                 `func() -> result<_, string>`, each also `async`, and each also with one parameter `notice` of the type \
                 in `curfew:lifecycle/types`"
            ),
            "change the hook's type, or rename the function",
        )
    };
    let ComponentItem::ComponentFunc(func) = item else { return Err(wrong("not a function")) };
    let (takes_notice, returns_result) = form(&func).ok_or_else(|| wrong(&describe(&func)))?;
    let index = match &interface {
        None => component.get_export_index(None, HOOK),
        Some(name) => component
            .get_export_index(None, name)
            .and_then(|interface| component.get_export_index(Some(&interface), HOOK)),
    };
    Ok(Some(HookShape { interface, is_async: func.async_(), takes_notice, returns_result, index }))
}

/// An export that may have been meant as a hook, and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayHook {
    /// `shutdown` in this interface, which is not the hook's.
    InInterface(String),
    /// A function of this name, which is nearly `shutdown`.
    Named(String),
}

pub(super) fn stray_hooks(component: &Component) -> Vec<StrayHook> {
    let stray = |name: &str, item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) if !is_hook_interface(name) => {
            let hook = instance.get_export(component.engine(), HOOK)?;
            matches!(hook.ty, ComponentItem::ComponentFunc(_))
                .then(|| StrayHook::InInterface(name.to_owned()))
        }
        ComponentItem::ComponentFunc(_) if strsim::damerau_levenshtein(name, HOOK) <= NEARLY => {
            Some(StrayHook::Named(name.to_owned()))
        }
        _ => None,
    };
    let exports = component.component_type();
    exports.exports(component.engine()).filter_map(|(name, item)| stray(name, &item.ty)).collect()
}

fn is_hook_interface(name: &str) -> bool {
    name == HOOK_INTERFACE || name.strip_prefix(HOOK_INTERFACE).is_some_and(|rest| rest.starts_with('@'))
}

/// Tells whether a hook takes a notice and returns a result; `None` for a form that is not accepted.
fn form(func: &ComponentFunc) -> Option<(bool, bool)> {
    let params: Vec<_> = func.params().collect();
    let takes_notice = match params.as_slice() {
        [] => false,
        [(_, ty)] if is_notice(ty) => true,
        _ => return None,
    };
    let results: Vec<_> = func.results().collect();
    let returns_result = match results.as_slice() {
        [] => false,
        [Type::Result(result)] if result.ok().is_none() => match result.err() {
            None | Some(Type::String) => true,
            Some(_) => return None,
        },
        _ => return None,
    };
    Some((takes_notice, returns_result))
}

fn is_notice(ty: &Type) -> bool {
    let Type::Record(record) = ty else { return false };
    let fields: Vec<_> = record.fields().map(|field| (field.name, field.ty)).collect();
    matches!(fields.as_slice(), [("cause", Type::Variant(cause)), ("grace", Type::U64)] if is_cause(cause))
}

fn is_cause(cause: &Variant) -> bool {
    let cases = cause.cases().map(|case| (case.name, case.ty));
    cases.eq(CAUSES.map(|(name, carries_text)| (name, carries_text.then_some(Type::String))))
}

/// Calls the hook of an instance, as soon as the instance can be entered.
///
/// # Errors
/// The outer error is a trap or an exit of the guest; the inner one is the hook's own, with its text.
///
/// # Cancel safety
/// None: dropping it leaves the instance in the middle of its hook. Drop its store, too.
pub(crate) async fn call_hook(
    accessor: &Accessor<State>,
    hook: Func,
    shape: &HookShape,
    notice: &Notice,
) -> wasmtime::Result<Result<(), Option<String>>> {
    let params = if shape.takes_notice { vec![notice_value(notice)] } else { Vec::new() };
    let mut results = if shape.returns_result { vec![Val::Bool(false)] } else { Vec::new() };
    hook.call_concurrent(accessor, &params, &mut results).await?;
    let Some(Val::Result(Err(text))) = results.pop() else { return Ok(Ok(())) };
    Ok(Err(text.and_then(|text| match *text {
        Val::String(text) => Some(short_line(&text, ERROR_CHARS)),
        _ => None,
    })))
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
    let grace = Val::U64(nanos(notice.grace));
    Val::Record(vec![("cause".to_owned(), cause), ("grace".to_owned(), grace)])
}

/// Returns the type of a function in WIT.
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
