package keyapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/keyapi"
	"github.com/keyturn/keyturn/internal/kmstest"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

var schema = sqldb.Schema{Name: "test", Steps: []string{`
CREATE TABLE sealed (a TEXT, b TEXT, key_id TEXT NOT NULL, wrapped BYTEA, ciphertext BYTEA, PRIMARY KEY (a, b));
CREATE TABLE documents (id TEXT PRIMARY KEY, document TEXT NOT NULL);`}}

// world is a service over two stores, one of each form.
type world struct {
	testing.TB
	*keyapi.Service
	db      *sqldb.DB
	keys    *envelope.Keyring
	keyFile string
	log     bytes.Buffer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldAt(t, ":memory:")
}

func newWorldAt(t testing.TB, database string) *world {
	t.Helper()
	db, err := sqldb.Open(t.Context(), database, time.Now, schema, keyapi.Schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{TB: t, db: db, keyFile: filepath.Join(t.TempDir(), "key")}
	w.reopen()
	return w
}

// reopen reads the key file again, as a new server does.
func (w *world) reopen() {
	w.Helper()
	keys, err := envelope.Open(w.Context(), envelope.Source{Path: w.keyFile, AWS: kmstest.Config})
	if err != nil {
		w.Fatal(err)
	}
	w.keys = keys
	w.restart()
}

func (w *world) restart() {
	w.Service = keyapi.New(keyapi.Config{DB: w.db, Keys: w.keys, Operators: operators, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Stores: []keyapi.Store{
			{Table: "sealed", Key: []string{"a", "b"}, Place: "a || '|' || b"},
			{Table: "documents", Key: []string{"id"}, Place: "'document ' || id", Document: "document"},
		}})
}

func (w *world) seal(place string) envelope.Sealed {
	w.Helper()
	s, err := w.keys.Seal(w.Context(), []byte(place), place)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) storeRow(a, b string, s envelope.Sealed) error {
	return w.db.Write(w.Context(), func(tx *sqldb.Tx) error { return insertRow(w.Context(), tx, a, b, s) })
}

func insertRow(ctx context.Context, tx *sqldb.Tx, a, b string, s envelope.Sealed) error {
	_, err := tx.Exec(ctx, `INSERT INTO sealed (a, b, key_id, wrapped, ciphertext) VALUES ($1, $2, $3, $4, $5)`,
		a, b, s.KeyID, s.Wrapped, s.Ciphertext)
	return err
}

func (w *world) storeDocument(id string, s envelope.Sealed) error {
	return w.db.Write(w.Context(), func(tx *sqldb.Tx) error { return insertDocument(w.Context(), tx, id, &s) })
}

// insertDocument stores nothing sealed for nil.
func insertDocument(ctx context.Context, tx *sqldb.Tx, id string, s *envelope.Sealed) error {
	var text []byte
	if s != nil {
		var err error
		if text, err = json.Marshal(s); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO documents (id, document) VALUES ($1, $2)`, id, string(text))
	return err
}

// fill stores n values in each store, and a row in each that holds none.
func (w *world) fill(n int) {
	w.Helper()
	err := w.db.Write(w.Context(), func(tx *sqldb.Tx) error {
		errs := []error{insertRow(w.Context(), tx, "none", "none", envelope.Sealed{}), insertDocument(w.Context(), tx, "none", nil)}
		for i := range n {
			a, b, document := fmt.Sprint("a", i/7), fmt.Sprint("b", i%7), w.seal(fmt.Sprint("document ", i))
			errs = append(errs, insertRow(w.Context(), tx, a, b, w.seal(a+"|"+b)), insertDocument(w.Context(), tx, fmt.Sprint(i), &document))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		w.Fatal(err)
	}
}

// checkAll opens every value with the keys of the key file alone, and returns
// how many there are.
func (w *world) checkAll() (n int) {
	w.Helper()
	err := w.db.Read(w.Context(), func(tx *sqldb.Tx) error {
		rows, err := tx.Query(w.Context(), `SELECT a || '|' || b, key_id, wrapped, ciphertext, '' FROM sealed WHERE key_id <> ''
			UNION ALL SELECT 'document ' || id, '', '', '', document FROM documents WHERE document <> ''`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for ; rows.Next(); n++ {
			var place, document string
			var s envelope.Sealed
			if err := rows.Scan(&place, &s.KeyID, &s.Wrapped, &s.Ciphertext, &document); err != nil {
				return err
			}
			if document != "" {
				if err := json.Unmarshal([]byte(document), &s); err != nil {
					return err
				}
			}
			if plain, err := w.keys.Open(w.Context(), s, place); err != nil || string(plain) != place {
				return fmt.Errorf("opening %s: %w", place, err)
			}
		}
		return rows.Err()
	})
	if err != nil {
		w.Error(err)
	}
	return n
}

// as is a client that is an administrator of an account.
func (w *world) as(account string) *keyturnapi.Client {
	w.Helper()
	handler, err := wire.NewHandler(wire.Config{
		Services: []wire.Service{{Name: "secretsmanager", TargetPrefix: "keyturn", ActionPrefix: "keyturn", Protocol: wire.JSON11, Ops: w.Ops()}},
		Verify: func(r *http.Request, _ []byte) (iam.Caller, error) {
			return iam.Caller{Principal: iam.Administrator(account), Region: "us-east-1", Service: "secretsmanager"}, nil
		},
		Guard: &iam.Guard{}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.Fatal(err)
	}
	return keyturnapi.New(aws.Config{Region: "us-east-1", BaseEndpoint: aws.String("http://keyturn.internal"),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "x", ""), HTTPClient: wire.InProcess{Handler: handler}})
}

// rotate rotates the default key and returns the material that was the newest.
func (w *world) rotate(in keyturnapi.RotateKeyInput) (old string) {
	w.Helper()
	out, err := w.as(operators).RotateKey(w.Context(), &in)
	if err != nil {
		w.Fatal(err)
	}
	return out.Key.KeyMaterials[1].KeyMaterialID
}

func (w *world) retire(id string) error {
	_, err := w.as(operators).RetireKey(w.Context(), &keyturnapi.RetireKeyInput{KeyMaterialID: id})
	return err
}

// left is how many values the material before the last still holds, as the list
// of keys tells it; -1: it does not.
func (w *world) left() int64 {
	w.Helper()
	out, err := w.as(operators).ListKeys(w.Context(), &keyturnapi.ListKeysInput{})
	if err != nil {
		w.Fatal(err)
	}
	if n := out.Keys[0].KeyMaterials[1].ValuesLeft; n != nil {
		return *n
	}
	return -1
}

// run runs the service until the test or the returned function ends it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
}

const operators = "000000000000"

func TestRotationRewrapsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(1100) // more than one page
		defer w.run()()
		synctest.Wait()
		for range 2 {
			old := w.rotate(keyturnapi.RotateKeyInput{})
			synctest.Wait()
			if n := w.left(); n != 0 {
				t.Errorf("%d values left", n)
			}
			if err := w.retire(old); err != nil {
				t.Error(err)
			}
		}
		w.reopen()
		if n := w.checkAll(); n != 2200 {
			t.Errorf("%d values", n)
		}
	})
}

// Nothing but the rows says what is left, so a service that was stopped anywhere
// goes on where it was.
func TestStoppedRewrapGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(150)
		old := w.rotate(keyturnapi.RotateKeyInput{})
		for n := int64(300); n > 0; n = w.left() { // each time a few values further
			w.restart()
			stop := w.run()
			for w.left() == -1 || w.left() == n {
				runtime.Gosched()
			}
			stop()
		}
		w.restart()
		if err := w.retire(old); err != nil {
			t.Error(err)
		}
		w.reopen()
		w.checkAll()
	})
}

func TestNeededMaterialIsNotRetired(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	old := w.rotate(keyturnapi.RotateKeyInput{})
	if err := w.retire(old); code(err) != "InvalidRequestException" || !strings.Contains(err.Error(), "6 values") {
		t.Errorf("got %v", err)
	}
	w.reopen()
	if n := w.checkAll(); n != 6 {
		t.Errorf("%d values", n)
	}
}

// A value sealed before a rotation may be stored long after it: before the old
// material is retired it is re-wrapped as well, after that it is refused.
func TestLateValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(1)
		late, tooLate, lateDocument := w.seal("late|1"), w.seal("late|2"), w.seal("document late")
		defer w.run()()
		old := w.rotate(keyturnapi.RotateKeyInput{})
		synctest.Wait()
		if err := w.storeRow("late", "1", late); err != nil {
			t.Fatal(err)
		}
		if err := w.retire(old); code(err) != "InvalidRequestException" {
			t.Errorf("retired under a value: %v", err)
		}
		synctest.Wait() // the refusal had it re-wrapped
		if err := w.retire(old); err != nil {
			t.Fatal(err)
		}
		if w.storeRow("late", "2", tooLate) == nil || w.storeDocument("late", lateDocument) == nil {
			t.Error("a value was stored that nothing opens any more")
		}
		if err := w.storeRow("new", "1", w.seal("new|1")); err != nil {
			t.Error(err)
		}
		w.reopen()
		if n := w.checkAll(); n != 4 {
			t.Errorf("%d values", n)
		}
	})
}

// A value that does not open keeps its key, and the others get theirs.
func TestDamagedValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(100)
		if err := w.storeRow("damaged", "1", w.seal("elsewhere")); err != nil {
			t.Fatal(err)
		}
		defer w.run()()
		old := w.rotate(keyturnapi.RotateKeyInput{})
		synctest.Wait()
		if n := w.left(); n != 1 {
			t.Errorf("%d values left, want 1", n)
		}
		if err := w.retire(old); code(err) != "InvalidRequestException" {
			t.Errorf("retired under a value: %v", err)
		}
	})
}

// While AWS KMS does not answer nothing is lost, and when it does the work goes
// on by itself.
func TestOutageOfAWSKMS(t *testing.T) {
	service := kmstest.NewServer(t)
	arn := service.NewKey("us-east-1")
	w := newWorld(t)
	w.fill(3)
	old := w.rotate(keyturnapi.RotateKeyInput{AWSKMSKeyARN: arn})
	service.SetDown(true)
	defer w.run()()
	for calls := service.Calls(); service.Calls() == calls; {
		runtime.Gosched()
	}
	if n := w.left(); n != 6 {
		t.Errorf("%d values left, want 6", n)
	}
	service.SetDown(false)
	for w.left() != 0 {
		runtime.Gosched()
	}
	if err := w.retire(old); err != nil {
		t.Error(err)
	}
	w.reopen()
	if n := w.checkAll(); n != 6 {
		t.Errorf("%d values", n)
	}
	_, err := w.as(operators).RotateKey(t.Context(), &keyturnapi.RotateKeyInput{})
	if code(err) != "InvalidRequestException" {
		t.Errorf("a key in AWS KMS became local without being asked: %v", err)
	}
	w.rotate(keyturnapi.RotateKeyInput{Local: true})
}

func TestRefusals(t *testing.T) {
	service := kmstest.NewServer(t)
	denied := service.NewKey("us-east-1")
	service.Break(denied, "AccessDeniedException")
	w := newWorld(t)
	create := func(account, alias, arn string) error {
		_, err := w.as(account).CreateKey(t.Context(), &keyturnapi.CreateKeyInput{AliasName: alias, AWSKMSKeyARN: arn})
		return err
	}
	if err := create(operators, "alias/payments", ""); err != nil {
		t.Fatal(err)
	}
	list := func(account string) error {
		_, err := w.as(account).ListKeys(t.Context(), &keyturnapi.ListKeysInput{})
		return err
	}
	rotate := func(account, id string) error {
		_, err := w.as(account).RotateKey(t.Context(), &keyturnapi.RotateKeyInput{KeyID: id})
		return err
	}
	const stranger = "111122223333"
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"create, another account": {create(stranger, "x", ""), "AccessDeniedException"},
		"list, another account":   {list(stranger), "AccessDeniedException"},
		"rotate, another account": {rotate(stranger, ""), "AccessDeniedException"},
		"unknown, for a stranger": {rotate(stranger, "nobody"), "AccessDeniedException"},
		"unknown key":             {rotate(operators, "nobody"), "InvalidParameterException"},
		"no alias":                {create(operators, "", ""), "ValidationException"},
		"alias there is":          {create(operators, "payments", ""), "InvalidRequestException"},
		"no access to AWS KMS":    {create(operators, "x", denied), "AccessDeniedException"},
		"no ARN":                  {create(operators, "x", "arn:x"), "InvalidParameterException"},
		"unknown material":        {w.retire("nobody"), "InvalidParameterException"},
	} {
		if code(tc.err) != tc.want {
			t.Errorf("%s: got %v, want %s", name, tc.err, tc.want)
		}
	}
	if err := list(operators); err != nil {
		t.Error(err)
	}
}

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}
