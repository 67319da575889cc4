package main

import (
	"io"
	"log/slog"
	"net/http"
	"testing"
)

func TestMetricsHaveAListenerOfTheirOwn(t *testing.T) {
	m, err := listenMetrics(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.start(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "counted") }), slog.New(slog.DiscardHandler))
	for path, want := range map[string]int{"/metrics": http.StatusOK, "/": http.StatusNotFound} {
		resp, err := http.Get("http://" + m.listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, resp.StatusCode, want)
		}
	}
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}

func TestNoMetricsUnlessAskedFor(t *testing.T) {
	m, err := listenMetrics(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	m.start(nil, nil)
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}
