package wire

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
)

func rdsService(ops ...Op) Service { return Service{Name: "rds", Protocol: Query, Ops: ops} }

// Whatever a real client sends arrives member for member, for every operation
// of RDS.
func TestRDSRequestsArrive(t *testing.T) {
	known := typesOf(reflect.TypeFor[*rds.Client]())
	if len(known) < 150 {
		t.Fatalf("%d operations", len(known))
	}
	// A map, which no operation of ours has, and an answer that has a result
	// element without anything in it.
	delete(known, "CreateIntegration")
	delete(known, "DeregisterDBProxyTargets")
	for action, types := range known {
		var op anyOp
		op.out = reflect.New(types[1]).Interface()
		h := newHouse(t, rdsService(op.op(action, types[0])))
		want := filled(types[0])
		// With a source region the SDK signs a URL of its own and sends that.
		source := want.FieldByName("SourceRegion")
		if source.IsValid() {
			source.SetZero()
		}
		if _, err := invoke(rds.NewFromConfig(h.config(admin())), action, want); err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		checkSame(t, action, op.in, want.Addr().Interface())
	}
}

// Rich answers arrive at a real client member for member.
func TestRDSAnswersArrive(t *testing.T) {
	for action, types := range typesOf(reflect.TypeFor[*rds.Client]()) {
		switch action {
		case "CreateDBCluster", "DescribeDBClusters", "ModifyDBCluster", "DeleteDBCluster",
			"CreateDBInstance", "DescribeDBInstances", "DeleteDBInstance", "ModifyDBInstance":
		default:
			continue
		}
		out := filled(types[1]).Addr().Interface()
		h := newHouse(t, rdsService((&anyOp{out: out}).op(action, types[0])))
		got, err := invoke(rds.NewFromConfig(h.config(admin())), action, filled(types[0]))
		if err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		checkSame(t, action, got, out)
	}
}

func TestRDSErrorsAreTyped(t *testing.T) {
	notFound := fault.Kind{Code: "DBInstanceNotFound", Status: 404}
	ran := func(context.Context, *rds.DescribeDBInstancesInput) (*rds.DescribeDBInstancesOutput, error) {
		return nil, notFound.Errorf("DBInstance db1 not found.")
	}
	h := newHouse(t, rdsService(On("DescribeDBInstances", anything[rds.DescribeDBInstancesInput], ran)))
	_, err := rds.NewFromConfig(h.config(admin())).DescribeDBInstances(context.Background(), &rds.DescribeDBInstancesInput{})
	if typed, ok := errors.AsType[*types.DBInstanceNotFoundFault](err); !ok || typed.ErrorMessage() != "DBInstance db1 not found." {
		t.Errorf("got %v", err)
	}
	_, err = rds.NewFromConfig(h.config(iam.Principal{ARN: "arn:bob"})).DescribeDBInstances(context.Background(), &rds.DescribeDBInstancesInput{})
	checkCode(t, err, "AccessDenied", "rds:DescribeDBInstances on resource: *")
	_, err = rds.NewFromConfig(h.config(admin())).DescribeDBClusters(context.Background(), &rds.DescribeDBClustersInput{})
	checkCode(t, err, "InvalidAction", "Could not find operation DescribeDBClusters for version 2014-10-31")
}

func TestQueryLists(t *testing.T) {
	for _, tc := range []struct{ name, form, want string }{
		{"Member", "List.member.1=a&List.member.2=b", "ab"},
		{"Element", "List.Text.2=b&List.Text.1=a", "ab"},
		{"Flat", "List.1=a&List.2=b", "ab"},
		{"Gaps", "List.member.7=b&List.member.3=a&List.member.999999999=c", "abc"},
		{"TenAfterNine", "List.member.10=b&List.member.9=a", "ab"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			form, err := url.ParseQuery(tc.form)
			if err != nil {
				t.Fatal(err)
			}
			var in note
			if err := decodeForm(form, &in); err != nil || strings.Join(in.List, "") != tc.want {
				t.Errorf("got %v, %v", in.List, err)
			}
		})
	}
	var in note
	if err := decodeForm(url.Values{"List": {""}}, &in); err != nil || in.List == nil || len(in.List) != 0 {
		t.Errorf("an empty list is %#v, %v", in.List, err)
	}
}

