//! The component that a drill adds to the app and that fails: it waits, then traps.

use std::time::Duration;

/// Returns the component, with this time from its start to the trap.
pub(super) fn component(after: Duration) -> Result<Vec<u8>, wat::Error> {
    let nanos = after.as_nanos();
    wat::parse_str(format!(
        r#"(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $p))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $m
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (func $the-drill-fails-here (unreachable))
    (func (export "run") (result i32)
      (call $block (call $subscribe (i64.const {nanos})))
      (call $the-drill-fails-here)
      (i32.const 0)))
  (core instance $i (instantiate $m
    (with "host" (instance (export "subscribe" (func $subscribe)) (export "block" (func $block))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_component() {
        assert!(component(Duration::from_millis(1)).unwrap().starts_with(b"\0asm"));
    }
}
