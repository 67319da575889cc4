package keyturn_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/kmstest"
	"github.com/keyturn/keyturn/keyturnapi"
)

// running is a server with its background work, in this process.
type running struct {
	*keyturn.Server
	secrets *secretsmanager.Client
	keys    *keyturnapi.Client
	stop    func()
}

func runServer(t *testing.T, c keyturn.Config) *running {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	server, err := keyturn.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) { // it may not have begun yet
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	cfg := server.AWSConfig()
	return &running{Server: server, secrets: secretsmanager.NewFromConfig(cfg), keys: keyturnapi.New(cfg), stop: stop}
}

// rewrapped waits until nothing needs the older materials of any key, and
// returns these.
func rewrapped(t testing.TB, keys *keyturnapi.Client) (old []string) {
	t.Helper()
	for {
		out, err := keys.ListKeys(t.Context(), &keyturnapi.ListKeysInput{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(out.Keys, func(k keyturnapi.Key) bool { return !k.Rewrapped() }) {
			for _, k := range out.Keys {
				for _, m := range k.KeyMaterials[1:] {
					old = append(old, m.KeyMaterialID)
				}
			}
			return old
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func create(t testing.TB, client *secretsmanager.Client, name, value, keyID string) error {
	t.Helper()
	in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}
	if keyID != "" {
		in.KmsKeyId = &keyID
	}
	_, err := client.CreateSecret(t.Context(), in)
	return err
}

func value(t testing.TB, client *secretsmanager.Client, name string) (string, error) {
	t.Helper()
	out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return "", err
	}
	return *out.SecretString, nil
}

// everySecret stores something of every sort that is sealed, and returns the
// plaintexts.
func everySecret(t *testing.T, s *running) (plaintexts []string) {
	t.Helper()
	const text, binary, password = "Correct.Horse_Battery_Staple", "binary horse battery staple", "Master.Horse_Battery_1"
	_, err := s.keys.CreateKey(t.Context(), &keyturnapi.CreateKeyInput{AliasName: "payments"})
	errs := []error{err, create(t, s.secrets, "default", text+" default", ""), create(t, s.secrets, "pay", text+" payments", "alias/payments")}
	for i := range 3 {
		_, err := s.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("pay"), SecretBinary: fmt.Append(nil, binary, i)})
		errs = append(errs, err)
	}
	key, err := s.keys.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "app"})
	errs = append(errs, err)
	_, err = rds.NewFromConfig(s.AWSConfig()).CreateDBCluster(t.Context(), &rds.CreateDBClusterInput{DBClusterIdentifier: aws.String("c"),
		Engine: aws.String("aurora-mysql"), MasterUsername: aws.String("admin"), MasterUserPassword: aws.String(password)})
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	credentials, err := os.ReadFile(s.CredentialsFile())
	if err != nil {
		t.Fatal(err)
	}
	return []string{text, binary, password, key.Credentials.SecretAccessKey, strings.Fields(string(credentials))[6]}
}

