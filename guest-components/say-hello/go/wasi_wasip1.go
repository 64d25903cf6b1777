// The functions of wasi:http that the handler needs, in the component model's ABI.
package main

import "unsafe"

// Each is the number of a resource, which belongs to who got it until it is passed on or dropped.
type (
	incomingRequest  uint32
	responseOutparam uint32
	outgoingResponse uint32
	outgoingBody     uint32
	outputStream     uint32
	fields           uint32
)

// result is where the host writes `result<own<T>>`, and what the other results here begin with.
type result struct {
	failed uint8
	value  uint32
	_      [8]uint64 // an error can have more to it
}

func (r *result) area() unsafe.Pointer { return unsafe.Pointer(r) }

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]incoming-request
func dropRequest(incomingRequest)

//go:wasmimport wasi:http/types@0.2.12 [constructor]fields
func newFields() fields

//go:wasmimport wasi:http/types@0.2.12 [method]fields.append
func appendField(f fields, name, value string, answer unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [constructor]outgoing-response
func newResponse(fields) outgoingResponse

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-response.body
func responseBody(r outgoingResponse, answer unsafe.Pointer)

// setResponse takes `result<own<outgoing-response>, error-code>`: failed, the response, and six parts of an error.
//
//go:wasmimport wasi:http/types@0.2.12 [static]response-outparam.set
func setResponse(out responseOutparam, failed uint32, r outgoingResponse, _ uint32, _ uint64, _, _, _, _ uint32)

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-body.write
func bodyStream(b outgoingBody, answer unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [static]outgoing-body.finish
func finishBody(b outgoingBody, hasTrailers uint32, trailers fields, answer unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]output-stream.blocking-write-and-flush
func write(s outputStream, bytes string, answer unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [resource-drop]output-stream
func dropStream(outputStream)

// respond sends a whole answer. A client that has gone is no failure.
func respond(out responseOutparam, contentType, text string) {
	var r result
	headers := newFields()
	appendField(headers, "content-type", contentType, r.area())
	response := newResponse(headers)
	responseBody(response, r.area())
	body := outgoingBody(r.value)
	setResponse(out, 0, response, 0, 0, 0, 0, 0, 0)

	bodyStream(body, r.area())
	stream := outputStream(r.value)
	for len(text) > 0 {
		part := text[:min(len(text), 4096)] // as much as one write may have
		text = text[len(part):]
		if write(stream, part, r.area()); r.failed != 0 {
			break
		}
	}
	dropStream(stream)
	finishBody(body, 0, 0, r.area())
}

var (
	forGood [256 << 10]byte // what the adapter from preview 1 keeps: 128 KiB
	taken   uint32
	small   [1024]byte // the text of an error, which nobody reads here
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
