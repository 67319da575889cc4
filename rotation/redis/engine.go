// Package redis is the rotation engine for the users of Redis and Valkey
// (ACL, from Redis 6 on).
//
// A user has a list of passwords, all of them valid, so the strategy is
// DualPassword. The server gets SHA-256 hashes (#…), never clear text: rules are
// shown by MONITOR, SLOWLOG and ACL LOG. A change holds for the server that is
// asked: replicas and the nodes of a cluster have ACLs of their own.
//
// A change that a restart undoes must not be promoted, so it is saved together
// with being made, by ACL SAVE, or by CONFIG REWRITE where there is no aclfile.
// See "ACL" and the commands' pages in the manual of Redis.
//
// The client is our own: it sends seven commands. A library would open its
// connections with HELLO and CLIENT SETINFO, which the least of accounts may not
// send, and its pool and its retries had to be switched off.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotation"
)

// Engine logs in to Redis and Valkey. Its zero value works.
type Engine struct {
	// ConnectTimeout bounds name look-up, connection, TLS and login together;
	// 0 is 5 seconds.
	ConnectTimeout time.Duration
}

const (
	defaultTimeout = 5 * time.Second
	defaultPort    = 6379
)

// names are the engines that a secret may name.
var names = []string{"redis", "valkey"}

