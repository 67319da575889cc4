package smapi

import (
	"cmp"
	"context"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

const defaultWindows = 5

func (s *Service) explainTarget(ctx context.Context, in *keyturnapi.ExplainRotationInput) (iam.Resource, error) {
	var v wire.Violations
	v.Range("maxResults", &in.MaxResults, 0, 100)
	return s.targetOf(ctx, in, &in.SecretID, &v)
}

func (s *Service) explain(ctx context.Context, in *keyturnapi.ExplainRotationInput) (*keyturnapi.ExplainRotationOutput, error) {
	arn := secret.ARN(in.SecretID)
	out := &keyturnapi.ExplainRotationOutput{ARN: in.SecretID, Name: arn.Name()}
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error {
		found, err := s.vault.Find(ctx, tx, arn)
		if err != nil {
			return err
		}
		out.DeletedDate = found.DeleteAt
		e, err := s.sched.Explain(ctx, tx, arn, int(cmp.Or(in.MaxResults, defaultWindows)))
		if err == nil {
			addExplanation(out, e)
		}
		return err
	})
	return out, err
}

func addExplanation(out *keyturnapi.ExplainRotationOutput, e *scheduler.Explanation) {
	out.RotationEnabled, out.LastRotatedDate, out.CountedFrom = e.Enabled, e.LastRotated, e.CountedFrom
	out.AutomaticallyAfterDays, out.ScheduleExpression, out.Duration = e.Rule.Days, e.Rule.Expr, e.Rule.Duration
	out.TimeZone, out.Blackout = cmp.Or(e.Rule.Calendar.Zone, "UTC"), e.Rule.Calendar.Blackout
	for _, w := range e.Windows {
		out.Windows = append(out.Windows, keyturnapi.RotationWindow{Opens: w.Start, Closes: w.End, Rotates: &w.At, PassedOver: w.PassedOver})
	}
}

func (s *Service) retireTarget(ctx context.Context, in *keyturnapi.RetireOldPasswordInput) (iam.Resource, error) {
	return s.targetOf(ctx, in, &in.SecretID, new(wire.Violations))
}

// retireOld serves secrets that RDS manages as well: whoever may rotate one ends the
// password before, too, after a leak of all things.
func (s *Service) retireOld(ctx context.Context, in *keyturnapi.RetireOldPasswordInput) (*keyturnapi.RetireOldPasswordOutput, error) {
	arn := secret.ARN(in.SecretID)
	out := &keyturnapi.RetireOldPasswordOutput{ARN: in.SecretID, Name: arn.Name()}
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.primary(ctx, tx, arn); err != nil {
			return err
		}
		token, err := s.sched.RetireNow(ctx, tx, arn)
		out.VersionID = string(token)
		return err
	})
	if err != nil {
		return nil, err
	}
	audit.Of(ctx).VersionID = out.VersionID
	s.sched.Poke()
	return out, nil
}
