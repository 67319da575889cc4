package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Rotation is what the series of one secret show.
type Rotation struct {
	Account, Region, Secret string
	LastSuccess             *time.Time
	Next                    *time.Time // the moment of the next rotation
	Overdue                 bool       // the window has ended without a rotation
	PendingSince            *time.Time // of a version that waits for its rotation's end
	OldPasswordValid        bool
	Drift                   []string // kinds
}

// Source reads the rotations to show, and when that is. more tells that there
// are others that it left out.
type Source func(context.Context) (rotations []Rotation, now time.Time, more bool, err error)

// rotationGauges asks its source at every scrape: nothing is kept up to date
// for somebody who may never ask.
type rotationGauges struct {
	source Source

	last, next, overdue, pending, old, drift, omitted *prometheus.Desc
}

// scrapeTime bounds the question to the server's database.
const scrapeTime = 10 * time.Second

func newRotationGauges(source Source) *rotationGauges {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
	}
	secret := []string{"account", "region", "secret"}
	return &rotationGauges{
		source:  source,
		last:    describe("rotation_last_success_timestamp_seconds", "When a secret last rotated.", secret...),
		next:    describe("rotation_next_timestamp_seconds", "When it rotates next.", secret...),
		overdue: describe("rotation_overdue", "1 if the window of its rotation has ended without one.", secret...),
		pending: describe("pending_version_age_seconds", "How long AWSPENDING is on a version that is not AWSCURRENT.", secret...),
		old:     describe("old_password_valid", "1 while an older password is valid beside that of AWSCURRENT.", secret...),
		drift:   describe("drift_detected", "1 if the database holds another password than the secret says.", append(secret, "kind")...),
		omitted: describe("rotation_series_omitted", "1 if there are more secrets than are shown; those that are due last are left out."),
	}
}

// Describe implements prometheus.Collector.
func (g *rotationGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.last, g.next, g.overdue, g.pending, g.old, g.drift, g.omitted} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *rotationGauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	rotations, now, more, err := g.source(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(g.omitted, err)
		return
	}
	ch <- gauge(g.omitted, truth(more))
	for _, r := range rotations {
		g.show(ch, r, now)
	}
}

func (g *rotationGauges) show(ch chan<- prometheus.Metric, r Rotation, now time.Time) {
	moment := func(d *prometheus.Desc, t *time.Time) {
		if t != nil {
			ch <- gauge(d, float64(t.UnixMilli())/1000, r.Account, r.Region, r.Secret)
		}
	}
	moment(g.last, r.LastSuccess)
	moment(g.next, r.Next)
	ch <- gauge(g.overdue, truth(r.Overdue), r.Account, r.Region, r.Secret)
	ch <- gauge(g.old, truth(r.OldPasswordValid), r.Account, r.Region, r.Secret)
	if r.PendingSince != nil {
		ch <- gauge(g.pending, max(0, now.Sub(*r.PendingSince).Seconds()), r.Account, r.Region, r.Secret)
	}
	for _, kind := range r.Drift {
		ch <- gauge(g.drift, 1, r.Account, r.Region, r.Secret, kind)
	}
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
