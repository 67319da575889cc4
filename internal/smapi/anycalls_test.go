package smapi_test

import (
	"crypto/rand"
	"testing"

	"pgregory.net/rapid"
)

// anyCalls runs a property of sequences of calls, drawn by chance, each time in a house
// of its own; -count=100 draws more. A failure shows its calls. (rapid.Check has a
// deadline, and these calls may wait for days. MakeFuzz skips where the draws run out:
// there are enough for 1,000 calls, and 30 are usual.)
func anyCalls(t *testing.T, property func(h *house) func(*rapid.T)) {
	for range 5 {
		draws := make([]byte, 64<<10)
		_, _ = rand.Read(draws) // never fails
		inHouse(t, func(t *testing.T, h *house) { rapid.MakeFuzz(property(h))(t, draws) })
	}
}

// wantEnd fails unless a call ends as the model says.
func wantEnd(t *rapid.T, ok bool, err error) {
	if (err == nil) != ok {
		t.Fatalf("the model says %v, the server %v", ok, err)
	}
}
