package keyturn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
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
	f := &benchFleet{b: b, server: keyturntest.NewServer(b, func(c *keyturn.Config) {
		c.Dev = true
		c.DriftCheck = -1 // the jump would make the canary logins of all secrets due as well
		c.Functions = map[string]keyturn.Function{idleFunction: func(context.Context, aws.Config, json.RawMessage) (json.RawMessage, error) { return nil, nil }}
	})}
	f.add(dbserver.MariaDB, due)
	f.advance(20 * 24 * time.Hour)
	f.fill(size - due)
	f.openLog()
	before := f.latency(func(done func()) { time.Sleep(3 * time.Second); done() })
	begin := time.Now()
	meanwhile := f.latency(func(done func()) { f.jump(12 * 24 * time.Hour); done() })
	fmt.Fprintf(os.Stdout, "%d secrets, %d due at once: caught up in %.1f s; p99 of GetSecretValue %.2f ms before, %.2f ms meanwhile (%.1f ×)\n",
		size, due, time.Since(begin).Seconds(), before, meanwhile, meanwhile/before)
}

// idleFunction has nothing to do for the secrets that are not due.
const idleFunction = "idle"

// fill makes secrets without values, which rotate every 30 days too.
func (f *benchFleet) fill(n int) {
	client := secretsmanager.NewFromConfig(f.server.AWSConfig())
	_, err := f.server.Lambda.AddPermission(f.b.Context(), &lambda.AddPermissionInput{FunctionName: aws.String(idleFunction), StatementId: aws.String("rotation"),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com")})
	if err != nil {
		f.b.Fatal(err)
	}
	var g sync.WaitGroup
	for first := range benchCrew {
		g.Go(func() {
			for i := first; i < n; i += benchCrew {
				name := fmt.Sprintf("idle/%06d", i)
				_, err := client.CreateSecret(f.b.Context(), &secretsmanager.CreateSecretInput{Name: &name})
				if err == nil {
					err = f.configure(client, name, idleFunction)
				}
				if err != nil {
					f.b.Error(err)
					return
				}
			}
		})
	}
	g.Wait()
}

// configure has a secret rotate every 30 days, and not now.
func (f *benchFleet) configure(client *secretsmanager.Client, name, function string) error {
	_, err := client.RotateSecret(f.b.Context(), &secretsmanager.RotateSecretInput{SecretId: &name, RotateImmediately: aws.Bool(false),
		RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + function),
		RotationRules:     &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
	return err
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
		if err := f.configure(permit.secrets, name, a.function()); err != nil {
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
