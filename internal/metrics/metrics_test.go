package metrics_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/metrics"
)

func scrape(t *testing.T, m *metrics.Metrics) (status int, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Code, w.Body.String()
}

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestSeriesOfSecrets: names are escaped, and what is not known has no series.
func TestSeriesOfSecrets(t *testing.T) {
	since := now.Add(-90 * time.Second)
	m := metrics.New(metrics.Build{}, func(context.Context) ([]metrics.Rotation, time.Time, bool, error) {
		return []metrics.Rotation{
			{Account: "1", Region: "r", Secret: `a"b\c`, Overdue: true, PendingSince: &since, OldPasswordValid: true, Drift: []string{"x", "y"}},
			{Account: "2", Region: "r", Secret: "plain", Next: &now},
		}, now, true, nil
	})
	_, text := scrape(t, m)
	for _, want := range []string{
		`keyturn_rotation_overdue{account="1",region="r",secret="a\"b\\c"} 1`,
		`keyturn_pending_version_age_seconds{account="1",region="r",secret="a\"b\\c"} 90`,
		`keyturn_old_password_valid{account="2",region="r",secret="plain"} 0`,
		`keyturn_drift_detected{account="1",kind="y",region="r",secret="a\"b\\c"} 1`,
		`keyturn_rotation_next_timestamp_seconds{account="2",region="r",secret="plain"} 1.7672256e+09`,
		`keyturn_rotation_series_omitted 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, absent := range []string{`last_success_timestamp_seconds{`, `pending_version_age_seconds{account="2"`} {
		if strings.Contains(text, absent) {
			t.Errorf("there is %s", absent)
		}
	}
}

// TestScrapeFails as a whole where secrets cannot be read: an alert must not
// fall silent for want of a series.
func TestScrapeFails(t *testing.T) {
	m := metrics.New(metrics.Build{}, func(context.Context) ([]metrics.Rotation, time.Time, bool, error) {
		return nil, now, false, errors.New("the database does not answer")
	})
	if status, _ := scrape(t, m); status != 500 {
		t.Errorf("status %d", status)
	}
}

// BenchmarkAnswered is what counting adds to a request.
func BenchmarkAnswered(b *testing.B) {
	o := metrics.New(metrics.Build{}, nil).Operation("GetSecretValue")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o.Answered("", 40*time.Microsecond)
		}
	})
}
