package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// What a value holds stays as it is, byte by byte, and what is added is there.
func FuzzWithMembers(f *testing.F) {
	for _, object := range []string{"{}", "{ }\n", `{"a": 1.50}`, "{\n \"a\": \"}\",\n \"b\": {}\n}\n", `{"a":null , "é":[1]}`} {
		f.Add(object, "host", "db.example.com")
	}
	f.Fuzz(func(t *testing.T, object, key, value string) {
		var before, after map[string]any
		if json.Unmarshal([]byte(object), &before) != nil || before == nil || before[key] != nil || !utf8.ValidString(key) {
			return // a key that is no UTF-8 is written as another one
		}
		text := withMembers(object, []member{{key, quoted(value)}, {"port", "3306"}})
		if err := json.Unmarshal([]byte(text), &after); err != nil {
			t.Fatalf("%q became %q: %v", object, text, err)
		}
		if kept := strings.TrimRight(object[:strings.LastIndexByte(object, '}')], " \t\r\n"); !strings.HasPrefix(text, kept) {
			t.Errorf("%q became %q", object, text)
		}
		for k, v := range before {
			if k != "port" && k != key && !reflect.DeepEqual(after[k], v) {
				t.Errorf("the member %q of %q was changed", k, object)
			}
		}
		if after["port"] != 3306.0 {
			t.Errorf("port of %q is %v", text, after["port"])
		}
	})
}

func TestEvery(t *testing.T) {
	for _, tc := range []struct {
		every, schedule, want string
	}{
		{"30d", "", "every 30 days"},
		{"12h", "", "rate(12 hours)"},
		{"", "rate(3 days)", "rate(3 days)"},
		{"0d", "", ""}, {"d", "", ""}, {"5", "", ""}, {"-1h", "", ""}, {"1w", "", ""}, {"1d", "rate(1 day)", ""},
	} {
		rules, err := rulesOf(adoptFlags{every: tc.every, schedule: tc.schedule})
		on := true
		if got := ruleText(&on, rules); (err == nil) != (tc.want != "") || err == nil && !strings.Contains(got, tc.want) {
			t.Errorf("--every %q --schedule %q: %q, %v", tc.every, tc.schedule, got, err)
		}
	}
}

// A database that is being made has no endpoint yet.
func TestNoEndpointYet(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := "<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances><DBInstance><Engine>mysql</Engine></DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>"
		if r.FormValue("Action") == "DescribeDBClusters" {
			answer = "<DescribeDBClustersResponse><DescribeDBClustersResult><DBClusters><DBCluster><Engine>aurora-mysql</Engine></DBCluster></DBClusters></DescribeDBClustersResult></DescribeDBClustersResponse>"
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer front.Close()
	ad := &adopter{cfg: aws.Config{Region: "us-east-1", BaseEndpoint: &front.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}}
	for _, key := range []string{"dbClusterIdentifier", "dbInstanceIdentifier"} {
		added, err := ad.fromRDS(t.Context(), map[string]any{key: "x"})
		if err == nil || !strings.HasSuffix(err.Error(), "x has no endpoint yet") || exitCode(err) != exitPreflight {
			t.Errorf("%s: got %v, %v", key, added, err)
		}
	}
}
