package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/kmstest"
)

// TestStartWithoutAWSKMS: the error says that it is AWS KMS that does not answer, not that
// there is no keyturn server.
func TestStartWithoutAWSKMS(t *testing.T) {
	service := kmstest.NewServer(t)
	key := service.NewKey("us-east-1")
	data := filepath.Join(t.TempDir(), "data")
	serve := func() string {
		var stderr bytes.Buffer
		a := &app{stdout: &bytes.Buffer{}, stderr: &stderr, stdin: strings.NewReader("")}
		server, err := a.openServer(t.Context(), keyturn.Config{Data: data, Keys: keyturn.Keys{AWSKMSKey: key}})
		if err != nil {
			a.report(nil, err)
			return stderr.String()
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		return ""
	}
	if text := serve(); text != "" {
		t.Fatal(text)
	}
	service.SetDown(true)
	if text := serve(); !strings.Contains(text, "asking AWS KMS") {
		t.Errorf("AWS KMS is down: %q", text)
	}
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
	if text := serve(); !strings.Contains(text, "asking AWS KMS") || strings.Contains(text, "keyturn serve") {
		t.Errorf("AWS KMS does not answer: %q", text)
	}
}
