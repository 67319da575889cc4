package rotationtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/rotation"
)

// TestRedisUserWithoutPassword lets everybody in, so a login proves nothing;
// seen by those who may look at the user, and by those who may not.
func TestRedisUserWithoutPassword(t *testing.T) {
	w := newWorld(t, dbserver.Redis, plain)
	for _, rule := range []string{"+acl|getuser", "-acl|getuser"} {
		w.sql("ACL SETUSER %s nopass %s", w.first.Username, rule)
		if _, err := w.direct.Connect(t.Context(), w.first); rotation.ClassOf(err) != rotation.ClassPolicy || !strings.Contains(err.Error(), "resetpass") {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

// TestRedisMissingUser is not made by a change, as ACL SETUSER would.
func TestRedisMissingUser(t *testing.T) {
	w := newWorld(t, dbserver.Redis, plain)
	err := w.session(w.first.Password).SetPassword(t.Context(), "nobody_here", "Second_1aA")
	checkClass(t, "a missing user", err, rotation.ClassSecret)
}

// TestRedisNamesTheRule that is missing, and does nothing without it.
func TestRedisNamesTheRule(t *testing.T) {
	for _, rule := range []string{"acl|setuser", "acl|getuser", "acl|save", "multi", "exec"} {
		w := newWorld(t, dbserver.Redis, plain)
		w.sql("ACL SETUSER %s -%s", w.first.Username, rule)
		w.store.begin(secretID, "version-1")
		w.must("version-1", rotation.StepCreate)
		w.refused("version-1", rotation.StepSet, rotation.ClassPrivilege, "+"+rule)
		w.want("AWSCURRENT", true, w.first.Password)
		w.want("AWSPENDING", false, w.login("AWSPENDING").Password)
	}
}

// TestRedisIsSaved reads the file that the next start reads.
func TestRedisIsSaved(t *testing.T) {
	t.Run("aclfile", func(t *testing.T) {
		r := startRedis(t, "--aclfile", "users.acl")
		r.rotatesInto(t, "users.acl", "app")
	})
	t.Run("configuration file", func(t *testing.T) {
		r := startRedis(t, "redis.conf")
		r.rotatesInto(t, "redis.conf", "app")
	})
	t.Run("default user with requirepass", func(t *testing.T) {
		r := startRedis(t, "redis.conf")
		r.run(t, "CONFIG SET requirepass First_1aA")
		r.rotatesInto(t, "redis.conf", "default")
	})
	t.Run("neither", func(t *testing.T) {
		r := startRedis(t)
		r.run(t, "ACL SETUSER app on >First_1aA +@all")
		s, err := r.connect(t, "app", "First_1aA")
		if err != nil {
			t.Fatal(err)
		}
		err = s.SetPassword(t.Context(), "app", "Secret_1")
		checkClass(t, "nowhere to save", err, rotation.ClassPolicy)
		if _, err := r.connect(t, "app", "First_1aA"); err != nil {
			t.Errorf("the password has changed: %v", err)
		}
	})
}

// bareRedis is a server as people start it, without keyturn's settings.
type bareRedis struct {
	dir  string
	port int
	args []string
	stop func()
}

// startRedis starts a server in a folder of its own, with files that are empty at
// first.
func startRedis(t *testing.T, args ...string) *bareRedis {
	t.Helper()
	r := &bareRedis{dir: t.TempDir(), port: port(t), args: args}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "--") {
			if err := os.WriteFile(filepath.Join(r.dir, arg), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.start(t)
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *bareRedis) start(t *testing.T) {
	t.Helper()
	binary, err := dbserver.Find(dbserver.Redis)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, binary.Path, append(r.args, "--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--save", "")...)
	server.Dir = r.dir
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() { cancel(); _ = server.Wait() })
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", r.address()); err == nil {
			_ = c.Close()
			return
		}
	}
	r.stop()
	t.Fatal("redis-server does not start")
}

func (r *bareRedis) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// run runs a command as the user default, who has no password at first.
func (r *bareRedis) run(t *testing.T, command string) {
	t.Helper()
	c, err := net.Dial("tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, "+") {
		t.Fatalf("%s: %s%v", command, line, err)
	}
}

func (r *bareRedis) connect(t *testing.T, user, password string) (rotation.Session, error) {
	t.Helper()
	s, err := engineOf(dbserver.Redis).Connect(t.Context(), rotation.Login{
		Engine: "valkey", Host: "127.0.0.1", Port: r.port, Username: user, Password: password, TLS: rotation.TLSOff})
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

// rotatesInto changes a password, kills the server, and logs in to the next one.
func (r *bareRedis) rotatesInto(t *testing.T, file, user string) {
	t.Helper()
	if user != "default" {
		r.run(t, "ACL SETUSER "+user+" on >First_1aA +@all")
	}
	s, err := r.connect(t, user, "First_1aA")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.(rotation.DualPassword).AddPassword(t.Context(), user, "Second_1aA", "First_1aA"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.start(t)
	for _, password := range []string{"First_1aA", "Second_1aA"} {
		if _, err := r.connect(t, user, password); err != nil {
			t.Errorf("%s after a restart: %v", password, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil || strings.Contains(string(text), "Second_1aA") {
		t.Errorf("the file holds a password in clear text, or %v", err)
	}
}

// TestRedisWritesNoClearText: MONITOR and SLOWLOG show commands to others.
func TestRedisWritesNoClearText(t *testing.T) {
	w := newWorld(t, dbserver.Redis, plain)
	c, err := net.Dial("tcp", net.JoinHostPort(w.admin.Host, strconv.Itoa(w.admin.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "AUTH %s %s\r\nMONITOR\r\n", w.admin.User, w.admin.Password)
	w.check(err)
	answers := bufio.NewScanner(c)
	answers.Scan() // of AUTH
	if answers.Scan(); answers.Text() != "+OK" {
		t.Fatalf("MONITOR: %s", answers.Text())
	}
	w.rotate("version-1")
	w.must("version-1", rotation.StepRetire)
	w.sql("ECHO the.end")
	lines := 0
	for answers.Scan() && !strings.Contains(answers.Text(), "the.end") {
		lines++
		if strings.Contains(answers.Text(), w.login("AWSCURRENT").Password) || strings.Contains(answers.Text(), w.first.Password) {
			t.Error("MONITOR shows a password")
		}
	}
	t.Logf("%d lines", lines)
}
