package main

import "testing"

func TestLine(t *testing.T) {
	for n, want := range map[int]string{1: "tick 1", 2: "tock 2", 3: "tick 3"} {
		if got := line(n); got != want {
			t.Errorf("line(%d) = %q, want %q", n, got, want)
		}
	}
}
