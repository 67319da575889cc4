package rotationtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// forge puts a value under the pending token, as somebody with PutSecretValue
// could.
func (w *world) forge(token, value string) {
	w.store.begin(secretID, token)
	w.store.secrets[secretID].values[token] = value
}

// TestForgedPendingValue must not send any password to the place it names.
func TestForgedPendingValue(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var reached sync.WaitGroup
	defer reached.Wait()
	defer listener.Close()
	reached.Go(func() {
		if c, err := listener.Accept(); err == nil {
			t.Error("the forged host was asked")
			_ = c.Close()
		}
	})
	port := listener.Addr().(*net.TCPAddr).Port
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		for _, change := range [][2]string{
			{fmt.Sprintf(`"port":"%d"`, w.first.Port), fmt.Sprintf(`"port":"%d"`, port)},
			{`"host":"127.0.0.1"`, `"host":"localhost"`},
			{`"username":"` + w.first.Username, `"username":"root`},
			{`"ssl":false`, `"ssl":true`},
			{`"ssl":false`, `"ssl":false,"tlsServerName":"elsewhere"`},
			{`"ssl":false`, `"ssl":false,"tlsCA":"forged"`},
			{`"engine":`, `"engine":"sqlserver","was":`},
		} {
			forged := strings.Replace(w.value(), change[0], change[1], 1)
			w.forge("version-forged", forged)
			for _, step := range rotationSteps[1:] {
				w.refused("version-forged", step, rotation.ClassSecret)
			}
		}
		w.want("AWSCURRENT", true, w.first.Password)
	})
}

func TestUnreachable(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for _, tc := range []struct {
			host  string
			port  int
			class rotation.Class
		}{
			{"127.0.0.1", 1, rotation.ClassTCP},
			{"keyturn.invalid", 3306, rotation.ClassDNS},
		} {
			l := rotation.Login{Engine: string(p), Host: tc.host, Port: tc.port, Username: "u", Password: "Secret_1", TLS: rotation.TLSOff}
			_, err := engineOf(p).Connect(t.Context(), l)
			checkClass(t, tc.host, err, tc.class)
		}
	})
}

// TestSilentServer accepts connections and never says a word.
func TestSilentServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	each(t, func(t *testing.T, p dbserver.Product) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := engineOf(p).Connect(ctx, rotation.Login{
			Engine: string(p), Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port,
			Username: "u", Password: "Secret_1", TLS: rotation.TLSOff,
		})
		checkClass(t, "silent", err, rotation.ClassTimeout)
	})
}

// TestTLSNeverFallsBack: the test servers have no certificate that this
// machine trusts.
func TestTLSNeverFallsBack(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		l := w.first
		l.TLS = rotation.TLSVerify
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := w.direct.Connect(ctx, l)
		checkClass(t, "ssl: true", err, rotation.ClassTLS)
	})
}

func checkClass(t *testing.T, what string, err error, want rotation.Class) {
	t.Helper()
	var e *rotation.Error
	if !errors.As(err, &e) || e.ErrorType() != string(want) {
		t.Fatalf("%s: error %v of class %q, want %q", what, err, rotation.ClassOf(err), want)
	}
	if strings.Contains(err.Error(), "Secret_1") {
		t.Errorf("%s: the error shows the password", what)
	}
}

// TestDoubtIsNotActedOn: the server cannot be reached for the pending login,
// so setSecret must not go on with the current one.
func TestDoubtIsNotActedOn(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.f.Engine = doubtful{w.direct, w.login("AWSPENDING").Password}
		w.refused("version-1", rotation.StepSet, rotation.ClassTCP)
		w.want("AWSCURRENT", true, w.first.Password)
		w.want("AWSPENDING", false, w.login("AWSPENDING").Password)
	})
}

// doubtful is a network that fails for one login.
type doubtful struct {
	rotation.Engine
	password string
}

func (d doubtful) Connect(ctx context.Context, l rotation.Login) (rotation.Session, error) {
	if l.Password == d.password {
		return nil, rotation.Errorf(rotation.ClassTCP, "connection reset by peer")
	}
	return d.Engine.Connect(ctx, l)
}

// TestFinishWithoutDatabase: AWSCURRENT moves although nobody can look which
// strategy it was, and an old password is retired on doubt.
func TestFinishWithoutDatabase(t *testing.T) {
	eachDual(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, privileged)
		w.store.begin(secretID, "version-1")
		w.until("version-1", rotation.StepTest)
		w.f.Engine = doubtful{w.direct, w.login("AWSPENDING").Password}
		if r := w.must("version-1", rotation.StepFinish); r.RetireAfterSeconds == 0 {
			t.Error("finishSecret does not ask for retireSecret")
		}
		w.f.Engine = w.direct
		if r := w.must("version-1", rotation.StepFinish); r.Strategy != rotation.StrategyDualPassword {
			t.Errorf("finishSecret again: %+v", r)
		}
	})
}

// TestPreviousPassword: the database was restored from an older backup.
func TestPreviousPassword(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for _, kind := range []accountKind{plain, privileged} {
			w := newWorld(t, p, kind)
			w.rotate("version-1")
			w.must("version-1", rotation.StepRetire)
			w.changeBehind(w.first.Password)
			w.rotate("version-2")
			w.want("AWSCURRENT", true, w.login("AWSCURRENT").Password)
			w.want("older ones", false, w.first.Password, w.login("AWSPREVIOUS").Password)
		}
	})
}

// TestTwoWorkers: a worker that lost its lease does not stop at once.
func TestTwoWorkers(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		for range 10 {
			w := newWorld(t, p, privileged)
			w.store.begin(secretID, "version-1")
			w.must("version-1", rotation.StepCreate)
			var workers sync.WaitGroup
			for range 4 {
				workers.Go(func() { _, _ = w.step("version-1", rotation.StepSet) })
			}
			workers.Wait()
			w.want("AWSPENDING", true, w.login("AWSPENDING").Password)
			w.want("AWSCURRENT", p != dbserver.Postgres, w.first.Password)
		}
	})
}

// TestStagingIsChecked as AWS's templates do.
func TestStagingIsChecked(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	for _, step := range rotationSteps {
		w.refused("unknown", step, rotation.ClassSecret)
		if r := w.must("version-0", step); !reflect.DeepEqual(r, rotation.Result{}) {
			t.Errorf("%s of the current version answered %+v", step, r)
		}
	}
	w.store.begin(secretID, "version-1")
	for _, step := range rotationSteps[1:] {
		w.refused("version-1", step, rotation.ClassSecret) // no value yet
	}
	w.refused("version-1", "unknownStep", rotation.ClassSecret)
	w.store.secrets[secretID].disabled = true
	w.refused("version-1", rotation.StepCreate, rotation.ClassSecret)
}

func TestAPIFailure(t *testing.T) {
	w := newWorld(t, dbserver.MariaDB, plain)
	_, err := w.f.Handle(t.Context(), rotation.Event{Step: rotation.StepCreate, SecretID: "no such secret", ClientRequestToken: "x"})
	checkClass(t, "unknown secret", err, rotation.ClassAPI)
}

// TestRotateImmediatelyFalse: Secrets Manager runs testSecret alone, on a
// version that holds the current value.
func TestRotateImmediatelyFalse(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		w := newWorld(t, p, plain)
		w.forge("version-test", w.store.value(secretID, "AWSCURRENT"))
		w.must("version-test", rotation.StepTest)
	})
}