func TestQueryRequests(t *testing.T) {
	h := openHouse(t, rdsService(echo("Echo"), On("Count", anything[rds.CreateDBClusterInput],
		func(context.Context, *rds.CreateDBClusterInput) (*struct{}, error) { return nil, nil })))
	const version = "&Version=2014-10-31"
	for _, tc := range []struct {
		name, method, target, body string
		status                     int
		parts                      []string
	}{
		{"Post", "POST", "/", "Action=Echo&Text=a%3Cb&Flag=false" + version, 200, []string{
			`<EchoResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><EchoResult><Text>a&lt;b</Text><Flag>false</Flag></EchoResult><ResponseMetadata><RequestId>`}},
		{"Get", "GET", "/?Action=Echo&Text=a" + version, "", 200, []string{"<EchoResult><Text>a</Text></EchoResult>"}},
		{"Time", "POST", "/", "Action=Echo&When=2026-03-04T05:06:07.8Z" + version, 200, []string{"<When>2026-03-04T05:06:07.800Z</When>"}},
		{"List", "POST", "/", "Action=Echo&List=" + version, 200, []string{"<EchoResult><List></List></EchoResult>"}},
		{"NoMembers", "POST", "/", "Action=Count" + version, 200, []string{`/"><ResponseMetadata>`}},
		{"UnknownParameter", "POST", "/", "Action=Echo&Stray.member.1=x" + version, 200, []string{"<EchoResult></EchoResult>"}},
		{"UnknownAction", "POST", "/", "Action=Nope" + version, 400, []string{
			"<ErrorResponse", "<Type>Sender</Type><Code>InvalidAction</Code><Message>Could not find operation Nope for version 2014-10-31</Message>"}},
		{"OtherVersion", "POST", "/", "Action=Echo&Version=2010-01-01", 400, []string{"InvalidAction", "for version 2010-01-01"}},
		{"NoAction", "POST", "/", "Version=2014-10-31", 400, []string{"MissingAction"}},
		{"BadEscape", "POST", "/", "Action=%zz", 400, []string{"MalformedQueryString"}},
		{"Twice", "POST", "/", "Action=Echo&Text=a&Text=b" + version, 400, []string{"MalformedQueryString"}},
		{"Bool", "POST", "/", "Action=Echo&Flag=hunter2" + version, 400, []string{"MalformedInput", "Flag is not a valid boolean"}},
		{"Int", "POST", "/", "Action=Count&Port=hunter2" + version, 400, []string{"Port is not a valid integer"}},
		{"Deep", "POST", "/", "Action=Count&Tags.Tag.1.Key.x=hunter2" + version, 400, []string{"Tags.member.Key must be a single value"}},
		{"NoList", "POST", "/", "Action=Echo&List.x.y=hunter2" + version, 400, []string{"List must be a list"}},
		{"TooDeep", "POST", "/", "Action=Echo&" + strings.Repeat("a.", 50) + "=1" + version, 400, []string{"too many parts"}},
		{"Method", "PUT", "/", "Action=Echo" + version, 400, []string{"UnsupportedHttpVerb"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := h.send(tc.method, tc.target, tc.body, formHeader)
			checkAnswer(t, w, tc.status, tc.parts...)
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("the value is shown: %s", w.Body)
			}
			checkXML(t, w)
		})
	}
}

func checkXML(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	var ignored struct{}
	if err := xml.Unmarshal(w.Body.Bytes(), &ignored); err != nil || w.Header().Get("Content-Type") != "text/xml" {
		t.Errorf("%v: %s", err, w.Body)
	}
}

// The Query protocol has its own words for what JSON calls …Exception.
func TestQueryRenamesFrontEndFailures(t *testing.T) {
	for kind, want := range map[fault.Kind]fault.Kind{
		iam.ErrMissingAuthenticationToken: {Code: "MissingAuthenticationToken", Status: 403},
		iam.ErrIncompleteSignature:        {Code: "IncompleteSignature", Status: 400},
		iam.ErrUnrecognizedClient:         {Code: "InvalidClientTokenId", Status: 403},
		iam.ErrInvalidSignature:           {Code: "SignatureDoesNotMatch", Status: 403},
		iam.ErrAccessDenied:               {Code: "AccessDenied", Status: 403},
		fault.Internal:                    {Code: "InternalFailure", Status: 500},
	} {
		a := query{}.refuse(&service{}, &fault.Fault{Kind: kind, Message: "m"}, "id")
		if a.status != want.Status || !strings.Contains(string(a.body), "<Code>"+want.Code+"</Code>") {
			t.Errorf("%s: %d %s", kind.Code, a.status, a.body)
		}
	}
}

func TestQueryUnsigned(t *testing.T) {
	h := newHouse(t, rdsService(echo("Echo")))
	w := h.send("POST", "/", "Action=Echo&Version=2014-10-31", formHeader)
	checkAnswer(t, w, 403, "<Code>MissingAuthenticationToken</Code>")
}

func FuzzQuery(f *testing.F) {
	for _, action := range []string{"CreateDBCluster", "CreateDBInstance", "DescribeDBClusters"} {
		body := recorded(f, filepath.Join(moduleDir(f, "rds"), "request_snapshot", action+".request.snap"))
		f.Add(body)
	}
	h := openHouse(f, rdsService(
		answering[rds.CreateDBClusterInput]("CreateDBCluster", &struct{}{}),
		answering[rds.CreateDBInstanceInput]("CreateDBInstance", &struct{}{}),
		answering[rds.DescribeDBClustersInput]("DescribeDBClusters", &rds.DescribeDBClustersOutput{Marker: aws.String("m")}),
	))
	f.Fuzz(func(t *testing.T, body string) {
		w := h.send("POST", "/", body, formHeader)
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		var ignored struct{}
		if err := xml.Unmarshal(w.Body.Bytes(), &ignored); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
	})
}
