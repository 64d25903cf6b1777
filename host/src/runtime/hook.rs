//! Calling the hook, whatever its accepted form.

use wasmtime::component::{Accessor, Func, Val};

use super::hook_shape::HookShape;
use super::orders::{Notice, NoticeCause};
use super::state::State;
use crate::text::sanitize::short_line;

/// Longest text of an error, in characters.
const ERROR_CHARS: usize = 500;

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

/// Returns the notice as the record that `hook_shape` checked the parameter for.
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
