package smapi

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

// Extensions returns the operations beyond AWS's API that tell about secrets.
func (s *Service) Extensions() []wire.Op {
	return []wire.Op{
		wire.On("ListRotations", s.recordsTarget, s.records),
		onNone("BatchListRotations", checkBatchRecords, s.batchRecords),
		wire.On("ExplainRotation", s.explainTarget, s.explain),
		wire.On("RetireOldPassword", s.retireTarget, s.retireOld),
	}
}

func (s *Service) recordsTarget(ctx context.Context, in *keyturnapi.ListRotationsInput) (iam.Resource, error) {
	var v wire.Violations
	v.Range("maxResults", &in.MaxResults, 0, 1000)
	return s.targetOf(ctx, in, &in.SecretID, &v)
}

// targetOf is target for an operation of keyturn's own, whose SecretId is no
// pointer. v is what else is wrong with the request.
func (s *Service) targetOf(ctx context.Context, in any, secretID *string, v *wire.Violations) (iam.Resource, error) {
	id := ifSet(*secretID)
	checkID(v, id)
	if err := v.Err(); err != nil {
		return iam.Resource{}, err
	}
	res, err := s.target(ctx, in, &id)
	*secretID = res.ARN
	return res, err
}

func (s *Service) records(ctx context.Context, in *keyturnapi.ListRotationsInput) (out *keyturnapi.ListRotationsOutput, err error) {
	limit := in.MaxResults
	if limit == 0 {
		limit = 100
	}
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		arn := secret.ARN(in.SecretID)
		if out, err = s.recordsOf(ctx, tx, arn, limit); err != nil {
			return err
		}
		pending, err := s.vault.Unfinished(ctx, tx, []secret.ARN{arn})
		addPending(out, pending)
		return err
	})
	return out, err
}

// recordsOf tells how a secret's rotation stands.
func (s *Service) recordsOf(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, limit int64) (*keyturnapi.ListRotationsOutput, error) {
	out := &keyturnapi.ListRotationsOutput{ARN: string(arn), Name: arn.Name()}
	if _, err := s.vault.Find(ctx, tx, arn); err != nil {
		return nil, err
	}
	state, err := s.sched.State(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	addState(out, state)
	if err := s.addPasswords(ctx, tx, out); err != nil {
		return nil, err
	}
	runs, err := s.sched.Runs(ctx, tx, arn, limit)
	for _, r := range runs {
		out.Runs = append(out.Runs, record(r))
	}
	return out, err
}

func addPending(out *keyturnapi.ListRotationsOutput, pending map[secret.ARN]time.Time) {
	if since, ok := pending[secret.ARN(out.ARN)]; ok {
		out.PendingSince = &since
	}
}

func addState(out *keyturnapi.ListRotationsOutput, state *scheduler.State) {
	if state == nil {
		return
	}
	out.Strategy = state.Strategy
	if p := state.Pending; p != nil {
		out.Next = &keyturnapi.RotationNext{Step: p.Name, At: p.At, Attempt: p.Attempt}
	}
}

func record(r scheduler.Run) keyturnapi.RotationRun {
	return keyturnapi.RotationRun{VersionID: string(r.VersionID), Kind: r.Kind, Step: r.Step, Attempt: r.Attempt,
		Started: r.Started, Ended: r.Ended, Outcome: r.Outcome, ErrorClass: r.ErrorClass, Error: r.Error, Strategy: r.Strategy, ExposureMicros: r.ExposureMicros}
}
