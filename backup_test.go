package keyturn_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// A copy that SQLite makes while values are written is one moment of the database,
// after every write that was acknowledged before. With it and the key file another
// server begins.
func TestBackupOfARunningServer(t *testing.T) {
	s := keyturntest.NewServer(t)
	data, backup := filepath.Dir(s.CredentialsFile()), t.TempDir()
	counter := countInto(t, s.SecretsManager)
	counter.reach(50)
	before := counter.done.Load()
	vacuumInto(t, filepath.Join(data, "keyturn.db"), filepath.Join(backup, "keyturn.db"))
	counter.reach(before + 50)
	counter.stop()

	key, err := os.ReadFile(filepath.Join(data, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(backup, "root.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	restored := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = backup })
	values := countedValues(t, restored.SecretsManager)
	var last int64
	for _, v := range values {
		last = max(last, v)
	}
	for i, v := range values {
		if want := last - (last-int64(i)+countedSecrets)%countedSecrets; v != want {
			t.Errorf("secret %d has the value %d beside %d, want %d", i, v, last, want)
		}
	}
	if last < before {
		t.Errorf("the copy ends with value %d, %d was acknowledged before", last, before)
	}
}

// countedSecrets take the numbers from 0 on in turns.
const countedSecrets = 10

type counting struct {
	t    *testing.T
	done atomic.Int64 // the number that was acknowledged last
	stop func()
}

func countInto(t *testing.T, client *secretsmanager.Client) *counting {
	t.Helper()
	for i := range countedSecrets {
		if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: countedName(i), SecretString: aws.String(strconv.Itoa(i))}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var crew sync.WaitGroup
	c := &counting{t: t, stop: func() { cancel(); crew.Wait() }}
	c.done.Store(countedSecrets - 1)
	crew.Go(func() {
		for n := c.done.Load() + 1; ctx.Err() == nil; n++ {
			_, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: countedName(int(n % countedSecrets)), SecretString: aws.String(strconv.FormatInt(n, 10))})
			if err != nil {
				t.Error(err)
				return
			}
			c.done.Store(n)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// reach waits until a number was acknowledged.
func (c *counting) reach(n int64) {
	for c.done.Load() < n && !c.t.Failed() {
		time.Sleep(time.Millisecond)
	}
}

func countedName(i int) *string { return aws.String(fmt.Sprintf("counted/%d", i)) }

func countedValues(t *testing.T, client *secretsmanager.Client) (all [countedSecrets]int64) {
	t.Helper()
	for i := range all {
		out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: countedName(i)})
		if err != nil {
			t.Fatal(err)
		}
		if all[i], err = strconv.ParseInt(*out.SecretString, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// vacuumInto copies a database as docs/encryption.md says, in another process.
func vacuumInto(t *testing.T, database, file string) {
	t.Helper()
	script := "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', (sys.argv[2],))"
	if out, err := exec.CommandContext(t.Context(), "python3", "-c", script, database, file).CombinedOutput(); err != nil {
		t.Fatalf("copying the database: %v\n%s", err, out)
	}
}
