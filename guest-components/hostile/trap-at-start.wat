;; Its start function traps, so it can not be instantiated.
(component
  (core module $m
    (func $trap_in_start (unreachable))
    (func (export "run") (result i32) (i32.const 0))
    (start $trap_in_start))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))
