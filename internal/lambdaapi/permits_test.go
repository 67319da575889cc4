package lambdaapi_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/lambdaapi"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// What can't be read is no function that does not exist: a rotation would be told
// that it lacks a permission.
func TestPermitsWithoutADatabase(t *testing.T) {
	db, err := sqldb.Open(t.Context(), ":memory:", time.Now, lambdaapi.Schema)
	if err != nil {
		t.Fatal(err)
	}
	s, err := lambdaapi.New(lambdaapi.Config{DB: db, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	permits := func(want bool) {
		t.Helper()
		const function = "arn:aws:lambda:us-east-1:000000000000:function:f"
		ok, err := s.Permits(t.Context(), function, "secretsmanager.amazonaws.com", "arn", "000000000000")
		if ok || (err == nil) != want {
			t.Errorf("got %v, %v", ok, err)
		}
	}
	permits(true)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	permits(false)
}
