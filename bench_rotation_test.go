package keyturn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// benchCrew is how many rotations are at work at a time.
const benchCrew = 16

// BenchmarkRotations measures whole rotations, all four steps with a login by
// the new password and every state on disk, 16 at a time, beside what the
// database alone can do: the statements of one rotation on connections that stay
// open, and one new login. On MySQL both end the old password too. The accounts
// change their passwords themselves, and then an administrator does (masterarn).
// Between them stands the engine: the connections and statements of a rotation by the
// account itself, with nothing of Secrets Manager around them.
//
// Keyturn, the driver and the yardstick's clients are one process; its CPU time
// and that of the database server are told for each rotation. On a machine that
// others use, trust these rather than the rates. KEYTURN_BENCH_ROTATIONS is how
// many rotations of each sort are made (400), KEYTURN_BENCH_ONLY a regular
// expression that a database's name must match.
func BenchmarkRotations(b *testing.B) {
	if b.N > 1 {
		b.Skip("run it with -benchtime 1x: it repeats its rotations itself")
	}
	n := times(b, "KEYTURN_BENCH_ROTATIONS", 400)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "database\twho\trate/s\tclient ms CPU\tserver ms CPU\tof its own rate\tof its own CPU\t")
	only := regexp.MustCompile(os.Getenv("KEYTURN_BENCH_ONLY"))
	for _, p := range dbtest.Products() {
		if !only.MatchString(string(p)) {
			continue
		}
		own := benchAlone(b, p, n, (*benchChanger).change)
		line := func(who string, s benchSpan) {
			fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", p, who, s.rate, s.client, s.server,
				s.rate/own.rate, (own.client+own.server)/(s.client+s.server))
		}
		line("its own", own)
		line("engine", benchAlone(b, p, n, (*benchChanger).rotate))
		line("keyturn", benchKeyturn(b, p, false, n))
		line("keyturn, masterarn", benchKeyturn(b, p, true, n))
	}
	_ = t.Flush()
}

// benchSpan is what rotations took: per second, and milliseconds of CPU time for
// each.
type benchSpan struct{ rate, client, server float64 }

func benchMeasure(n int, do func()) benchSpan {
	begin, client, server := time.Now(), ownCPU(), childrenCPU()
	do()
	per := float64(n)
	return benchSpan{per / time.Since(begin).Seconds(), 1000 * (ownCPU() - client) / per, 1000 * (childrenCPU() - server) / per}
}

func ownCPU() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// childrenCPU is the CPU time of the processes that this one has started, and of
// their children that have ended.
func childrenCPU() (seconds float64) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		var state string
		var parent, ignored int
		var user, system, childUser, childSystem float64
		_, err = fmt.Sscan(string(text[strings.LastIndexByte(string(text), ')')+1:]), &state, &parent, &ignored, &ignored, &ignored, &ignored,
			&ignored, &ignored, &ignored, &ignored, &ignored, &user, &system, &childUser, &childSystem)
		if err == nil && parent == os.Getpid() {
			seconds += (user + system + childUser + childSystem) / 100 // the kernel's ticks for user space
		}
	}
	return seconds
}

func benchAccount(b *testing.B, p dbserver.Product, master bool) account {
	strategy := rotation.StrategyDualPassword
	if p == dbserver.Postgres {
		strategy = rotation.StrategySingleUser
	}
	a := newAccount(b, p, strategy)
	if master {
		a.master = masterOf(dbtest.Server(b, p))
	}
	return a
}

