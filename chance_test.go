package keyturn_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// Whatever users ask for and whatever fails while rotations run, the value of
// AWSCURRENT logs in where the strategy promises that, nothing gets lost, and in the
// end everything settles.
//
// The calls are drawn by chance and told when the test fails: KEYTURN_CHANCE_SEED draws
// the same again, KEYTURN_CHANCE is how many there are (20).
func TestAnyCallsDuringRotations(t *testing.T) {
	actions, binary := times(t, "KEYTURN_CHANCE", 20), build(t)
	for _, a := range []account{newAccount(t, dbserver.MariaDB, rotation.StrategyDualPassword), newAccount(t, dbserver.Postgres, rotation.StrategyAlternatingUsers)} {
		t.Run(a.String(), func(t *testing.T) {
			seed := times(t, "KEYTURN_CHANCE_SEED", int(time.Now().UnixNano()%1e9))
			c := newChance(t, binary, a, uint64(seed))
			for range actions {
				c.act()
			}
			c.end()
		})
	}
}

// wire is the way from the server to the database, which may be cut.
type wire struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

// lay listens on a port, which it returns, for connections to target.
func (w *wire) lay(t *testing.T, target string) int {
	t.Helper()
	return dbtest.Accept(t, func() { w.set(true) }, func(in net.Conn) { w.join(in, target) }).Port
}

func (w *wire) join(in net.Conn, target string) {
	defer in.Close()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer out.Close()
	w.mu.Lock()
	if w.cut {
		w.mu.Unlock()
		return
	}
	w.conns = append(w.conns, in, out)
	w.mu.Unlock()
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	_, _ = io.Copy(in, out)
}

// set ends all connections, and says whether there are new ones.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// chance is a server whose one secret meets calls and faults drawn by chance.
type chance struct {
	*world
	t       *testing.T
	p       *process
	wire    *wire
	rand    *rand.Rand
	log     []string                  // what was done
	deleted bool                      // the secret is scheduled for deletion
	retired time.Time                 // when the end of the old password was asked for, or may have fallen due
	trusted bool                      // AWSCURRENT has to log in
	seen    map[string]rotation.Login // every login that the secret had, by user and password
}

func newChance(t *testing.T, binary string, a account, seed uint64) *chance {
	t.Logf("seed %d", seed)
	c := &chance{t: t, p: newProcess(t, binary), wire: &wire{}, rand: rand.New(rand.NewPCG(seed, 0)), seen: map[string]rotation.Login{}}
	admin := dbtest.Server(t, a.product)
	port := c.wire.lay(t, net.JoinHostPort(admin.Host, strconv.Itoa(admin.Port)))
	a.value = strings.Replace(a.value, fmt.Sprintf(`"port": %d`, admin.Port), fmt.Sprintf(`"port": %d`, port), 1)
	c.p.flags = []string{"--dev"} // to advance its clock
	c.p.start()
	c.world = newWorld(t, c.p.clients(), a)
	_, err := c.secrets.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: &c.secret, Tags: []types.Tag{{Key: aws.String("keyturn:rotation-grace"), Value: aws.String("2s")}}})
	if err != nil {
		t.Fatal(err)
	}
	c.trusted = true
	t.Cleanup(func() {
		if t.Failed() {
			c.p.kill()
			t.Logf("%s\n%s", strings.Join(c.log, "\n"), c.p.output.String())
		}
	})
	return c
}

