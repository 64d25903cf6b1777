// What the host calls: the handler and the hook. Files that end in _wasip1.go are compiled for WebAssembly only.
package main

import "fmt"

var requests int

// handle is called for each request, one at a time.
//
//go:wasmexport wasi:http/incoming-handler@0.2.12#handle
func handle(request incomingRequest, out responseOutparam) {
	dropRequest(request)
	requests++
	respond(out, "text/plain", greeting(requests))
}

// shutdown is the hook: called once, when the requests are answered.
//
//go:wasmexport shutdown
func shutdown() {
	fmt.Printf("said hello %d times\n", requests)
}
