package smapi

import (
	"context"
	"slices"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/keyturnapi"
)

// addPasswords tells what is known of a secret's passwords in its database, when it
// rotates, and since when that fails.
func (s *Service) addPasswords(ctx context.Context, tx *sqldb.Tx, out *keyturnapi.ListRotationsOutput) error {
	st, err := s.sched.Standing(ctx, tx, secret.ARN(out.ARN))
	if err != nil || st == nil {
		return err
	}
	out.RotateAt, out.Passwords = st.RotateAt, passwords(st)
	out.TestedAt, out.FailingSince = st.Tested, st.FailingSince
	return nil
}

func passwords(st *scheduler.Standing) *keyturnapi.RotationPasswords {
	p := &keyturnapi.RotationPasswords{Drift: st.Drift, DriftSince: st.Since, NextCheck: st.CheckAt, OldPasswordUntil: st.RetireAt}
	if st.RetireAt != nil {
		p.OldPasswordReplacedBy = string(st.RetireVersion)
	}
	if st.Proof == nil {
		return p
	}
	p.ProvedAt, p.ProvedBy, p.ErrorClass, p.Error = &st.Proved, st.Source, st.Proof.Class, st.Proof.Error
	for _, l := range st.Proof.Logins {
		p.Logins = append(p.Logins, keyturnapi.RotationLogin{VersionID: string(l.VersionID), Stages: l.Stages, Username: l.Username,
			Outcome: l.Outcome, ErrorClass: l.Class, Error: l.Error, At: l.At})
	}
	return p
}

// checkTagged plans the next canary login anew if one of the keys is its tag.
func (s *Service) checkTagged(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, keys []string) error {
	if !slices.Contains(keys, scheduler.DriftCheckTag) {
		return nil
	}
	return s.sched.PlanCheck(ctx, tx, arn)
}

// keysOf are the keys of tags.
func keysOf(all []secret.Tag) (keys []string) {
	for _, t := range all {
		keys = append(keys, t.Key)
	}
	return keys
}