func (c *chance) note(format string, args ...any) {
	c.log = append(c.log, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// act does one thing by chance, and looks.
func (c *chance) act() {
	acts := []struct {
		name string
		do   func() error
	}{{"rotate", c.doRotate}, {"rotate", c.doRotate}, {"cancel", c.doCancel}, {"reconfigure", c.doConfigure}, {"put", c.doPut}, {"unlabel", c.doUnlabel}, {"back", c.doBack},
		{"retire", c.doRetire}, {"delete", c.doDelete}, {"kill", c.doKill}, {"clock", c.doClock}, {"outage", c.doOutage}}
	one := acts[c.rand.IntN(len(acts))]
	c.note("%s: %v", one.name, one.do())
	scale := []int{0, 3, 10, 30, 200}[c.rand.IntN(5)]
	time.Sleep(time.Duration(c.rand.IntN(1000)*scale) * time.Microsecond)
	if c.check(one.name); c.t.Failed() {
		c.t.FailNow()
	}
}

func (c *chance) doRotate() error {
	if c.deleted {
		return c.restore()
	}
	_, err := c.rotate(c.t.Context())
	return err
}

func (c *chance) doConfigure() error {
	_, err := c.secrets.RotateSecret(c.t.Context(), &secretsmanager.RotateSecretInput{SecretId: &c.secret, RotateImmediately: aws.Bool(false),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(int64(1 + c.rand.IntN(20)))}})
	return err
}

func (c *chance) doCancel() error {
	_, err := c.secrets.CancelRotateSecret(c.t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: &c.secret})
	return err
}

// doPut changes another key of the value, as a user does who reads and writes: what a
// rotation stored in between is lost then, and the model knows nothing of AWSCURRENT.
func (c *chance) doPut() error {
	out, err := c.secrets.GetSecretValue(c.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &c.secret})
	if err != nil {
		return err
	}
	value := strings.Replace(*out.SecretString, "{", fmt.Sprintf(`{"note%d": 1, `, c.rand.IntN(1e9)), 1)
	if c.moved(*out.VersionId) {
		return nil
	}
	_, err = c.secrets.PutSecretValue(c.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &c.secret, SecretString: &value})
	if now := c.labels()["AWSPREVIOUS"]; err == nil && now != *out.VersionId {
		c.trusted = false // AWSCURRENT moved between the look and the call
		c.note("put raced with a rotation")
	}
	return err
}

func (c *chance) moved(from string) bool { return c.labels()["AWSCURRENT"] != from }

func (c *chance) labels() map[string]string {
	out, err := c.secrets.DescribeSecret(c.t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &c.secret})
	holders := map[string]string{}
	if err != nil {
		return holders
	}
	for id, labels := range out.VersionIdsToStages {
		for _, l := range labels {
			if holders[l] != "" {
				c.t.Errorf("%s is on two versions", l)
			}
			holders[l] = id
		}
	}
	return holders
}

// doUnlabel drops a pending rotation by hand, as AWS's guide says.
func (c *chance) doUnlabel() error {
	h := c.labels()
	if h["AWSPENDING"] == "" {
		return nil
	}
	_, err := c.secrets.UpdateSecretVersionStage(c.t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: &c.secret, VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: aws.String(h["AWSPENDING"])})
	return err
}

// doBack moves AWSCURRENT to AWSPREVIOUS if that logs in and nothing is under way.
func (c *chance) doBack() error {
	h := c.labels()
	prev := h["AWSPREVIOUS"]
	if time.Since(c.retired) < 3*time.Second || prev == "" || h["AWSPENDING"] != "" && h["AWSPENDING"] != h["AWSCURRENT"] {
		return nil
	}
	l, err := c.at(prev)
	if err != nil || !c.in(l) {
		return err
	}
	_, err = c.secrets.UpdateSecretVersionStage(c.t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: &c.secret, VersionStage: aws.String("AWSCURRENT"), RemoveFromVersionId: aws.String(h["AWSCURRENT"]), MoveToVersionId: &prev})
	c.note("back to %s", prev)
	if err == nil && !c.in(l) {
		c.note("it was ended meanwhile")
		c.trusted = false
	}
	return err
}

func (c *chance) at(version string) (rotation.Login, error) {
	out, err := c.secrets.GetSecretValue(c.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &c.secret, VersionId: &version})
	if err != nil {
		return rotation.Login{}, err
	}
	return c.parse(*out.SecretString), nil
}

func (c *chance) parse(value string) rotation.Login {
	l, err := rotation.ParseLogin(value)
	if err != nil {
		c.t.Fatal(err)
	}
	admin := dbtest.Server(c.t, c.account.product)
	l.Host, l.Port = admin.Host, admin.Port
	c.seen[l.Username+l.Password] = l
	return l
}

