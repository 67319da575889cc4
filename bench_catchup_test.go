package keyturn_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// BenchmarkCatchUp measures what a caller of GetSecretValue notices while a
// server of many secrets that rotate every 30 days catches up with those that
// are due at once, at one MariaDB server and with the usual ceiling. The clients
// are in the same process, and ask 200 times a second.
//
// KEYTURN_BENCH_FLEET is how many secrets there are (100000), KEYTURN_BENCH_DUE
// how many of them are due (1000).
func BenchmarkCatchUp(b *testing.B) {
	if b.N > 1 {
		b.Skip("run it with -benchtime 1x: it catches up once")
	}
	size, due := times(b, "KEYTURN_BENCH_FLEET", 100_000), times(b, "KEYTURN_BENCH_DUE", 1000)
	data := filepath.Join(dbtest.Dir(b), "data")
	fillFleet(b, data, size-due)
	f := &benchFleet{b: b, server: keyturntest.NewServer(b, func(c *keyturn.Config) { c.Data, c.Dev = data, true })}
	f.add(dbserver.MariaDB, due)
	f.openLog()
	before := f.latency(func(done func()) { time.Sleep(3 * time.Second); done() })
	begin := time.Now()
	meanwhile := f.latency(func(done func()) { f.jump(31 * 24 * time.Hour); done() })
	fmt.Fprintf(os.Stdout, "%d secrets, %d due at once: caught up in %.1f s; p99 of GetSecretValue %.2f ms before, %.2f ms meanwhile (%.1f ×)\n",
		size, due, time.Since(begin).Seconds(), before, meanwhile, meanwhile/before)
}

// fillFleet writes secrets without values, whose rotation is due in 50 days.
func fillFleet(b *testing.B, data string, n int) {
	server, err := keyturn.Open(b.Context(), keyturn.Config{Data: data})
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Close(); err != nil {
		b.Fatal(err)
	}
	later := func() time.Time { return time.Now().Add(20 * 24 * time.Hour) }
	db, err := sqldb.Open(b.Context(), filepath.Join(data, "keyturn.db"), later, secret.Schema, scheduler.Schema)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	vault := secret.NewVault(db, nil)
	sched := scheduler.New(scheduler.Config{DB: db, Vault: vault, Now: later})
	at := secret.Place{Account: keyturn.DefaultAccount, Region: keyturn.DefaultRegion}
	const batch = 1000
	for i := 0; i < n; i += batch {
		err := db.Write(b.Context(), func(tx *sqldb.Tx) error {
			for k := i; k < min(n, i+batch); k++ {
				if err := addIdle(b.Context(), tx, vault, sched, at, fmt.Sprintf("idle/%06d", k)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func addIdle(ctx context.Context, tx *sqldb.Tx, vault *secret.Vault, sched *scheduler.Scheduler, at secret.Place, name string) error {
	arn := secret.NewARN(at, name)
	if _, err := vault.Create(ctx, tx, secret.New{ARN: arn, Name: name}, nil); err != nil {
		return err
	}
	return sched.Configure(ctx, tx, arn, scheduler.Settings{Function: "arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql", Rule: &scheduler.Rule{Days: 30}})
}

// add makes secrets that are due in 30 days, each for an account of its own.
func (f *benchFleet) add(p dbserver.Product, n int) {
	permit := newWorld(f.b, f.server.AWSConfig(), newAccount(f.b, p, rotation.StrategyDualPassword))
	for range n {
		a := newAccount(f.b, p, rotation.StrategyDualPassword)
		name := "app/" + a.user
		_, err := permit.secrets.CreateSecret(f.b.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &a.value})
		if err != nil {
			f.b.Fatal(err)
		}
		_, err = permit.secrets.RotateSecret(f.b.Context(), &secretsmanager.RotateSecretInput{SecretId: &name, RotateImmediately: aws.Bool(false),
			RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + a.function()),
			RotationRules:     &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
		if err != nil {
			f.b.Fatal(err)
		}
		f.secrets = append(f.secrets, name)
	}
}

// latency returns the 99th percentile, in milliseconds, of the reads while do
// runs, which says when it is done.
func (f *benchFleet) latency(do func(done func())) float64 {
	ctx, done := context.WithCancel(f.b.Context())
	var g sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	for range 4 {
		g.Go(func() {
			for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				begin := time.Now()
				_, err := f.server.SecretsManager.GetSecretValue(f.b.Context(), &secretsmanager.GetSecretValueInput{SecretId: &f.secrets[0]})
				if err != nil {
					f.b.Error(err)
					return
				}
				mu.Lock()
				all = append(all, time.Since(begin))
				mu.Unlock()
			}
		})
	}
	do(done)
	g.Wait()
	slices.Sort(all)
	return float64(all[len(all)*99/100]) / float64(time.Millisecond)
}
