package keyturn

import (
	"context"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/metrics"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// maxSeries is how many secrets have series of their own. Those that are due
// soonest come first, so what is overdue, stuck or retried is among them.
const maxSeries = 2000

// Metrics answers scrapes in Prometheus's text format. It asks for no
// permission: serve it where only the monitoring can reach it.
func (s *Server) Metrics() http.Handler { return s.metrics.Handler() }

// watchedRotations is the source of the series of single secrets.
func (s *Server) watchedRotations(ctx context.Context) (all []metrics.Rotation, now time.Time, more bool, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		now = tx.Now
		watched, err := s.sched.Watch(ctx, tx, maxSeries+1)
		if err != nil {
			return err
		}
		if more = len(watched) > maxSeries; more {
			watched = watched[:maxSeries]
		}
		pending, err := s.vault.Unfinished(ctx, tx, arnsOf(watched))
		all = series(watched, pending)
		return err
	})
	return all, now, more, err
}

func arnsOf(watched []scheduler.Watched) []secret.ARN {
	arns := make([]secret.ARN, len(watched))
	for i, w := range watched {
		arns[i] = w.ARN
	}
	return arns
}

func series(watched []scheduler.Watched, pending map[secret.ARN]time.Time) []metrics.Rotation {
	all := make([]metrics.Rotation, len(watched))
	for i, w := range watched {
		at := w.ARN.Place()
		all[i] = metrics.Rotation{Account: at.Account, Region: at.Region, Secret: w.ARN.Name(),
			LastSuccess: w.LastRotated, Next: w.Next, Overdue: w.Overdue, OldPasswordValid: w.OldValid, Drift: w.Drift}
		if since, ok := pending[w.ARN]; ok {
			all[i].PendingSince = &since
		}
	}
	return all
}

// counted is an audit log whose failures are counted.
type counted struct {
	audit.Recorder
	metrics *metrics.Metrics
}

// Record implements audit.Recorder.
func (c counted) Record(e *audit.Event) error {
	err := c.Recorder.Record(e)
	if err != nil {
		c.metrics.AuditFailed()
	}
	return err
}

// build is what the Go toolchain wrote into the program.
func build() metrics.Build {
	b := metrics.Build{Version: "unknown", GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}
