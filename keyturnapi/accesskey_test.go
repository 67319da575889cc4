package keyturnapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAccessKeyCalls(t *testing.T) {
	url, last, body := answering(t, http.StatusOK, `{
		"AccessKey": {"AccessKeyId": "ASIAX", "AccountId": "111122223333", "UserName": "app", "Status": "Active",
			"CreateDate": 1764590400, "Expiration": 1764594000.5, "PolicyDocuments": ["{}"],
			"AccessKeyLastUsed": {"LastUsedDate": 1764590400, "Region": "eu-west-1", "ServiceName": "rds"}},
		"Credentials": {"SecretAccessKey": "hunter2", "SessionToken": "hunter3"}}`)
	client := New(loadConfig(t, map[string]string{"AWS_ENDPOINT_URL": url}))
	got, err := client.CreateAccessKey(t.Context(), &CreateAccessKeyInput{UserName: "app", PolicyDocuments: []string{"{}"}, DurationSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2025, 12, 1, 12, 0, 0, 0, time.UTC)
	end := start.Add(time.Hour + 500*time.Millisecond)
	want := &CreateAccessKeyOutput{
		AccessKey: AccessKey{AccessKeyID: "ASIAX", AccountID: "111122223333", UserName: "app", Status: StatusActive, CreateDate: start,
			Expiration: &end, PolicyDocuments: []string{"{}"}, AccessKeyLastUsed: &AccessKeyLastUsed{LastUsedDate: start, Region: "eu-west-1", ServiceName: "rds"}},
		Credentials: Credentials{SecretAccessKey: "hunter2", SessionToken: "hunter3"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if target := last.Header.Get("X-Amz-Target"); target != "keyturn.CreateAccessKey" || *body != `{"UserName":"app","PolicyDocuments":["{}"],"DurationSeconds":3600}` {
		t.Errorf("%s %s", target, *body)
	}
}

func TestCredentialsAreRedacted(t *testing.T) {
	out := CreateAccessKeyOutput{Credentials: Credentials{SecretAccessKey: "hunter2", SessionToken: "hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{out, &out, out.Credentials, &out.Credentials} {
			if shown := fmt.Sprintf(verb, v); strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T prints %s", verb, v, shown)
			}
		}
	}
}
