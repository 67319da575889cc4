package wire

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/keyturn/keyturn/internal/fault"
)

// What any of the 23 inputs takes, it takes again as the same when it is written
// out; what it does not take is refused in words for the caller.
func FuzzJSONInput(f *testing.F) {
	all := secretsManagerTypes()
	actions := slices.Sorted(maps.Keys(all))
	for i, action := range actions {
		f.Add(uint8(i), recorded(f, filepath.Join(moduleDir(f, "secretsmanager"), "request_snapshot", action+".request.snap")))
	}
	f.Fuzz(func(t *testing.T, action uint8, body string) {
		in := all[actions[int(action)%len(actions)]][0]
		first, second := reflect.New(in).Interface(), reflect.New(in).Interface()
		if err := decodeJSON([]byte(body), first); err != nil {
			if _, shown := errors.AsType[*fault.Fault](err); !shown {
				t.Fatalf("not for callers: %v", err)
			}
			return
		}
		a, err := json11{}.encode(&call{op: &operation{}, spare: new(buffers)}, first)
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeJSON(a.body, second); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%v: %s becomes %s", err, body, a.body)
		}
	})
}

// REST-JSON with all the patterns of Lambda: whatever comes is answered, and a
// name in the path arrives as the client wrote it.
func FuzzREST(f *testing.F) {
	actions := slices.Sorted(maps.Keys(lambdaPatterns))
	lambdaTypes := typesOf(reflect.TypeFor[*lambda.Client]())
	ops, taken := make([]Op, len(actions)), make([]*anyOp, len(actions))
	for i, action := range actions {
		taken[i] = &anyOp{out: &struct{}{}}
		ops[i] = taken[i].op(action, lambdaTypes[action][0]).At(lambdaPatterns[action])
		method, path, _ := strings.Cut(lambdaPatterns[action], " ")
		path, _, _ = strings.Cut(path, "?")
		f.Add(method, path, "Qualifier=$LATEST&Marker=%41&MaxItems=5", `{"StatementId":"s","Payload":1}`)
	}
	h := openHouse(f, lambdaService(ops...))
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || strings.Contains(path, "?") {
			return // net/http would not let it in
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery = method, u.Path, u.RawPath, query
		for _, op := range taken {
			op.in = nil
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 || w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		checkNameArrived(t, taken, u)
	})
}

func checkNameArrived(t *testing.T, ops []*anyOp, u *url.URL) {
	t.Helper()
	for _, op := range ops {
		if op.in == nil {
			continue
		}
		name := reflect.ValueOf(op.in).Elem().FieldByName("FunctionName")
		parts := partsOf(u.EscapedPath())
		if !name.IsValid() || name.IsNil() || len(parts) < 3 {
			continue
		}
		if want, err := url.PathUnescape(parts[2]); err != nil || name.Elem().String() != want {
			t.Fatalf("%s arrives as %q, %v", u, name.Elem().String(), err)
		}
	}
}
