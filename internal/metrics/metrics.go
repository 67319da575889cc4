// Package metrics counts what a server does, in Prometheus's text format. It
// holds no values of secrets, and no more series than its owner can bound: one
// for each operation and error code, and those of the rotations that it is given
// at a scrape.
//
// What is counted while a request is answered is resolved when the server
// starts, so that counting takes two atomic additions and no look-up.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "keyturn"

// Buckets of durations, in seconds. Requests take from 50 µs on; steps of a
// rotation from a millisecond to their limit of 30 s; an exposure is a commit
// at best, and as long as an outage at worst.
var (
	requestBuckets  = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	stepBuckets     = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	rotationBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400}
	exposureBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300, 3600}
)

// Metrics is all that a server counts. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec

	rotations         *prometheus.CounterVec
	rotationDurations prometheus.Histogram
	stepDurations     *prometheus.HistogramVec
	exposure          prometheus.Histogram
	errors            *prometheus.CounterVec
	auditErrors       prometheus.Counter
}

// Build is what build_info tells.
type Build struct{ Version, Revision, GoVersion string }

// New returns metrics that ask for rotations at every scrape.
func New(b Build, rotations Source) *Metrics {
	m := &Metrics{
		registry:          prometheus.NewRegistry(),
		requests:          counters("api_requests_total", "Requests that were answered; code is empty for success.", "operation", "code"),
		durations:         histograms("api_request_duration_seconds", "How long requests took.", requestBuckets, "operation"),
		rotations:         counters("rotation_total", "Rotations that ended (success), were given up (abandoned), and attempts of a step that failed (failure).", "function", "strategy", "result"),
		rotationDurations: histogram("rotation_duration_seconds", "From the beginning of a rotation to its success.", rotationBuckets),
		stepDurations:     histograms("rotation_step_duration_seconds", "How long attempts of a step took.", stepBuckets, "step"),
		exposure:          histogram("rotation_exposure_seconds", "How long the database refused AWSCURRENT in a rotation, where it was measured.", exposureBuckets),
		errors:            counters("rotation_errors_total", "Attempts of a step that failed, by the class of the error.", "class"),
		auditErrors:       prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "audit_write_errors_total", Help: "Lines that could not be written to the audit log."}),
	}
	m.registry.MustRegister(m.requests, m.durations, m.rotations, m.rotationDurations, m.stepDurations, m.exposure, m.errors, m.auditErrors,
		buildInfo(b), newRotationGauges(rotations))
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
}

func buildInfo(b Build) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info", Help: "The program that answers; always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.GoVersion}})
	g.Set(1)
	return g
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second})
}

// Operation counts one operation's requests.
type Operation struct {
	name     string
	success  prometheus.Counter
	duration prometheus.Observer
	requests *prometheus.CounterVec
}

// Operation returns the counters of an operation, to be kept.
func (m *Metrics) Operation(name string) *Operation {
	return &Operation{name: name, success: m.requests.WithLabelValues(name, ""), duration: m.durations.WithLabelValues(name), requests: m.requests}
}

// Answered counts a request; code is empty for success.
func (o *Operation) Answered(code string, took time.Duration) {
	o.duration.Observe(took.Seconds())
	if code == "" {
		o.success.Inc()
		return
	}
	o.requests.WithLabelValues(o.name, code).Inc()
}

// StepEnded implements scheduler.Meter.
func (m *Metrics) StepEnded(step, class string, took time.Duration) {
	m.stepDurations.WithLabelValues(step).Observe(took.Seconds())
	if class != "" {
		m.errors.WithLabelValues(class).Inc()
	}
}

// RotationEnded implements scheduler.Meter.
func (m *Metrics) RotationEnded(function, strategy, result string) {
	m.rotations.WithLabelValues(function, strategy, result).Inc()
}

// RotationTook implements scheduler.Meter.
func (m *Metrics) RotationTook(d time.Duration) { m.rotationDurations.Observe(d.Seconds()) }

// Exposed implements scheduler.Meter.
func (m *Metrics) Exposed(d time.Duration) { m.exposure.Observe(d.Seconds()) }

// AuditFailed counts a line of the audit log that could not be written.
func (m *Metrics) AuditFailed() { m.auditErrors.Inc() }
