package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// The records go out as JSON, which takes UTF-8 alone.
func TestErrorIsCutBetweenCharacters(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		h.act = func(event) (string, error) {
			return "", &scheduler.FunctionError{Type: "database", Message: "x" + strings.Repeat("é", 600)}
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() { synctest.Wait() })
		h.write(func(tx *sqldb.Tx) error {
			runs, err := h.Runs(context.Background(), tx, h.arn, 1)
			if err != nil || len(runs) == 0 {
				return err
			}
			if text := runs[0].Error; !utf8.ValidString(text) || len(text) != 999 {
				t.Errorf("%d bytes are kept of an error: %q", len(text), text)
			}
			return nil
		})
	})
}

// Whose function it is, its answer may not lead the schedule astray.
func TestAnswersOutOfBounds(t *testing.T) {
	scripted(t, func(t *testing.T, h *house) {
		answer := fmt.Sprintf(`{"strategy":%q,"retireAfterSeconds":9300000000,"exposureMicros":9300000000000000}`, strings.Repeat("s", 5000))
		h.act = func(e event) (string, error) {
			if e.Step == "finishSecret" {
				return answer, h.play(context.Background(), e)
			}
			return "", nil
		}
		h.configure(scheduler.Rule{}, h.start("second"))
		h.during(func() {
			time.Sleep(364 * 24 * time.Hour)
			synctest.Wait()
			want(t, "steps within a year", fourSteps, h.taken())
			time.Sleep(2 * 24 * time.Hour)
			synctest.Wait()
			want(t, "steps after it", "retireSecret", h.taken())
		})
		st, _ := h.state()
		want(t, "strategy", "", st.Strategy)
		want(t, "exposure", []string{"finishSecret 9223372036854775"}, h.exposures())
	})
}
