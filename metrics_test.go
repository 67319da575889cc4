package keyturn_test

import (
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// scrape returns what /metrics answers.
func scrape(t *testing.T, s *keyturntest.Server) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("status %d, %v: %s", w.Code, err, text)
	}
	return string(text)
}

// scrapeUntil scrapes until the answer holds a pattern: a rotation's last record
// comes a moment after its labels have moved.
func scrapeUntil(t *testing.T, s *keyturntest.Server, pattern string) string {
	t.Helper()
	sought := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text := scrape(t, s); sought.MatchString(text) {
			return text
		}
	}
	t.Fatalf("no %s", pattern)
	return ""
}

// TestMetrics rotates a secret, gives one wrong answer, and reads it all back.
func TestMetrics(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Dev = true })
	w := newWorld(t, s.Config, newAccount(t, dbserver.MariaDB, rotation.StrategyDualPassword))
	if _, err := w.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := s.SecretsManager.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("nothing")})
	if err == nil {
		t.Fatal("a secret that does not exist was read")
	}
	text := scrapeUntil(t, s, `(?s)keyturn_rotation_duration_seconds_count 1.*keyturn_rotation_total\{function="keyturn-rotate-[a-z]+",result="success"`)
	secret := `account="000000000000",region="us-east-1",secret="` + w.secret + `"`
	for _, want := range []string{
		`keyturn_rotation_total\{function="keyturn-rotate-[a-z]+",result="success",strategy="DualPassword"\} 1`,
		`keyturn_rotation_duration_seconds_count 1`,
		`keyturn_rotation_step_duration_seconds_count\{step="setSecret"\} 1`,
		`keyturn_rotation_last_success_timestamp_seconds\{` + secret + `\} 1\.[0-9]+e\+09`,
		`keyturn_rotation_overdue\{` + secret + `\} 0`,
		`keyturn_old_password_valid\{` + secret + `\} 1`,
		`keyturn_rotation_series_omitted 0`,
		`keyturn_api_requests_total\{code="",operation="RotateSecret"\} 1`,
		`keyturn_api_requests_total\{code="ResourceNotFoundException",operation="GetSecretValue"\} [1-9]`,
		`keyturn_api_request_duration_seconds_count\{operation="CreateSecret"\} 1`,
		`keyturn_audit_write_errors_total 0`,
		`keyturn_build_info\{goversion="go[^"]+",revision="[^"]*",version="[^"]*"\} 1`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "First.Password_1") {
		t.Error("a password is shown")
	}
}

// TestMetricsOfAStuckRotation: the database does not answer.
func TestMetricsOfAStuckRotation(t *testing.T) {
	s := keyturntest.NewServer(t)
	a := account{product: dbserver.MySQL, user: "nobody", value: `{"engine": "mysql", "username": "app", "password": "swordfish", "host": "127.0.0.1", "port": 1}`}
	w := newWorld(t, s.Config, a)
	if _, err := w.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := scrapeUntil(t, s, `keyturn_rotation_total\{function="keyturn-rotate-[a-z]+",result="failure"`)
	for _, want := range []string{`keyturn_pending_version_age_seconds\{.*secret="app/nobody"\} `, `keyturn_rotation_errors_total\{class="tcp"\} [1-9]`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s", want)
		}
	}
}