func (c *chance) in(l rotation.Login) bool {
	s, err := c.account.engine.Connect(c.t.Context(), l)
	if rotation.ClassOf(err) == rotation.ClassAuth {
		return false
	}
	if err != nil {
		c.t.Fatal(err)
	}
	_ = s.Close()
	return true
}

func (c *chance) doRetire() error {
	c.retired = time.Now()
	_, err := c.records.RetireOldPassword(c.t.Context(), &keyturnapi.RetireOldPasswordInput{SecretID: c.secret})
	return err
}

func (c *chance) doDelete() error {
	if c.deleted {
		return c.restore()
	}
	_, err := c.secrets.DeleteSecret(c.t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &c.secret, RecoveryWindowInDays: aws.Int64(7)})
	c.deleted = err == nil
	return err
}

func (c *chance) restore() error {
	_, err := c.secrets.RestoreSecret(c.t.Context(), &secretsmanager.RestoreSecretInput{SecretId: &c.secret})
	c.deleted = c.deleted && err != nil
	return err
}

// doClock lets things fall due. A killed server begins with the usual clock again, as
// one whose clock was wrong and is set back.
func (c *chance) doClock() error {
	if c.deleted { // its recovery window would end
		return c.restore()
	}
	seconds := []int64{1, 60, 25 * 3600, 31 * 86400}[c.rand.IntN(4)]
	c.note("advance by %d s", seconds)
	c.retired = time.Now()
	_, err := c.records.AdvanceClock(c.t.Context(), &keyturnapi.AdvanceClockInput{Seconds: seconds})
	return err
}

func (c *chance) doKill() error { c.p.kill(); c.p.start(); return nil }

func (c *chance) doOutage() error {
	c.wire.set(true)
	time.Sleep(time.Duration(c.rand.IntN(800)) * time.Millisecond)
	c.wire.set(false)
	return nil
}

// check looks whether AWSCURRENT logs in.
func (c *chance) check(after string) {
	if c.deleted {
		return
	}
	for try := range 4 {
		out, err := c.secrets.GetSecretValue(c.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &c.secret})
		if err != nil {
			c.t.Errorf("after %s: %v", after, err)
			return
		}
		l := c.parse(*out.SecretString)
		if !c.trusted || c.in(l) {
			return
		}
		if try == 3 || !c.moved(*out.VersionId) {
			c.t.Errorf("after %s: AWSCURRENT (%s) does not log in; labels %v", after, *out.VersionId, c.labels())
			return
		}
	}
}

// end lets everything settle: after one more rotation AWSCURRENT logs in, and no more
// passwords than the strategy keeps. What was cancelled keeps AWSPENDING, as on AWS, and
// nothing rotates until somebody takes that away.
func (c *chance) end() {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	if c.deleted {
		c.note("restore: %v", c.restore())
	}
	c.note("cancel: %v, unlabel: %v", c.doCancel(), c.doUnlabel())
	token, err := c.rotate(ctx)
	for ; err != nil && ctx.Err() == nil; token, err = c.rotate(ctx) {
		c.note("one under way goes on: %v", err)
		time.Sleep(10 * pollEvery)
	}
	if _, err := c.recorded(ctx, token); err != nil {
		c.t.Fatalf("%v; labels %v", err, c.labels())
	}
	c.trusted = true
	c.check("the end")
	kept := 1
	if c.account.strategy == rotation.StrategyAlternatingUsers {
		kept = 2
	}
	for c.live() > kept {
		if ctx.Err() != nil {
			c.t.Fatalf("%d passwords log in", c.live())
		}
		time.Sleep(10 * pollEvery)
	}
}

// live tells how many of all passwords that the secret ever had log in.
func (c *chance) live() (n int) {
	out, err := c.secrets.ListSecretVersionIds(c.t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &c.secret, IncludeDeprecated: aws.Bool(true)})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, v := range out.Versions {
		_, _ = c.at(*v.VersionId)
	}
	for _, l := range c.seen {
		if c.in(l) {
			n++
		}
	}
	return n
}
