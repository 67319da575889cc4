package smapi_test

import (
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
