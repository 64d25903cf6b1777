package main

import "testing"

func TestGreeting(t *testing.T) {
	if got, want := greeting(3), "Hello, you are number 3\n"; got != want {
		t.Errorf("greeting(3) = %q, want %q", got, want)
	}
}
