package smapi_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

func TestDayOfAReadIsShownAtOnceAndNotedInTheBackground(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		arn := h.make(secret.New{Name: "read"})
		for range 2 {
			h.get("read")
			today := time.Now().UTC().Truncate(24 * time.Hour)
			if day := h.describe("read").LastAccessedDate; day == nil || !day.Equal(today) {
				t.Errorf("at once: %v, want %v", day, today)
			}
			synctest.Wait()
			var found *secret.Secret
			err := h.db.Read(t.Context(), func(tx *sqldb.Tx) (err error) {
				found, err = h.vault.Find(t.Context(), tx, arn)
				return err
			})
			if err != nil || found.Accessed == nil || !found.Accessed.Equal(today) {
				t.Errorf("noted: %+v, %v, want %v", found, err, today)
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

// The day of a read is noted, not that on which the disk has time for it.
func TestReadBeforeMidnightIsOfThatDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseAt(t, filepath.Join(t.TempDir(), "keyturn.db"))
		h.make(secret.New{Name: "read"})
		day := time.Now().UTC().Truncate(24 * time.Hour)
		go func() {
			_ = h.db.Write(t.Context(), func(*sqldb.Tx) error { time.Sleep(24 * time.Hour); return nil })
		}()
		synctest.Wait()
		h.get("read")
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if got := h.describe("read").LastAccessedDate; got == nil || !got.Equal(day) {
			t.Errorf("got %v, want %v", got, day)
		}
	})
}