// checkNowhere looks for what must not lie in the clear into every file of a data
// folder but the key file and the credentials.
func checkNowhere(t *testing.T, s *running, dir string, plaintexts []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == s.CredentialsFile() || d.Name() == "root.key" {
			return err
		}
		content, err := os.ReadFile(path)
		for i, plain := range plaintexts {
			for _, form := range forms(plain) {
				if bytes.Contains(content, form) {
					t.Errorf("%s holds plaintext %d in the clear", path, i)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forms are a text as it is, and what base64 makes of it wherever it begins.
func forms(plain string) [][]byte {
	all := [][]byte{[]byte(plain)}
	for shift := range 3 {
		coded := base64.StdEncoding.EncodeToString(append(make([]byte, shift), plain...))
		all = append(all, []byte(coded[(shift*8+5)/6:len(coded)-4])) // without what neighbours change
	}
	return all
}

// keyMaterial is the secrets of a key file, as they stand there and as bytes.
func keyMaterial(t *testing.T, path string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		raw, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fields[len(fields)-1], string(raw))
	}
	return all
}

// A backup of the database gives nothing away; rotations re-wrap everything that
// is sealed; and retired material is nowhere needed and nowhere left.
func TestNothingLiesInTheClear(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := runServer(t, keyturn.Config{Data: dir})
	plaintexts := everySecret(t, s)
	keyFile := filepath.Join(dir, "root.key")
	first := keyMaterial(t, keyFile)
	checkNowhere(t, s, dir, slices.Concat(plaintexts, first)) // the write-ahead log included
	for _, id := range []string{"", "alias/payments"} {
		if _, err := s.keys.RotateKey(t.Context(), &keyturnapi.RotateKeyInput{KeyID: id}); err != nil {
			t.Fatal(err)
		}
	}
	old := rewrapped(t, s.keys)
	if len(old) != 2 {
		t.Errorf("%d old materials, want 2", len(old))
	}
	s.stop()
	checkUnnamed(t, dir, old)
	s = runServer(t, keyturn.Config{Data: dir})
	for _, id := range old {
		if _, err := s.keys.RetireKey(t.Context(), &keyturnapi.RetireKeyInput{KeyMaterialID: id}); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	text, err := os.ReadFile(keyFile)
	if err != nil || strings.Contains(string(text), first[0]) {
		t.Errorf("retired material is still there: %v", err)
	}
	s = runServer(t, keyturn.Config{Data: dir})
	for name, want := range map[string]string{"default": plaintexts[0] + " default"} {
		if got, err := value(t, s.secrets, name); err != nil || got != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	out, err := s.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("pay")})
	if err != nil || string(out.SecretBinary) != plaintexts[1]+"2" {
		t.Errorf("pay: %v", err)
	}
	s.stop()
	checkNowhere(t, s, dir, slices.Concat(plaintexts, first, keyMaterial(t, keyFile)))
}

// checkUnnamed looks for the ids of old key material into every column of every
// table but that of what the key file has: where one stands, something was not
// re-wrapped.
func checkUnnamed(t *testing.T, dir string, ids []string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "keyturn.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name <> 'key_materials'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns := map[string]string{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		columns[table+"."+column] = fmt.Sprintf(`SELECT COUNT(*) FROM %q WHERE instr(CAST(%q AS BLOB), CAST($1 AS BLOB)) > 0`, table, column)
	}
	if err := rows.Err(); err != nil || len(columns) < 20 {
		t.Fatalf("%d columns: %v", len(columns), err)
	}
	for column, query := range columns {
		for _, id := range ids {
			var n int
			if err := db.QueryRowContext(t.Context(), query, id).Scan(&n); err != nil || n > 0 {
				t.Errorf("%d rows name old key material in %s: %v", n, column, err)
			}
		}
	}
}

// While keys are rotated no read and no write fails, a server that is killed in
// the middle goes on after its restart, and in the end nothing needs any of the
// old material.
func TestKeysRotateUnderLoad(t *testing.T) {
	const secrets = 600
	p := newProcess(t, build(t))
	p.start()
	client, keys := secretsmanager.NewFromConfig(p.clients()), keyturnapi.New(p.clients())
	fill(t, client, secrets)
	for range 3 {
		var failed atomic.Pointer[error]
		ctx, stop := context.WithCancel(t.Context())
		load := readAndWrite(ctx, client, secrets, &failed)
		if _, err := keys.RotateKey(t.Context(), &keyturnapi.RotateKeyInput{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		if err := failed.Load(); err != nil {
			t.Errorf("during a rotation: %v", *err)
		}
		p.kill()
		stop()
		load()
		p.start()
	}
	load, stop := context.WithCancel(t.Context())
	var failed atomic.Pointer[error]
	wait := readAndWrite(load, client, secrets, &failed)
	for _, id := range rewrapped(t, keys) {
		if _, err := keys.RetireKey(t.Context(), &keyturnapi.RetireKeyInput{KeyMaterialID: id}); err != nil {
			t.Error(err)
		}
	}
	stop()
	wait()
	if err := failed.Load(); err != nil {
		t.Errorf("while re-wrapping and retiring: %v", *err)
	}
	p.kill()
	p.start()
	for i := range secrets {
		if got, err := value(t, client, fmt.Sprint("s/", i)); err != nil || got != fmt.Sprint("value ", i) {
			t.Fatalf("secret %d: %v", i, err)
		}
	}
	out, err := keys.ListKeys(t.Context(), &keyturnapi.ListKeysInput{})
	if err != nil || len(out.Keys[0].KeyMaterials) != 1 {
		t.Errorf("%+v: %v", out, err)
	}
}

func fill(t *testing.T, client *secretsmanager.Client, n int) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error { return create(t, client, fmt.Sprint("s/", i), fmt.Sprint("value ", i), "") })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// readAndWrite reads secrets and stores their values again until ctx ends or
// something fails; wait returns when that is so.
func readAndWrite(ctx context.Context, client *secretsmanager.Client, secrets int, failed *atomic.Pointer[error]) (wait func()) {
	var g sync.WaitGroup
	step := func(writes bool) error {
		i := rand.IntN(secrets)
		name, value := fmt.Sprint("s/", i), fmt.Sprint("value ", i)
		if writes {
			_, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &value})
			return err
		}
		out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
		if err == nil && *out.SecretString != value {
			return fmt.Errorf("%s has the value of another", name)
		}
		return err
	}
	for i := range 4 {
		g.Go(func() {
			for ctx.Err() == nil {
				if err := step(i == 0); err != nil {
					if ctx.Err() == nil {
						failed.CompareAndSwap(nil, &err)
					}
					return
				}
			}
		})
	}
	return g.Wait
}

