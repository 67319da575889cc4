package rotationtest

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
	"github.com/keyturn/keyturn/rotation"
)

// TestWaysIn tries one server of each product over everything that a secret's
// host may be, with and without TLS.
func TestWaysIn(t *testing.T) {
	each(t, func(t *testing.T, p dbserver.Product) {
		t.Parallel() // they wait for the disk most of the time
		h := newHost(t, p)
		t.Run("sockets", func(t *testing.T) { sockets(t, h) })
		t.Run("IPv6", func(t *testing.T) { overIPv6(t, h) })
		t.Run("TLS", func(t *testing.T) { verified(t, h) })
		t.Run("TLS only", func(t *testing.T) { tlsOnly(t, h) })
		t.Run("cipher", func(t *testing.T) { ciphers(t, h) })
		t.Run("nothing in clear text", func(t *testing.T) { nothingInClearText(t, h) })
		t.Run("expired", func(t *testing.T) { expired(t, h) })
	})
}

func sockets(t *testing.T, h *host) {
	hosts := []string{h.path("run/socket")}
	if h.product == dbserver.Postgres { // libpq's custom: the folder, and the port
		hosts = []string{h.path("run"), filepath.Join(h.path("run"), ".s.PGSQL."+strconv.Itoa(h.admin.Port))}
	}
	for _, path := range hosts {
		l := h.first
		l.Host = path
		if err := h.connect(l); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		l.Password = "Wrong_1aA"
		if err := h.connect(l); rotation.ClassOf(err) != rotation.ClassAuth {
			t.Errorf("%s with a wrong password: %v", path, err)
		}
	}
}

func overIPv6(t *testing.T, h *host) {
	for _, name := range []string{"::1", "[::1]"} {
		l := h.first
		l.Host, l.Port = name, h.admin.Port
		if err := h.connect(l); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.Port, l.TLS, l.TLSCA = h.tlsPort, rotation.TLSVerify, h.ca.pem // the certificate is for ::1 too
		if err := h.connect(l); err != nil {
			t.Errorf("%s with TLS: %v", name, err)
		}
	}
}

// secure is the account's login with TLS.
func (h *host) secure() rotation.Login {
	l := h.first
	l.TLS, l.TLSServerName, l.TLSCA = rotation.TLSVerify, serverName, h.ca.pem
	return l
}

func verified(t *testing.T, h *host) {
	if err := h.connect(h.secure()); err != nil {
		t.Fatalf("a good certificate: %v", err)
	}
	stranger := newAuthority(t, "a stranger").pem
	for _, tc := range []struct{ what, name, ca, hint string }{
		{"no name", "", h.ca.pem, "the server's certificate is for " + serverName + ", ::1, not for 127.0.0.1: correct the host, or, if one of these is the server, name it in the key tlsServerName"},
		{"another name", "other.keyturn.test", h.ca.pem, "not for other.keyturn.test"},
		{"another authority", serverName, stranger, "keyturn test CA, which is not in the key tlsCA"},
		{"the system's authorities", serverName, "", "put that authority's certificate, as PEM text, into the key tlsCA"},
	} {
		l := h.secure()
		l.TLSServerName, l.TLSCA = tc.name, tc.ca
		err := h.connect(l)
		if rotation.ClassOf(err) != rotation.ClassTLS || !strings.Contains(err.Error(), tc.hint) {
			t.Errorf("%s: %v of class %q", tc.what, err, rotation.ClassOf(err))
		}
	}
}

// tlsOnly has servers that let nobody in without TLS. MySQL says so, and MariaDB
// from 11 on; before, it calls it a wrong password. Redis breaks the connection.
func tlsOnly(t *testing.T, h *host) {
	want, set := map[dbserver.Product]rotation.Class{dbserver.MySQL: rotation.ClassTLS, dbserver.MariaDB: rotation.ClassAuth, dbserver.Redis: rotation.ClassTCP}[h.product]
	if !set {
		return // PostgreSQL: a rule of pg_hba.conf
	}
	if h.product != dbserver.Redis {
		h.sql("SET GLOBAL require_secure_transport = ON")
		defer h.sql("SET GLOBAL require_secure_transport = OFF")
	}
	l := h.first
	l.TLS = rotation.TLSOff
	err := h.connect(l)
	if class := rotation.ClassOf(err); h.product == dbserver.MariaDB && class == rotation.ClassTLS {
		want = class
	}
	if rotation.ClassOf(err) != want || !strings.Contains(err.Error(), `"ssl": true`) {
		t.Errorf("without TLS: %v of class %q", err, rotation.ClassOf(err))
	}
}

