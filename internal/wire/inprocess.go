package wire

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
)

// InProcess is an aws.HTTPClient that hands each request to a handler in this
// process. Nothing is listened on and nothing dialled.
type InProcess struct{ http.Handler }

// Do serves one request and returns its whole answer. The handler works under
// the request's own context; once that has ended, its error is returned instead
// of the answer.
func (p InProcess) Do(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("serving %s in process: %w", req.URL.Path, err)
	}
	w := &recorder{header: http.Header{}}
	p.ServeHTTP(w, arrived(req))
	if req.Body != nil {
		_ = req.Body.Close()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("serving %s in process: %w", req.URL.Path, err)
	}
	return w.response(req), nil
}

// arrived turns a client's request into what a server would have received.
func arrived(req *http.Request) *http.Request {
	in := req.WithContext(req.Context())
	in.Header = req.Header.Clone()
	in.Header.Del("Host")
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	in.TLS = &tls.ConnectionState{} // nobody can listen in
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

// recorder is a ResponseWriter that keeps everything.
type recorder struct {
	header http.Header
	sent   http.Header // as it was when the status was written
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

func (w *recorder) response(req *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode: w.status, Header: w.sent, Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}
}
