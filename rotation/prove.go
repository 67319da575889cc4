package rotation

import (
	"context"
	"errors"
	"slices"
	"time"
)

// StepProve is keyturn's own: it logs in with each staged version and tells in
// Result.Logins which are live. It changes nothing, needs no token, and may
// run at any time.
const StepProve = "proveSecret"

// The values of LoginProof.Outcome.
const (
	LoginLive    = "live"    // the database let the login in, or lacked only a connection for it
	LoginRefused = "refused" // the database looked at the password and refused it
	LoginUnknown = "unknown" // nobody knows: Class and Error say why
)

// LoginProof is what a login with one version's password has shown. It never
// holds a password.
type LoginProof struct {
	VersionID string    `json:"versionId"`
	Stages    []string  `json:"stages"` // the staging labels, sorted
	Username  string    `json:"username"`
	Outcome   string    `json:"outcome"`
	Class     Class     `json:"class,omitempty"` // of a login that is not live
	Error     string    `json:"error,omitempty"`
	At        time.Time `json:"at"` // UTC

	// SameAs is the version before this one in the list that has the same password;
	// the login was tried once, for both.
	SameAs string `json:"sameAs,omitempty"`
}

// prove tries each label's login once, AWSCURRENT's first, and the same user
// with the same password never again: a server that counts wrong logins sees
// one for each label at most. MySQL (FAILED_LOGIN_ATTEMPTS) and MariaDB
// (max_password_errors) count those in a row, so a login that is known to be
// live follows each one that was refused.
func (f *Function) prove(ctx context.Context, e Event, s staging) (Result, error) {
	cur, err := f.readCurrent(ctx, e.SecretID)
	if err != nil {
		return Result{}, err
	}
	p := &prover{f: f, at: cur.login, seen: map[Login]LoginProof{}}
	var logins []LoginProof
	for _, version := range s.provable() {
		proof, found, err := f.proveVersion(ctx, e, s, p, version)
		if err != nil {
			return Result{}, err
		}
		if found {
			logins = append(logins, proof)
		}
	}
	return Result{Logins: logins}, nil
}

// provable lists the versions of the three labels, each once.
func (s staging) provable() []string {
	var versions []string
	for _, label := range []string{current, pending, previous} {
		v := s.holder(label)
		if v != "" && !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
	}
	return versions
}

// proveVersion tries one version. One that is staged but has no value yet is
// not found.
func (f *Function) proveVersion(ctx context.Context, e Event, s staging, p *prover, version string) (proof LoginProof, found bool, err error) {
	stages := slices.Sorted(slices.Values(s.labels[version]))
	d, err := f.read(ctx, e.SecretID, version, stages[0])
	switch {
	case isNotFound(err):
		return LoginProof{}, false, nil
	case ClassOf(err) == ClassSecret:
		proof = LoginProof{Outcome: LoginUnknown, Class: ClassSecret, Error: err.Error(), At: f.now()}
	case err != nil:
		return LoginProof{}, false, err
	default:
		proof = p.try(ctx, d.login, version)
	}
	proof.VersionID, proof.Stages = version, stages
	return proof, true, nil
}

// prover logs in to the server of AWSCURRENT, and to no other: a staged value
// that names another place would send a password there.
type prover struct {
	f       *Function
	at      Login                // AWSCURRENT's
	seen    map[Login]LoginProof // :: login → what it has shown
	live    *Login               // one that was let in
	offline *LoginProof          // the server cannot be reached
}

func (p *prover) try(ctx context.Context, l Login, version string) LoginProof {
	if l.Engine != p.at.Engine || l.Host != p.at.Host || l.Port != p.at.Port {
		return p.f.unknown(l, ClassSecret, "the version belongs to another server than AWSCURRENT; nothing was sent there")
	}
	there := p.at.withPassword(l.Password)
	there.Username = l.Username
	if proof, ok := p.seen[there]; ok {
		proof.SameAs = proof.VersionID
		return proof
	}
	if p.offline != nil {
		return p.f.unknown(l, p.offline.Class, "not tried, for AWSCURRENT's login got no answer: "+p.offline.Error)
	}
	proof := p.login(ctx, there)
	proof.VersionID = version
	p.seen[there] = proof
	return proof
}

// login tries one login, and remembers what the next ones should know.
func (p *prover) login(ctx context.Context, l Login) LoginProof {
	ok, err := p.f.attempt(ctx, l)
	if ok {
		p.live = &l
		return LoginProof{Username: l.Username, Outcome: LoginLive, At: p.f.now()}
	}
	proof := p.f.unknown(l, ClassOf(explain("logging in", err)), err.Error())
	switch proof.Class {
	case ClassAuth:
		proof.Outcome = LoginRefused
		p.makeGood(ctx, l)
	case ClassDNS, ClassTCP, ClassTLS, ClassTimeout:
		p.offline = &proof
	}
	return proof
}

// makeGood sets the server's count of an account's wrong logins in a row back
// to none.
func (p *prover) makeGood(ctx context.Context, wrong Login) {
	if p.live != nil && p.live.Username == wrong.Username {
		_, _ = p.f.attempt(ctx, *p.live)
	}
}

func (f *Function) attempt(ctx context.Context, l Login) (bool, error) {
	session, err := f.connect(ctx, l)
	if errors.Is(err, ErrConnectionLimit) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	_ = session.Close()
	return true, nil
}

func (f *Function) unknown(l Login, class Class, text string) LoginProof {
	return LoginProof{Username: l.Username, Outcome: LoginUnknown, Class: class, Error: text, At: f.now()}
}
