// The service: what the host calls. Files that end in _wasip1.go are compiled for WebAssembly only.
package main

import (
	"fmt"
	"time"
)

var beats int

// run is the service. It returns as soon as the host asks for the stop.
//
//go:wasmexport wasi:cli/run@0.2.12#run
func run() int32 {
	stop := subscribeStop()
	for {
		beats++
		fmt.Println(line(beats))
		if waitFor(stop, time.Second) {
			return 0 // 1 is failure
		}
	}
}

// shutdown is the hook: called once, when run has returned.
//
//go:wasmexport shutdown
func shutdown() {
	fmt.Printf("ticked %d times\n", beats)
}
