package keyturn

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"errors"
)

// A call that can't be recorded is not answered, and the server says that it is
// not ready for more.
func TestCallThatIsNotRecorded(t *testing.T) {
	s, err := Open(t.Context(), Config{Data: InMemory, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	client := secretsmanager.NewFromConfig(s.AWSConfig())
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("hunter2")}); err != nil {
		t.Fatal(err)
	}
	if err := s.audit.Close(); err != nil { // its files can't be written any more
		t.Fatal(err)
	}
	out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
	if failure, ok := errors.AsType[smithy.APIError](err); !ok || failure.ErrorCode() != "InternalServiceError" || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, %v", out, err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "audit log") {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if err := s.Close(); err == nil {
		t.Error("the log was closed twice without a word")
	}
}
