// The logic of say-hello: it runs anywhere, and so do its tests.
package main

import "fmt"

// greeting is the answer to the nth request.
func greeting(n int) string {
	return fmt.Sprintf("Hello, you are number %d\n", n)
}

// A library with exports (-buildmode=c-shared) has a main, too, but nobody calls it.
func main() {}
