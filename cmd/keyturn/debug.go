package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// debugClient writes one line for each request. It shows neither headers nor
// bodies: the ones hold credentials, the others values.
type debugClient struct {
	next aws.HTTPClient
	out  io.Writer
	now  func() time.Time
}

// Do sends the request.
func (c debugClient) Do(r *http.Request) (*http.Response, error) {
	start := c.now()
	resp, err := c.next.Do(r)
	took := c.now().Sub(start).Round(time.Millisecond)
	what := r.Method + " " + r.URL.Scheme + "://" + r.URL.Host + r.URL.Path
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		what += " " + target
	}
	if err != nil {
		fmt.Fprintf(c.out, "debug: %s: %v (%s)\n", what, err, took)
		return nil, err
	}
	fmt.Fprintf(c.out, "debug: %s: %s (%s, request id %s)\n", what, resp.Status, took, resp.Header.Get("X-Amzn-RequestId"))
	return resp, nil
}
