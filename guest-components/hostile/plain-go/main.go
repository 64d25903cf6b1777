// Fills memory, as many MiB as its first argument says, and looks whether anybody else has written to it. In between it
// makes garbage and calls its host: what both sides use is what they could take from each other.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"
)

const mib = 1 << 20

func fill(number int) []byte {
	chunk := make([]byte, mib)
	for at := range chunk {
		chunk[at] = byte(number + at%251)
	}
	return chunk
}

func bad(number int, chunk []byte) (count int) {
	for at, found := range chunk {
		if found != byte(number+at%251) {
			count++
		}
	}
	return count
}

// calls uses most of what the host has for a program like this.
func calls(number int) {
	name := fmt.Sprintf("/data/%d.txt", number)
	if os.WriteFile(name, []byte(name), 0o600) == nil {
		if text, err := os.ReadFile(name); err != nil || string(text) != name {
			fmt.Println("lost", name, string(text), err)
		}
		if entries, err := os.ReadDir("/data"); err != nil || len(entries) == 0 {
			fmt.Println("lost /data", len(entries), err)
		}
	}
	time.Sleep(time.Microsecond)
}

func main() {
	size, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	input, _ := io.ReadAll(os.Stdin)
	fmt.Println("given", os.Args[1:], os.Getenv("GIVEN"), string(input))
	var kept [][]byte
	for number := range make([]struct{}, size) {
		kept = append(kept, fill(number))
		if number%10 == 0 {
			fill(-number)
			calls(number)
			runtime.GC()
		}
	}
	found := 0
	for number, chunk := range kept {
		found += bad(number, chunk)
	}
	fmt.Printf("%d MiB, %d bad bytes\n", size, found)
	os.Exit(7)
}