// benchAlone has 16 accounts change their passwords as change does it, or rotate.
func benchAlone(b *testing.B, p dbserver.Product, n int, change func(*benchChanger, context.Context, int) error) benchSpan {
	admin := dbtest.Server(b, p)
	crew := make([]*benchChanger, 0, benchCrew)
	for range benchCrew {
		crew = append(crew, newBenchChanger(b, admin, benchAccount(b, p, false)))
	}
	return benchMeasure(n, func() {
		var g sync.WaitGroup
		for i, c := range crew {
			g.Go(func() {
				for k := i; k < n; k += benchCrew {
					if err := change(c, b.Context(), k); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		g.Wait()
	})
}

// benchChanger is an account with a connection that stays open.
type benchChanger struct {
	account account
	login   rotation.Login
	exec    func(ctx context.Context, statement string) error
}

func newBenchChanger(b *testing.B, admin dbtest.Admin, a account) *benchChanger {
	login, err := rotation.ParseLogin(a.value)
	if err != nil {
		b.Fatal(err)
	}
	return &benchChanger{account: a, login: login, exec: admin.Open(b, login.Username, login.Password)}
}

// change is a rotation as one would do it by hand.
func (c *benchChanger) change(ctx context.Context, k int) error {
	next := fmt.Sprintf("Next.Password_%d", k)
	statement := map[dbserver.Product]string{
		dbserver.MySQL:    fmt.Sprintf("ALTER USER USER() IDENTIFIED BY '%s' REPLACE '%s' RETAIN CURRENT PASSWORD", next, c.login.Password),
		dbserver.MariaDB:  fmt.Sprintf("ALTER USER %s@'%%' IDENTIFIED VIA mysql_native_password USING PASSWORD('%s') OR mysql_native_password USING PASSWORD('%s')", c.login.Username, next, c.login.Password),
		dbserver.Postgres: fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", c.login.Username, next),
	}[c.account.product]
	if err := c.exec(ctx, statement); err != nil {
		return err
	}
	c.login.Password = next
	session, err := c.account.engine.Connect(ctx, c.login)
	if err != nil {
		return err
	}
	if err := session.Close(); err != nil || c.account.product != dbserver.MySQL {
		return err
	}
	return c.exec(ctx, "ALTER USER USER() DISCARD OLD PASSWORD")
}

// rotate is a rotation by keyturn's engine without anything that is stored: it
// changes the password over a new connection, logs in by the new one, and over a third
// connection ends the old one where the yardstick does.
func (c *benchChanger) rotate(ctx context.Context, k int) error {
	old, next := c.login, fmt.Sprintf("Next.Password_%d", k)
	c.login.Password = next
	return errors.Join(
		c.within(ctx, old, func(s rotation.Session) error {
			if d, ok := s.(rotation.DualPassword); ok {
				return d.AddPassword(ctx, old.Username, next, old.Password)
			}
			return s.SetPassword(ctx, old.Username, next)
		}),
		c.within(ctx, c.login, func(s rotation.Session) error { return nil }),
		c.retire(ctx),
	)
}

func (c *benchChanger) retire(ctx context.Context) error {
	if c.account.product != dbserver.MySQL {
		return nil
	}
	return c.within(ctx, c.login, func(s rotation.Session) error {
		d, ok := s.(rotation.SureDropper)
		if !ok {
			return errors.New("no session of MySQL")
		}
		_, err := d.DropOlder(ctx, c.login.Username, c.login.Password)
		return err
	})
}

func (c *benchChanger) within(ctx context.Context, l rotation.Login, do func(rotation.Session) error) error {
	session, err := c.account.engine.Connect(ctx, l)
	if err != nil {
		return err
	}
	defer session.Close()
	return do(session)
}

// benchFleet is a server with secrets that rotate every 30 days.
type benchFleet struct {
	b       *testing.B
	server  *keyturntest.Server
	secrets []string
	log     *os.File // the audit log
	rest    []byte   // the beginning of a line of it
}

// benchKeyturn lets the clock jump, so that all secrets are due at once.
func benchKeyturn(b *testing.B, p dbserver.Product, master bool, n int) benchSpan {
	f := newBenchFleet(b, p, master, min(n, 100))
	rounds := max(1, n/len(f.secrets))
	return benchMeasure(rounds*len(f.secrets), func() {
		for range rounds {
			f.jump(31 * 24 * time.Hour)
			if p == dbserver.MySQL {
				f.retire()
			}
		}
	})
}

func newBenchFleet(b *testing.B, p dbserver.Product, master bool, n int) *benchFleet {
	f := &benchFleet{b: b, server: keyturntest.NewServer(b, func(c *keyturn.Config) {
		c.Dev, c.RotationsPerHost, c.RotationsPerSecond = true, benchCrew, -1
		c.DriftCheck = -1 // the jump would make the canary logins of a month due as well
	})}
	for range n {
		w := newWorld(b, f.server.AWSConfig(), benchAccount(b, p, master))
		f.secrets = append(f.secrets, w.secret)
		_, err := w.secrets.RotateSecret(b.Context(), &secretsmanager.RotateSecretInput{SecretId: &w.secret,
			RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + w.account.function()),
			RotationRules:     &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.settled(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	f.openLog()
	f.await("RotationSucceeded") // settled says so a moment before the scheduler knows it
	return f
}

func (f *benchFleet) openLog() {
	logs, _ := filepath.Glob(filepath.Join(filepath.Dir(f.server.CredentialsFile()), "audit", "*.jsonl"))
	var err error
	if f.log, err = os.Open(logs[len(logs)-1]); err != nil {
		f.b.Fatal(err)
	}
	f.b.Cleanup(func() { _ = f.log.Close() })
}

// jump advances the clock and waits until as many rotations have succeeded as
// there are secrets; the audit log tells, which costs the server nothing.
func (f *benchFleet) jump(d time.Duration) { f.after(d, "RotationSucceeded") }

// retire lets the time pass that an old password stays valid.
func (f *benchFleet) retire() { f.after(25*time.Hour, "RetirementSucceeded") }

func (f *benchFleet) after(d time.Duration, event string) {
	f.count(event) // those before
	f.advance(d)
	f.await(event)
}

// await waits until an event was recorded for each secret since the last look at the log.
func (f *benchFleet) await(event string) {
	for n := len(f.secrets) - f.count(event); n > 0; n -= f.count(event) {
		time.Sleep(5 * time.Millisecond)
	}
}

func (f *benchFleet) advance(d time.Duration) {
	if _, err := keyturnapi.New(f.server.AWSConfig()).AdvanceClock(f.b.Context(), &keyturnapi.AdvanceClockInput{Seconds: int64(d / time.Second)}); err != nil {
		f.b.Fatal(err)
	}
}

// count counts events in the audit log since the last call.
func (f *benchFleet) count(event string) int {
	text, err := io.ReadAll(f.log)
	if err != nil {
		f.b.Fatal(err)
	}
	text = append(f.rest, text...)
	f.rest = slices.Clone(text[bytes.LastIndexByte(text, '\n')+1:])
	return bytes.Count(text[:len(text)-len(f.rest)], []byte(`"`+event+`"`))
}
