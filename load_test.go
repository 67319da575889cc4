package keyturn_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// Eight workers log in with whatever GetSecretValue says, each time over a new
// connection, while the password rotates. With two passwords, or two users that
// take turns, nobody is ever refused; with one the number is told.
func TestLoginsUnderRotation(t *testing.T) {
	rotations := times(t, "KEYTURN_ROTATIONS", 20)
	for _, a := range everyStrategy(t) {
		t.Run(a.String(), func(t *testing.T) {
			w := newWorld(t, keyturntest.NewServer(t).Config, a)
			logins, failed, first := underLoad(t, w, rotations)
			t.Logf("%d rotations, %d logins, %d failed", rotations, logins, failed)
			if failed > 0 && a.strategy != rotation.StrategySingleUser {
				t.Errorf("%d logins failed, the first with: %v", failed, first)
			}
			if logins == 0 {
				t.Error("nobody logged in")
			}
		})
	}
}

func underLoad(t *testing.T, w *world, rotations int) (logins, failed int64, first error) {
	ctx, cancel := context.WithCancel(t.Context())
	var ok, refused atomic.Int64
	var once sync.Once
	var crew sync.WaitGroup
	for range 8 {
		crew.Go(func() {
			for ctx.Err() == nil {
				err := w.login(context.WithoutCancel(ctx))
				if err == nil {
					ok.Add(1)
					continue
				}
				refused.Add(1)
				once.Do(func() { first = err })
			}
		})
	}
	for range rotations {
		want, err := w.rotate(ctx)
		if err != nil {
			t.Error(err)
			break
		}
		wait, done := context.WithTimeout(ctx, time.Minute)
		got, err := w.settled(wait)
		done()
		if err != nil || got != want {
			t.Errorf("AWSCURRENT is on %s, not on %s: %v", got, want, err)
			break
		}
	}
	cancel()
	crew.Wait()
	return ok.Load(), refused.Load(), first
}
