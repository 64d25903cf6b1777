;; It exports a shutdown of a shape that the host does not accept.
(component
  (core module $m
    (func (export "run") (result i32) (i32.const 0))
    (func (export "shutdown") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli))
  (func $shutdown (param "code" u32) (result u32) (canon lift (core func $i "shutdown")))
  (export "shutdown" (func $shutdown)))
