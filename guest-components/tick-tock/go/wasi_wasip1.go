// The host's functions that wit/app.wit imports, in the component model's ABI.
package main

import (
	"time"
	"unsafe"
)

// A pollable is the number of something that can be waited for. It belongs to who got it, who drops it.
type pollable uint32

//go:wasmimport curfew:lifecycle/host@0.2.0 subscribe-stop
func subscribeStop() pollable

//go:wasmimport wasi:clocks/monotonic-clock@0.2.12 subscribe-duration
func subscribeDuration(nanoseconds uint64) pollable

//go:wasmimport wasi:io/poll@0.2.12 [method]pollable.ready
func ready(p pollable) bool

//go:wasmimport wasi:io/poll@0.2.12 [resource-drop]pollable
func drop(p pollable)

//go:wasmimport wasi:io/poll@0.2.12 poll
func poll(pollables unsafe.Pointer, count uint32, answer unsafe.Pointer)

// waitFor waits until p is ready, but not for longer than d, and returns whether p is ready. Meanwhile no other
// goroutine runs.
func waitFor(p pollable, d time.Duration) bool {
	timer := subscribeDuration(uint64(d))
	defer drop(timer)
	both := [2]pollable{p, timer}
	var answer [2]uint32 // where the list of the ready ones is, and its length
	poll(unsafe.Pointer(&both), 2, unsafe.Pointer(&answer))
	return ready(p)
}

var (
	forGood [256 << 10]byte // what the adapter from preview 1 keeps: 128 KiB
	taken   uint32
	small   [64]byte // an answer such as poll's, which is read before the next one comes
)

// realloc is where the host asks for memory to put something in. It must not come from Go's own heap, since the
// host also asks while Go's runtime is at work, nor from memory.grow: Go takes all that grows for its own.
//
//go:wasmexport cabi_realloc
//go:nosplit
func realloc(_ unsafe.Pointer, _, _, size uint32) unsafe.Pointer {
	if size <= uint32(len(small)) {
		return unsafe.Pointer(&small)
	}
	at := taken
	taken += (size + 15) &^ 15
	return unsafe.Pointer(&forGood[at])
}
