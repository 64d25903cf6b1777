;; A component that exports neither run nor http.
(component
  (core module $m (func (export "hello") (result i32) (i32.const 42)))
  (core instance $i (instantiate $m))
  (func $hello (result u32) (canon lift (core func $i "hello")))
  (export "hello" (func $hello)))