// A secret's KmsKeyId may be a key in AWS KMS. What was read keeps being read
// while AWS KMS is down.
func TestSecretsUnderAWSKMS(t *testing.T) {
	service := kmstest.NewServer(t)
	arn := service.NewKey("eu-west-1")
	dir := filepath.Join(t.TempDir(), "data")
	s := runServer(t, keyturn.Config{Data: dir})
	_, err := s.keys.CreateKey(t.Context(), &keyturnapi.CreateKeyInput{AliasName: "remote", AWSKMSKeyARN: arn})
	if err := errors.Join(err, create(t, s.secrets, "direct", "a", arn), create(t, s.secrets, "alias", "b", "alias/remote")); err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		if got, err := value(t, s.secrets, "direct"); err != nil || got != "a" {
			t.Fatal(err)
		}
	}
	read() // the first read of a day is noted later, which takes the value out of the cache
	s.stop()
	s = runServer(t, keyturn.Config{Data: dir})
	read()
	service.SetDown(true)
	if got, err := value(t, s.secrets, "direct"); err != nil || got != "a" {
		t.Errorf("during an outage, in the cache: %v", err)
	}
	_, err = value(t, s.secrets, "alias")
	checkCode(t, "during an outage, not in the cache", err, "InternalServiceError")
	service.SetDown(false)
	service.Break(arn, "AccessDeniedException")
	_, err = value(t, s.secrets, "alias")
	checkCode(t, "read without access", err, "AccessDeniedException")
	checkCode(t, "write without access", create(t, s.secrets, "x", "x", arn), "AccessDeniedException")
	service.Break(arn, "DisabledException")
	_, err = value(t, s.secrets, "alias")
	checkCode(t, "read under a disabled key", err, "DecryptionFailure")
	checkCode(t, "write under a disabled key", create(t, s.secrets, "x", "x", arn), "EncryptionFailure")
	service.Break(arn, "")
	if got, err := value(t, s.secrets, "alias"); err != nil || got != "b" {
		t.Error(err)
	}
	checkCode(t, "unknown alias", create(t, s.secrets, "x", "x", "alias/nobody"), "InvalidParameterException")
	checkCode(t, "unknown key", create(t, s.secrets, "x", "x", arn+"x"), "InvalidParameterException")
}

