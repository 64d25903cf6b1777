// The logic of tick-tock: it runs anywhere, and so do its tests.
package main

import "fmt"

// line is what the clock says at its nth beat.
func line(n int) string {
	if n%2 == 0 {
		return fmt.Sprintf("tock %d", n)
	}
	return fmt.Sprintf("tick %d", n)
}

// A library with exports (-buildmode=c-shared) has a main, too, but nobody calls it.
func main() {}
