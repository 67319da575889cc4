package smapi_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

// raw sends a request that no SDK would: to a dev server, without a signature.
func raw(t testing.TB, url, target, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func advance(t testing.TB, s *keyturntest.Server, by time.Duration) {
	t.Helper()
	_, err := keyturnapi.New(s.Config).AdvanceClock(t.Context(), &keyturnapi.AdvanceClockInput{Seconds: int64(by.Seconds())})
	if err != nil {
		t.Fatal(err)
	}
}

// What this server cannot do it says, and does not pretend.
func TestUnknownOperations(t *testing.T) {
	c := keyturntest.NewServer(t, inMemory)
	d := keyturntest.NewServer(t, inMemory, dev)
	for _, op := range []string{"NoSuchThing", ""} {
		status, body := raw(t, d.URL, "secretsmanager."+op, `{}`)
		if status != http.StatusBadRequest || !strings.Contains(body, `"__type":"UnknownOperationException"`) {
			t.Errorf("%s: %d %s", op, status, body)
		}
	}
	if status, body := raw(t, c.URL, "secretsmanager.ListSecrets", `{}`); status != http.StatusBadRequest || !strings.Contains(body, "MissingAuthenticationTokenException") {
		t.Errorf("without a signature: %d %s", status, body)
	}
}

func TestMalformedRequests(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory, dev)
	for body, want := range map[string]string{
		`{`:                                    "SerializationException",
		`[]`:                                   "SerializationException",
		`{"SecretId":1}`:                       "SerializationException",
		`{"SecretId":"a","SecretId":"b"}`:      "SerializationException",
		"{\"SecretId\":\"\xff\"}":              "SerializationException",
		`{}`:                                   "ValidationException",
		`{"SecretId":null}`:                    "ValidationException",
		`{"SecretId":""}`:                      "ValidationException",
		`{"secretid":"a"}`:                     "ValidationException",
		`{"SecretId":"a","Stray":[1,{"b":2}]}`: "ResourceNotFoundException",
	} {
		status, answer := raw(t, s.URL, "secretsmanager.GetSecretValue", body)
		if status != http.StatusBadRequest || !strings.Contains(answer, `"__type":"`+want+`"`) {
			t.Errorf("%q: %d %s, want %s", body, status, answer, want)
		}
	}
}

// The front end tells everything that is wrong with a request at once, and before
// the service says anything.
func TestViolationsAreToldTogether(t *testing.T) {
	s := keyturntest.NewServer(t, inMemory, dev)
	const noID, emptyID = "Value null at 'secretId' failed to satisfy constraint: Member must not be null",
		"Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1"
	for _, tc := range []struct{ op, body, want string }{
		{"PutSecretValue", `{"ClientRequestToken":"x"}`, "2 validation errors detected: " + noID +
			"; Value 'x' at 'clientRequestToken' failed to satisfy constraint: Member must have length greater than or equal to 32"},
		{"GetSecretValue", `{"SecretId":"","VersionStage":""}`, "2 validation errors detected: " + emptyID +
			"; Value '' at 'versionStage' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"ValidateResourcePolicy", `{"SecretId":""}`, "2 validation errors detected: " + emptyID +
			"; Value null at 'resourcePolicy' failed to satisfy constraint: Member must not be null"},
		{"RotateSecret", `{"RotationRules":{"Duration":"3d"}}`, "2 validation errors detected: " + noID +
			"; Value '3d' at 'rotationRules.duration' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]+h"},
		{"DescribeSecret", `{}`, "1 validation error detected: " + noID},
	} {
		want := `{"__type":"ValidationException","message":"` + tc.want + `"}`
		if status, body := raw(t, s.URL, "secretsmanager."+tc.op, tc.body); status != http.StatusBadRequest || body != want {
			t.Errorf("%s: %d\ngot  %s\nwant %s", tc.op, status, body, want)
		}
	}
}
