package main

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// A hint says what goes on without the command, or how to go on; Ctrl-C leaves it.
func TestInterruptedKeepsTheHint(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := (&app{}).settle(ctx, guided{err: ctx.Err(), hint: "it goes on", code: exitFailure})
	if exitCode(err) != exitInterrupted || hintFor(err) != "it goes on" {
		t.Errorf("code %d, hint %q", exitCode(err), hintFor(err))
	}
}

// TestInterruptedRotations ends commands while a function is at work: they end at once and
// tell what has begun, what has not, and that the server goes on.
func TestInterruptedRotations(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := keyturntest.NewServer(t, func(c *keyturn.Config) {
		slow := func(_ context.Context, _ aws.Config, event json.RawMessage) (json.RawMessage, error) {
			if strings.Contains(string(event), rotation.StepCreate) {
				arrived <- struct{}{}
				<-release
			}
			return json.RawMessage("null"), nil
		}
		c.Functions = map[string]keyturn.Function{"slow-a": slow, "slow-b": slow, "slow-c": slow}
	})
	defer close(release)
	for _, name := range []string{"slow-a", "slow-b", "slow-c"} {
		rotatedBy(t, server, name)
	}
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", server.CredentialsFile())
	for _, tc := range []struct{ command, report string }{
		{"rotation run slow-a slow-b --parallel 1", `(?m)^slow-a +unknown .* interrupted\n^slow-b +not begun$`},
		{"secret rotate slow-c --wait", `^$`},
	} {
		stdout, stderr, code := interruptedAt(t, arrived, strings.Fields(tc.command)...)
		if code != exitInterrupted || !regexp.MustCompile(tc.report).MatchString(stdout) || !strings.Contains(stderr, "interrupted\n"+goesOn) {
			t.Errorf("%s: code %d\n%s%s", tc.command, code, stdout, stderr)
		}
	}
}

// interruptedAt runs a command until something has arrived.
func interruptedAt(t *testing.T, arrived <-chan struct{}, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	var out, text bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, strings.NewReader(""), &out, &text) }()
	select {
	case <-arrived:
		interrupt()
	case err := <-ended:
		t.Fatalf("%v ended: %v\n%s", args, err, text.String())
	}
	err := <-ended
	return out.String(), text.String(), exitCode(err)
}
