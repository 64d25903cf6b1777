;; It exports two hooks, so it is unclear which one to call.
(component
  (core module $m
    (func (export "run") (result i32) (i32.const 0))
    (func (export "shutdown")))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli))
  (func $shutdown (canon lift (core func $i "shutdown")))
  (instance $hook (export "shutdown" (func $shutdown)))
  (export "shutdown" (func $shutdown))
  (export "curfew:lifecycle/hook@0.2.0" (instance $hook)))
