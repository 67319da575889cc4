package wire

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// checkPlain: what decodePlain takes, decodeJSON takes for the same. It reports
// whether decodePlain took it.
func checkPlain(t *testing.T, body string) bool {
	t.Helper()
	var plain, proper secretsmanager.PutSecretValueInput
	if !decodePlain([]byte(body), &plain) {
		return false
	}
	if err := decodeJSON([]byte(body), &proper); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if diff := cmp.Diff(proper, plain, cmpopts.IgnoreUnexported(secretsmanager.PutSecretValueInput{})); diff != "" {
		t.Errorf("%q (-decodeJSON +decodePlain):\n%s", body, diff)
	}
	return true
}

func TestPlainRequestsAreDecodedAsOthersAre(t *testing.T) {
	for body, plain := range map[string]bool{
		`{}`: true, ` { } `: true, `{"SecretId":"a"}`: true, `{"SecretId" : "a/b+c" , "SecretString":""}`: true,
		``: false, `{`: false, `{"SecretId":"a",}`: false, `{"SecretId":"a"`: false, `{"SecretId":"a"}x`: false,
		`{"SecretId":"a" "SecretString":"b"}`: false, `{"SecretId":"a","SecretId":"b"}`: false, `{,"SecretId":"a"}`: false,
		`{"SecretId":"\u0061"}`: false, `{"SecretId":"é"}`: false, "{\"SecretId\":\"a\x7f\"}": false, "{\"SecretId\":\"a\nb\"}": false,
		`{"secretid":"a"}`: false, `{"Other":"a"}`: false, `{"SecretId":null}`: false, `{"SecretId":1}`: false,
		`{"SecretBinary":"YQ=="}`: false, `{"VersionStages":["A"]}`: false, `[]`: false, `{"SecretId"}`: false, `{"SecretId":}`: false,
	} {
		if got := checkPlain(t, body); got != plain {
			t.Errorf("%q: plain is %v, want %v", body, got, plain)
		}
	}
}

func TestPlainKnowsOnlyStringsWithoutTags(t *testing.T) {
	var in struct {
		Tagged *string `json:"tagged"`
		Number *int64
	}
	for _, body := range []string{`{"Tagged":"a"}`, `{"tagged":"a"}`, `{"Number":"1"}`} {
		if decodePlain([]byte(body), &in) {
			t.Errorf("%s was taken", body)
		}
	}
	if decodePlain([]byte(`{"a":"b"}`), reflect.New(reflect.TypeFor[map[string]string]()).Interface()) {
		t.Error("a map was taken")
	}
}

func FuzzDecodePlain(f *testing.F) {
	f.Add(`{"SecretId":"a","ClientRequestToken":"b"}`)
	f.Add(`{"SecretId":"a",}`)
	f.Add("{\"SecretId\":\"a\xff\"}")
	f.Fuzz(func(t *testing.T, body string) { checkPlain(t, body) })
}
