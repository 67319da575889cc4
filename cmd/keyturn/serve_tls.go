package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/spf13/cobra"
)

// tlsFlags are those by which serve speaks TLS; both empty: it does not.
type tlsFlags struct{ cert, key string }

func (f *tlsFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.cert, "tls-cert", "", "PEM file of a certificate and those that lead to its authority: speak HTTPS instead of HTTP")
	cmd.Flags().StringVar(&f.key, "tls-key", "", "PEM file of the certificate's private key")
	_ = cmd.MarkFlagFilename("tls-cert")
	_ = cmd.MarkFlagFilename("tls-key")
}

func (f tlsFlags) check() error {
	if (f.cert == "") != (f.key == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	return nil
}

func (f tlsFlags) scheme() string {
	if f.cert == "" {
		return "http"
	}
	return "https"
}

// over returns l, or one that speaks TLS over l's connections: HTTP/1.1, TLS 1.2
// and later.
func (f tlsFlags) over(l net.Listener, log *slog.Logger) (net.Listener, error) {
	if f.cert == "" {
		return l, nil
	}
	c := &certificate{files: f, log: log}
	if err := c.load(); err != nil {
		return nil, guided{err: fmt.Errorf("reading the certificate: %w", err),
			hint: "Name PEM files of a certificate and of its private key with --tls-cert and --tls-key.", code: exitUsage}
	}
	return &tlsListener{l, &tls.Config{GetCertificate: c.current, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}}, nil
}

// certificate is read again when one of its files has changed: whoever renews it
// need not restart the server.
type certificate struct {
	files tlsFlags
	log   *slog.Logger

	mu   sync.Mutex
	pair *tls.Certificate
	of   [2]os.FileInfo // the files that were read last
	told bool           // that the files are not there, as they were not last time
}

// current is tls.Config.GetCertificate.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.load()
	if err != nil && !c.told { // strangers make handshakes as often as they like
		c.log.Warn("reading the certificate again: the one before stays", "error", err)
	}
	c.told = err != nil
	return c.pair, nil
}

// load reads the files, unless they are those that were read last.
func (c *certificate) load() error {
	cert, err := os.Stat(c.files.cert)
	if err != nil {
		return err
	}
	key, err := os.Stat(c.files.key)
	if err != nil || unchanged(c.of[0], cert) && unchanged(c.of[1], key) {
		return err
	}
	c.of = [2]os.FileInfo{cert, key} // what does not fit together is told once
	pair, err := tls.LoadX509KeyPair(c.files.cert, c.files.key)
	if err == nil {
		c.pair = &pair
	}
	return err
}

func unchanged(before, now os.FileInfo) bool {
	return before != nil && os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()) && before.Size() == now.Size()
}

type tlsListener struct {
	net.Listener
	config *tls.Config
}

// Accept implements net.Listener. The handshake comes with the first read.
func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tlsConn{tls.Server(conn, l.config)}, nil
}

// tlsConn tells who speaks HTTP to it what is wrong, as net/http does.
type tlsConn struct{ *tls.Conn }

// Read implements net.Conn.
func (c tlsConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if other, ok := errors.AsType[tls.RecordHeaderError](err); ok && other.Conn != nil {
		_, _ = io.WriteString(other.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis server speaks HTTPS: use an endpoint URL that begins with https://\n")
	}
	return n, err
}
