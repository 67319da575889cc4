package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/rotation"
)

var _ rotation.Transactional = (*session)(nil)

// begin opens a transaction for a change of a password.
//
// READ WRITE: a role that only reads may be set to default_transaction_read_only.
// SET ROLE NONE: a login role may be set to act as another one, which may not
// change the password of the first. synchronous_commit: a change that a crash
// of the server can undo must not be promoted.
const begin = "BEGIN READ WRITE; SET LOCAL ROLE NONE; SET LOCAL synchronous_commit = on; "

// readWrite does so for the statements that one query sends without a BEGIN.
const readWrite = "SET TRANSACTION READ WRITE; "

// bounded ends a transaction whose client hangs or is gone: it holds the lock
// of the role's row, which no login waits for, but every other change does.
const bounded = "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10s'; " +
	"SET LOCAL idle_in_transaction_session_timeout = '20s'; "

// rollbackTime bounds a ROLLBACK; after it the connection is closed.
const rollbackTime = 2 * time.Second

// commitTime is how long a COMMIT may wait for a synchronous standby. Nothing of the
// server's bounds that; meanwhile neither the new password nor any other change of the
// role is to be had.
const commitTime = 2 * time.Second

// BeginPassword implements rotation.Transactional.
func (s *session) BeginPassword(ctx context.Context, user, password string) (rotation.Tx, error) {
	alter, err := s.alterRole(user, password)
	if err != nil {
		return nil, err
	}
	if err := s.admits(ctx, user); err != nil {
		return nil, err
	}
	t := &tx{s: s}
	if err := s.exec(ctx, begin+bounded+alter); err != nil {
		t.Rollback()
		return nil, s.needs(err, user)
	}
	return t, nil
}

// tx is a change of a password before its COMMIT.
type tx struct {
	s     *session
	ended bool
}

// Commit implements rotation.Tx. The server answers COMMIT with ROLLBACK if the
// transaction had failed before.
func (t *tx) Commit(ctx context.Context) error {
	t.ended = true
	defer t.hurry(ctx)()
	results, err := t.s.conn.PgConn().Exec(ctx, "COMMIT").ReadAll()
	if err != nil {
		return statementError(ctx, err)
	}
	if len(results) != 1 || results[0].CommandTag.String() != "COMMIT" {
		return &rotation.Error{Class: rotation.ClassDatabase, Err: errors.New("the server has rolled the change back")}
	}
	return nil
}

// hurry cancels a COMMIT that waits for long. The change is durable on this server by
// then, and the server answers COMMIT all the same (SyncRepWaitForLSN in its source).
func (t *tx) hurry(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	late := time.AfterFunc(commitTime, func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
		defer cancel()
		_ = t.s.conn.PgConn().CancelRequest(ctx)
	})
	return func() {
		if !late.Stop() {
			<-done // it must not hit what comes next
		}
	}
}

// Rollback implements rotation.Tx.
func (t *tx) Rollback() {
	if t.ended {
		return
	}
	t.ended = true
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	_ = t.s.exec(ctx, "ROLLBACK") // closing the connection rolls back as well
}

// alterRole is the statement that sets a password.
func (s *session) alterRole(user, password string) (string, error) {
	verifier, err := newVerifier(password, s.iterations)
	if err != nil {
		return "", err
	}
	return "ALTER ROLE " + pgx.Identifier{user}.Sanitize() + " PASSWORD '" + verifier + "'", nil
}

// rejections are the codes with which modules refuse a password in ALTER ROLE,
// where they mean no login: passwordcheck, credcheck.
var rejections = []string{"22023", "28000", "28P01"}

// rejected tells whether the server refused the new password.
func rejected(err error) bool {
	var e *serverError
	return errors.As(err, &e) && slices.Contains(rejections, e.code)
}

// isMissing tells whether there is no such role (undefined_object).
func isMissing(err error) bool {
	var e *serverError
	return errors.As(err, &e) && e.code == "42704"
}

// needs explains why ALTER ROLE failed: what the password lacks, or what the
// session must be granted.
func (s *session) needs(err error, user string) error {
	switch {
	case rejected(err) && strings.Contains(err.Error(), "plain text"):
		return rotation.Errorf(rotation.ClassPolicy, "the server wants to see passwords in clear text, which would leave them in its log; allow verifiers, by credcheck.encrypted_password_allowed: %w", err)
	case rejected(err):
		return rotation.Errorf(rotation.ClassPolicy, "%w: %w", rotation.ErrRejected, err)
	}
	if isMissing(err) {
		return rotation.NoUser(user)
	}
	if rotation.ClassOf(err) != rotation.ClassPrivilege {
		return err
	}
	if isGuarded(err) {
		return rotation.Errorf(rotation.ClassPrivilege, guardedHint+": %w", user, err)
	}
	self, role := pgx.Identifier{s.login.Username}.Sanitize(), pgx.Identifier{user}.Sanitize()
	if user == s.login.Username {
		return rotation.Errorf(rotation.ClassPrivilege, "changing one's own password needs no privilege, unless the server restricts it, as RDS does under rds.restrict_password_commands: GRANT rds_password TO %s: %w", self, err)
	}
	return rotation.Errorf(rotation.ClassPrivilege, "changing the password of %s needs CREATEROLE, and from PostgreSQL 16 on ADMIN OPTION: GRANT %s TO %s WITH ADMIN OPTION: %w", user, role, self, err)
}