// Connect implements rotation.Engine.
func (e Engine) Connect(ctx context.Context, l rotation.Login) (rotation.Session, error) {
	if !slices.Contains(names, l.Engine) {
		return nil, rotation.Errorf(rotation.ClassSecret, "the engine %q of the secret is none of %s", l.Engine, strings.Join(names, ", "))
	}
	config, err := l.TLSConfig()
	if err != nil {
		return nil, err
	}
	timeout := e.ConnectTimeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := dial(ctx, l, config)
	if err != nil {
		return nil, loginError(ctx, err, l)
	}
	s := &session{c, l}
	if err := s.logIn(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func dial(ctx context.Context, l rotation.Login, config *tls.Config) (*conn, error) {
	network := "tcp"
	if l.UnixSocket() {
		network = "unix"
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, l.Address(defaultPort))
	if err != nil {
		return nil, err
	}
	if config == nil {
		return newConn(c), nil
	}
	encrypted := tls.Client(c, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, handshakeError(ctx, err)
	}
	return newConn(encrypted), nil
}

// handshakeError: a server without TLS takes the handshake for a malformed
// command, and closes the connection or waits for the rest of it.
func handshakeError(ctx context.Context, err error) error {
	if rotation.NetworkClass(err) == rotation.ClassTLS && !errors.As(err, &tls.RecordHeaderError{}) {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("%w, or did not answer in time", rotation.ErrNoTLS)
}

// session is one connection of one user.
type session struct {
	conn  *conn
	login rotation.Login
}

// logIn refuses a user whose password is not looked at (nopass). A user who may
// not see that is tried with a wrong password, which leaves the login as it is.
func (s *session) logIn(ctx context.Context) error {
	user := s.login.Username
	if _, err := s.conn.do(ctx, "AUTH", user, s.login.Password); err != nil {
		return loginError(ctx, err, s.login)
	}
	u, err := s.look(ctx, user)
	open := u.noPassword
	if rotation.ClassOf(err) == rotation.ClassPrivilege {
		_, err = s.conn.do(ctx, "AUTH", user, rand.Text())
		open = err == nil
		if isReply(err, "WRONGPASS") {
			err = nil
		}
	}
	if err != nil {
		return loginError(ctx, err, s.login)
	}
	if open {
		return rotation.Errorf(rotation.ClassPolicy, "the server lets user %s in with any password, which proves nothing: ACL SETUSER %s resetpass, then give it a password", user, user)
	}
	return nil
}

// SetPassword implements rotation.Session. It ends all other passwords.
func (s *session) SetPassword(ctx context.Context, user, password string) error {
	return s.replace(ctx, user, password)
}

// AddPassword implements rotation.DualPassword.
func (s *session) AddPassword(ctx context.Context, user, password, keep string) error {
	return s.replace(ctx, user, keep, password)
}

// DropOldPassword implements rotation.DualPassword. The passwords are named one
// by one, so that a newer one that has just been set is not hit; the server
// refuses to remove one that is gone, and then it is looked again.
func (s *session) DropOldPassword(ctx context.Context, user, keep string) error {
	for {
		u, err := s.look(ctx, user)
		if err != nil {
			return err
		}
		last := len(u.hashes) - 1
		if last < 1 || u.hashes[last] != hash(keep) {
			return nil // nothing older, or a newer one behind
		}
		var rules []string
		for _, h := range u.hashes[:last] {
			rules = append(rules, "!"+h)
		}
		if err := s.change(ctx, user, u, rules...); !isGone(err) {
			return err
		}
	}
}

// replace makes the passwords those given, the newest last, in one command.
func (s *session) replace(ctx context.Context, user string, passwords ...string) error {
	u, err := s.look(ctx, user)
	if err != nil {
		return err
	}
	rules := []string{"resetpass"}
	for _, p := range passwords {
		if p == "" {
			return rotation.Errorf(rotation.ClassPolicy, "the new password is empty")
		}
		rules = append(rules, "#"+hash(p))
	}
	return s.change(ctx, user, u, rules...)
}

// change makes and saves a change in one transaction: whoever sees it done may
// rely on it. Saving is tried before, so that nothing has happened if the server
// cannot; if it fails all the same, the passwords are put back.
func (s *session) change(ctx context.Context, user string, before user, rules ...string) error {
	if before.off && user != s.login.Username {
		// Refused logins prove nothing about its passwords, which are of use again
		// when it is on.
		return rotation.Errorf(rotation.ClassPolicy, "the user %s is off, so a new password could not be tried: ACL SETUSER %s on", user, user)
	}
	save, err := s.save(ctx)
	if err != nil {
		return err
	}
	set := append([]string{"ACL", "SETUSER", user}, rules...)
	done, err := s.conn.transaction(ctx, set, save)
	if err == nil {
		return nil
	}
	if done {
		_, _ = s.conn.do(ctx, append([]string{"ACL", "SETUSER", user, "resetpass"}, before.rules()...)...)
		return s.explain(ctx, err, "saving the ACL", "")
	}
	return s.explain(ctx, err, "changing the password of "+user, "+multi +exec +acl|setuser +acl|save +config|rewrite")
}

// save saves the ACL as it is, and returns the command that did. It is ACL SAVE
// wherever there is an aclfile, for CONFIG REWRITE writes no users then.
func (s *session) save(ctx context.Context) ([]string, error) {
	command, rule := []string{"ACL", "SAVE"}, "+acl|save"
	_, err := s.conn.do(ctx, command...)
	if isReply(err, "not configured to use an ACL file") {
		command, rule = []string{"CONFIG", "REWRITE"}, "+config|rewrite"
		_, err = s.conn.do(ctx, command...)
	}
	if isReply(err, "ERR ") {
		return nil, rotation.Errorf(rotation.ClassPolicy, "the server cannot keep a new password over a restart: %w; give it an aclfile, or a configuration file, that it may write", err)
	}
	return command, s.explain(ctx, err, "saving the ACL", rule)
}

// user is what the server knows of a user.
type user struct {
	noPassword bool
	off        bool
	hashes     []string // the oldest first
}

// rules give the user its passwords.
func (u user) rules() []string {
	var rules []string
	for _, h := range u.hashes {
		rules = append(rules, "#"+h)
	}
	if u.noPassword {
		rules = append(rules, "nopass")
	}
	return rules
}

// look asks for a user. SETUSER would make one that is absent.
func (s *session) look(ctx context.Context, name string) (user, error) {
	reply, err := s.conn.do(ctx, "ACL", "GETUSER", name)
	if err != nil {
		return user{}, s.explain(ctx, err, "reading the user "+name, "+acl|getuser")
	}
	members, _ := reply.([]any)
	if members == nil {
		return user{}, rotation.NoUser(name)
	}
	var u user
	for i := 0; i+1 < len(members); i += 2 {
		switch members[i] {
		case "flags":
			flags := texts(members[i+1])
			u.noPassword, u.off = slices.Contains(flags, "nopass"), slices.Contains(flags, "off")
		case "passwords":
			u.hashes = texts(members[i+1])
		}
	}
	return u, nil
}

func texts(reply any) []string {
	var list []string
	members, _ := reply.([]any)
	for _, m := range members {
		if text, ok := m.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// Close ends the connection.
func (s *session) Close() error { return s.conn.Close() }

// hash is what the server keeps of a password.
func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// explain classifies a failed command, and names the rules that the session's
// user lacks. nil stays nil.
func (s *session) explain(ctx context.Context, err error, doing, rules string) error {
	if err == nil {
		return nil
	}
	class, cause := classify(ctx, err, s.login.Password)
	if class == rotation.ClassPrivilege && rules != "" {
		return rotation.Errorf(class, "%s needs a permission: ACL SETUSER %s %s (%w)", doing, s.login.Username, rules, cause)
	}
	return rotation.Errorf(class, "%s: %w", doing, cause)
}

// loginError says why nobody was let in, and what to do.
func loginError(ctx context.Context, err error, l rotation.Login) error {
	class, cause := classify(ctx, err, l.Password)
	hint := class.Hint(l)
	switch class {
	case rotation.ClassTLS:
		hint = rotation.TLSHint(cause, l)
	case rotation.ClassTCP:
		switch {
		case isReply(cause, ""):
			hint = "the server is starting; the step will be repeated"
		case !l.Encrypted():
			hint += `; a port of TLS alone breaks such connections too, and needs "ssl": true in the secret`
		}
	case rotation.ClassAuth:
		hint = "check the password, and that the server has the user and it is on"
	}
	if hint != "" {
		hint = "; " + hint
	}
	return rotation.Errorf(class, "logging in to %s as %s: %w%s", l.Address(defaultPort), l.Username, cause, hint)
}

// classes gives the first word of an error reply a class; others are
// ClassDatabase.
var classes = map[string]rotation.Class{
	"WRONGPASS": rotation.ClassAuth,
	"NOAUTH":    rotation.ClassAuth,
	"NOPERM":    rotation.ClassPrivilege,
	"DENIED":    rotation.ClassPrivilege, // protected-mode
	"LOADING":   rotation.ClassTCP,       // the server starts
}

// classify finds the class of a failure, and what may be shown of it.
func classify(ctx context.Context, err error, secret string) (rotation.Class, error) {
	var known *rotation.Error
	var reply *replyError
	switch {
	case errors.As(err, &known):
		return known.Class, known
	case errors.As(err, &reply):
		return classOf(reply), reply.without(secret)
	case errors.Is(err, rotation.ErrNoTLS):
		return rotation.ClassTLS, err
	case ctx.Err() != nil:
		return rotation.ClassTimeout, ctx.Err()
	}
	if class := rotation.NetworkClass(err); class != "" {
		return class, err
	}
	return rotation.ClassDatabase, err
}

func classOf(e *replyError) rotation.Class {
	// The user may not send EXEC.
	word, rest, _ := strings.Cut(strings.TrimPrefix(e.text, "EXECABORT Transaction discarded because of: "), " ")
	if word == "ERR" && strings.Contains(rest, "AUTH") || strings.Contains(rest, "'auth' command") {
		return rotation.ClassPolicy // a user default without a password, or Redis 5
	}
	if class, ok := classes[word]; ok {
		return class
	}
	return rotation.ClassDatabase
}