// ciphers: MySQL and MariaDB let some accounts in by one cipher alone, MySQL by a client
// certificate besides. An administrator changes a password where a login from here
// meets that.
func ciphers(t *testing.T, h *host) {
	const ours, other = "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES256-GCM-SHA384"
	refused := map[dbserver.Product][]string{dbserver.MySQL: {other, ours}, dbserver.MariaDB: {other}}[h.product]
	if refused == nil {
		return
	}
	defer h.sql("ALTER USER 'app'@'%%' REQUIRE NONE")
	for _, cipher := range refused {
		h.sql("ALTER USER 'app'@'%%' REQUIRE CIPHER '%s'", cipher)
		h.secretOf(t, h.first.Password, true, true).keepsAway(rotation.ClassPolicy, cipher)
	}
	if h.product == dbserver.MariaDB {
		h.sql("ALTER USER 'app'@'%%' REQUIRE CIPHER '%s'", ours)
		h.secretOf(t, h.first.Password, true, true).rotate("version-1")
		h.sql("ALTER USER 'app'@'%%' IDENTIFIED BY '%s'", h.first.Password)
	}
}

// expired: MySQL takes no certificate that has expired, so it gets one that is
// about to.
func expired(t *testing.T, h *host) {
	left := -time.Second
	if h.product == dbserver.MySQL {
		left = 5 * time.Second
	}
	h.present(h.ca.server(t, h.key, time.Now().Add(left)))
	var err error
	for end := time.Now().Add(time.Minute); err == nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		err = h.connect(h.secure())
	}
	if rotation.ClassOf(err) != rotation.ClassTLS || !strings.Contains(err.Error(), "renew it") {
		t.Errorf("an expired certificate: %v", err)
	}
}

// nothingInClearText listens on the wire, where the server has TLS and where it
// refuses it.
func nothingInClearText(t *testing.T, h *host) {
	wire := &recorder{}
	l := h.secure()
	l.Port = wire.listen(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(h.tlsPort)))
	if err := h.connect(l); err != nil {
		t.Fatal(err)
	}
	l.Port = wire.listen(t, noTLS(t, h))
	err := h.connect(l)
	if rotation.ClassOf(err) != rotation.ClassTLS || !strings.Contains(err.Error(), `"ssl": false`) {
		t.Errorf("a server without TLS: %v", err)
	}
	if wire.len() == 0 {
		t.Error("nothing was recorded")
	}
	for _, text := range []string{l.Username, l.Password, "ALTER", "SETUSER", "PASSWORD"} {
		if wire.has(text) {
			t.Errorf("%q went over the wire", text)
		}
	}
}

// noTLS returns the address of a server of the product that does not offer TLS.
// MySQL, and MariaDB from 11.4 on, make themselves certificates: there somebody in
// the middle takes the offer out of the greeting.
func noTLS(t *testing.T, h *host) string {
	if h.product == dbserver.Postgres || h.product == dbserver.Redis {
		w := newWorld(t, h.product, plain)
		return net.JoinHostPort(w.admin.Host, strconv.Itoa(w.admin.Port))
	}
	middle := &recorder{edit: withoutTLS}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(middle.listen(t, net.JoinHostPort(h.admin.Host, strconv.Itoa(h.admin.Port)))))
}

// withoutTLS clears CLIENT_SSL in a greeting (Protocol::HandshakeV10), whose
// version, in front of it, ends with a zero byte.
func withoutTLS(greeting []byte) {
	const header, thread, salt = 5, 4, 9
	capabilities := header + bytes.IndexByte(greeting[header:], 0) + 1 + thread + salt
	greeting[capabilities+1] &^= 0x08
}

// recorder keeps what clients send through it.
type recorder struct {
	edit func(greeting []byte) // changes what a server says first; may be nil

	mu   sync.Mutex
	sent bytes.Buffer
}

// Write implements io.Writer.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Write(p)
}

func (r *recorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Len()
}

func (r *recorder) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.sent.Bytes(), []byte(text))
}

// listen forwards to a server, and returns its own port.
func (r *recorder) listen(t *testing.T, target string) int {
	t.Helper()
	return dbtest.Accept(t, func() {}, func(client net.Conn) { r.forward(client, target) }).Port
}

func (r *recorder) forward(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { r.answer(client, server); _ = client.Close() })
	_, _ = io.Copy(server, io.TeeReader(client, r))
	_ = server.Close()
	answers.Wait()
}

func (r *recorder) answer(client, server net.Conn) {
	if r.edit != nil {
		greeting := make([]byte, 4096)
		n, err := server.Read(greeting)
		if err != nil {
			return
		}
		r.edit(greeting[:n])
		if _, err := client.Write(greeting[:n]); err != nil {
			return
		}
	}
	_, _ = io.Copy(client, server)
}
