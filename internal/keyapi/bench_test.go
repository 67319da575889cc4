package keyapi_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/keyturn/keyturn/keyturnapi"
)

// How long re-wrapping takes for each value, on a disk.
func BenchmarkRewrap(b *testing.B) {
	w := newWorldAt(b, filepath.Join(b.TempDir(), "db"))
	w.fill((b.N + 1) / 2)
	defer w.run()()
	b.ResetTimer()
	w.rotate(keyturnapi.RotateKeyInput{})
	for w.left() != 0 {
		time.Sleep(time.Millisecond)
	}
}
