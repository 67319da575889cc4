package rotationtest

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
)

// host is a real server with TLS, on 127.0.0.1, ::1 and a Unix socket.
type host struct {
	*world
	ca      authority
	key     *ecdsa.PrivateKey
	dir     string // the socket's and the certificate's
	tlsPort int    // Redis has one of its own
	reloads int    // of PostgreSQL's settings
}

// newHost starts a server that no other test uses, with one account.
func newHost(t *testing.T, p dbserver.Product) *host {
	t.Helper()
	h := &host{ca: newAuthority(t, "keyturn test CA"), key: newKey(t), dir: dbtest.Dir(t)}
	h.world = &world{t: t, product: p, direct: engineOf(p)}
	h.write("ca.pem", h.ca.pem)
	h.write("key.pem", encodeKey(t, h.key))
	h.write("cert.pem", h.ca.server(t, h.key, time.Now().Add(time.Hour)))
	config := dbserver.Config{Binary: h.binary(), Dir: h.path("server"), Port: port(t), AdminPassword: "Admin_1aA"}
	h.tlsPort = config.Port
	if p == dbserver.Redis {
		h.tlsPort = port(t)
	}
	config.Binary.Path = h.program(config.Binary.Path)
	server, err := dbserver.New(config)
	h.check(err)
	h.check(server.Init(t.Context(), dbserver.Setup{MasterUser: "master", MasterPassword: "Master_1aA"}))
	h.letIn()
	t.Cleanup(func() { h.check(server.Stop(context.Background())) })
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.admin = dbtest.Admin{Product: p, Host: dbserver.Host, Port: config.Port, User: dbserver.Admin, Password: "Admin_1aA"}
	h.first = rotation.Login{Engine: string(p), Host: "127.0.0.1", Port: h.tlsPort, Username: "app", Password: "First_1aA"}
	h.createAccount(plain)
	return h
}

func port(t *testing.T) int {
	t.Helper()
	p, err := dbserver.FreePort(func(int) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string) {
	h.t.Helper()
	h.check(os.WriteFile(h.path(name), []byte(text), 0o600))
}

func (h *host) binary() dbserver.Binary {
	h.t.Helper()
	b, err := dbserver.Find(h.product)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// program is the server program with further arguments, but where it makes a
// data folder.
func (h *host) program(real string) string {
	text := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *--single*|*--initialize*|*--version*|*--skip-networking*) exec %s \"$@\";; esac\nexec %s \"$@\" %s\n",
		real, real, strings.Join(h.arguments(), " "))
	path := h.path("program")
	h.check(os.WriteFile(path, []byte(text), 0o755))
	return path
}

func (h *host) arguments() []string {
	cert, key, ca := h.path("cert.pem"), h.path("key.pem"), h.path("ca.pem")
	switch h.product {
	case dbserver.Postgres:
		return []string{"-c", "ssl=on", "-c", "ssl_cert_file=" + cert, "-c", "ssl_key_file=" + key,
			"-c", "listen_addresses=127.0.0.1,::1", "-c", "unix_socket_directories=" + h.path("run")}
	case dbserver.Redis:
		return []string{"--tls-port", fmt.Sprint(h.tlsPort), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca,
			"--tls-auth-clients", "no", "--bind", "127.0.0.1", "::1", "--unixsocket", h.path("run/socket"), "--unixsocketperm", "777"}
	}
	return []string{"--ssl-cert=" + cert, "--ssl-key=" + key, "--ssl-ca=" + ca,
		"--bind-address=127.0.0.1,::1", "--socket=" + h.path("run/socket")}
}

// letIn gives the server's user what it must read and write.
func (h *host) letIn() {
	h.t.Helper()
	info, err := os.Stat(h.path("server/data"))
	h.check(err)
	owner := info.Sys().(*syscall.Stat_t)
	h.check(os.Mkdir(h.path("run"), 0o755))
	for _, name := range []string{"run", "ca.pem", "key.pem", "cert.pem"} {
		h.check(os.Chown(h.path(name), int(owner.Uid), int(owner.Gid)))
	}
	if h.product != dbserver.Postgres {
		return
	}
	rules, err := os.OpenFile(h.path("server/data/pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	h.check(err)
	_, err = rules.WriteString("local all all scram-sha-256\n")
	h.check(err)
	h.check(rules.Close())
}

// present makes the server use another certificate for its key.
func (h *host) present(cert string) {
	h.t.Helper()
	h.write("cert.pem", cert)
	h.sql("%s", map[dbserver.Product]string{
		dbserver.MySQL: "ALTER INSTANCE RELOAD TLS", dbserver.MariaDB: "FLUSH SSL", dbserver.Postgres: "SELECT pg_reload_conf()",
		dbserver.Redis: "CONFIG SET tls-cert-file " + h.path("cert.pem"),
	}[h.product])
}

// connect logs in and changes the password to what it is.
func (h *host) connect(l rotation.Login) error {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	s, err := h.direct.Connect(ctx, l)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.SetPassword(ctx, l.Username, l.Password)
}

// secretOf is a world of its own with a secret of the host's account.
func (h *host) secretOf(t *testing.T, password string, tls, admin bool) *world {
	t.Helper()
	w := *h.world
	w.t, w.store, w.outage = t, newStore(), &outage{}
	encryption := `"ssl":false`
	if tls {
		encryption = fmt.Sprintf(`"ssl":true,"tlsServerName":%q,"tlsCA":%q`, serverName, h.ca.pem)
	}
	w.store.create(secretID, fmt.Sprintf(`{"engine":%q,"host":"127.0.0.1","port":%d,"username":"app","password":%q,%s}`, h.first.Engine, h.tlsPort, password, encryption))
	if admin {
		w.addAdmin(w.admin.User, w.admin.Password)
	}
	w.f = &rotation.Function{Secrets: secrets{w.store, w.outage}, Engine: w.direct}
	return &w
}