// A replica is promoted when nothing of its primary can be opened, as it is.
func TestPromotionWithoutThePrimarysKey(t *testing.T) {
	service := kmstest.NewServer(t)
	here, there := service.NewKey("us-east-1"), service.NewKey("eu-west-1")
	s := runServer(t, keyturn.Config{Data: keyturn.InMemory, Keys: keyturn.Keys{File: filepath.Join(t.TempDir(), "key")}})
	_, err := s.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("one"), KmsKeyId: &here,
		AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-west-1"), KmsKeyId: &there}}})
	if err != nil {
		t.Fatal(err)
	}
	replica := secretsmanager.NewFromConfig(s.AWSConfig(), func(o *secretsmanager.Options) { o.Region = "eu-west-1" })
	for _, err := value(t, replica, "s"); err != nil; _, err = value(t, replica, "s") {
		time.Sleep(5 * time.Millisecond)
	}
	service.Break(there, "DisabledException") // so the next value waits for being copied
	if _, err := s.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String("two")}); err != nil {
		t.Fatal(err)
	}
	service.Break(here, "DisabledException")
	service.Break(there, "")
	if _, err := replica.StopReplicationToReplica(t.Context(), &secretsmanager.StopReplicationToReplicaInput{SecretId: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	if got, err := value(t, replica, "s"); err != nil || got != "one" {
		t.Errorf("the promoted secret: %v", err)
	}
	service.Break(here, "")
	if got, err := value(t, s.secrets, "s"); err != nil || got != "two" {
		t.Errorf("the former primary: %v", err)
	}
}

func checkCode(t *testing.T, what string, err error, want string) {
	t.Helper()
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != want {
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

// The key file may be elsewhere, wrapped, given as text, or without any secret
// because the default key is in AWS KMS.
func TestKeySources(t *testing.T) {
	service := kmstest.NewServer(t)
	data, file := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "my.key")
	s := runServer(t, keyturn.Config{Data: data, Keys: keyturn.Keys{File: file, AWSKMSKey: service.NewKey("us-east-1")}})
	if err := create(t, s.secrets, "s", "x", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, "root.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a second key file: %v", err)
	}
	s.stop()
	text, err := os.ReadFile(file)
	if err != nil || !bytes.HasSuffix(text, []byte(" aws-kms\n")) {
		t.Fatalf("the key file is not that of a key in AWS KMS: %v", err)
	}
	s = runServer(t, keyturn.Config{Data: data, Keys: keyturn.Keys{Content: string(text), From: "a test"}})
	if got, err := value(t, s.secrets, "s"); err != nil || got != "x" {
		t.Error(err)
	}
	_, err = s.keys.RotateKey(t.Context(), &keyturnapi.RotateKeyInput{Local: true})
	checkCode(t, "rotating keys that were given", err, "InvalidRequestException")
	if !strings.Contains(err.Error(), "it comes from a test") {
		t.Errorf("no way out: %v", err)
	}
	s.stop()
	s = runServer(t, keyturn.Config{Data: data, Keys: keyturn.Keys{File: file}})
	if _, err := s.keys.RotateKey(t.Context(), &keyturnapi.RotateKeyInput{Local: true}); err != nil {
		t.Fatal(err)
	}
	rewrapped(t, s.keys)
	service.SetDown(true)
	if got, err := value(t, s.secrets, "s"); err != nil || got != "x" {
		t.Errorf("after leaving AWS KMS: %v", err)
	}
}

// A server that lost its power between writing the key file and using it opens
// with the new material, and re-wraps what the old one sealed.
func TestCrashAfterTheKeyFileWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := runServer(t, keyturn.Config{Data: dir})
	if err := create(t, s.secrets, "s", "x", ""); err != nil {
		t.Fatal(err)
	}
	s.stop()
	keyFile := filepath.Join(dir, "root.key")
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text)) // keyturn-key-2 KEY - MATERIAL CREATED BASE64
	fields[3], fields[5] = "0123456789abcdef", base64.StdEncoding.EncodeToString(make([]byte, 32))
	if err := os.WriteFile(keyFile, append(text, strings.Join(fields, " ")+"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s = runServer(t, keyturn.Config{Data: dir})
	old := rewrapped(t, s.keys)
	s.stop()
	checkUnnamed(t, dir, old)
	s = runServer(t, keyturn.Config{Data: dir})
	if got, err := value(t, s.secrets, "s"); err != nil || got != "x" {
		t.Error(err)
	}
}
