package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// metricsServer serves /metrics on a listener of its own; the zero value serves
// nothing.
type metricsServer struct {
	listener net.Listener
	server   *http.Server
	ended    chan struct{}
}

// listenMetrics listens on address, unless that is empty.
func listenMetrics(ctx context.Context, address string) (*metricsServer, error) {
	if address == "" {
		return &metricsServer{}, nil
	}
	listener, err := listenOn(ctx, "--metrics-listen", address)
	if err != nil {
		return nil, err
	}
	return &metricsServer{listener: listener, ended: make(chan struct{})}, nil
}

// start serves until stop.
func (m *metricsServer) start(metrics http.Handler, log *slog.Logger) {
	if m.listener == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	m.server = &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	go func() {
		defer close(m.ended)
		if err := m.server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving metrics", "error", err)
		}
	}()
}

// stop ends what start and listenMetrics began, and waits for it.
func (m *metricsServer) stop() error {
	switch {
	case m.listener == nil:
		return nil
	case m.server == nil:
		return m.listener.Close()
	}
	err := m.server.Close()
	<-m.ended
	return err
}
