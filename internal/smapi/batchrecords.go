package smapi

import (
	"context"
	"errors"

	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

const (
	maxBatchRecords = 100 // secrets of one BatchListRotations: a page of ListSecrets
	recordsInBatch  = 10  // of each secret: the newest that has ended is among them
)

func checkBatchRecords(in *keyturnapi.BatchListRotationsInput) error {
	var v wire.Violations
	v.Required("secretIdList", in.SecretIDList != nil)
	v.Count("secretIdList", in.SecretIDList != nil, len(in.SecretIDList), 1, maxBatchRecords)
	for i := range in.SecretIDList {
		v.Length(wire.Member("secretIdList", i), &in.SecretIDList[i], 1, 2048)
	}
	return v.Err()
}

// batchRecords is ListRotations for many secrets.
func (s *Service) batchRecords(ctx context.Context, in *keyturnapi.BatchListRotationsInput) (*keyturnapi.BatchListRotationsOutput, error) {
	out := &keyturnapi.BatchListRotationsOutput{}
	var asked []listed
	for _, id := range in.SecretIDList {
		arn, err := s.listable(ctx, id)
		if err != nil {
			out.Errors = append(out.Errors, s.notTold(id, err))
			continue
		}
		asked = append(asked, listed{id, arn})
	}
	err := s.db.Read(ctx, func(tx *sqldb.Tx) error { return s.addRecords(ctx, tx, out, asked) })
	return out, err
}

// listed is a secret that the caller may see, and how the request named it.
type listed struct {
	id  string
	arn secret.ARN
}

func (s *Service) addRecords(ctx context.Context, tx *sqldb.Tx, out *keyturnapi.BatchListRotationsOutput, asked []listed) error {
	arns := make([]secret.ARN, len(asked))
	for i, l := range asked {
		arns[i] = l.arn
	}
	pending, err := s.vault.Unfinished(ctx, tx, arns)
	if err != nil {
		return err
	}
	for _, l := range asked {
		one, err := s.recordsOf(ctx, tx, l.arn, recordsInBatch)
		if errors.Is(err, secret.ErrNotFound) {
			out.Errors = append(out.Errors, s.notTold(l.id, err))
			continue
		}
		if err != nil {
			return err
		}
		addPending(one, pending)
		out.Rotations = append(out.Rotations, *one)
	}
	return nil
}

// listable finds the secret that id names, if the caller may see its records.
func (s *Service) listable(ctx context.Context, id string) (secret.ARN, error) {
	named := &id
	res, err := s.target(ctx, &keyturnapi.ListRotationsInput{SecretID: id}, &named)
	if err != nil {
		return "", err
	}
	return secret.ARN(res.ARN), s.guard.Check(ctx, iam.CallerOf(ctx), "keyturn:ListRotations", res)
}

func (s *Service) notTold(id string, err error) keyturnapi.BatchError {
	f := fault.Of(err)
	if f.Kind == fault.Internal {
		s.log.Error("reading the records of a batch", "secret", id, "error", err)
	}
	return keyturnapi.BatchError{SecretID: id, ErrorCode: f.Kind.Code, Message: f.Message}
}
