package rotation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

// The staging labels of Secrets Manager.
const (
	current  = "AWSCURRENT"
	pending  = "AWSPENDING"
	previous = "AWSPREVIOUS"
)

// staging is a secret's versions and their labels.
type staging struct {
	disabled bool
	labels   map[string][]string // :: version id → staging labels
	changed  time.Time           // LastChangedDate; zero if it is not told
	settings settings            // what the tags say
}

// staging asks Secrets Manager.
func (f *Function) staging(ctx context.Context, secretID string) (staging, error) {
	out, err := f.Secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(secretID)})
	if err != nil {
		return staging{}, Errorf(ClassAPI, "describing the secret: %w", err)
	}
	disabled := out.RotationEnabled != nil && !*out.RotationEnabled
	tags, err := readSettings(out.Tags)
	return staging{disabled, out.VersionIdsToStages, aws.ToTime(out.LastChangedDate), tags}, err
}

// has tells whether a version carries a label.
func (s staging) has(version, label string) bool {
	return slices.Contains(s.labels[version], label)
}

// holder returns the version that carries a label, "" if none does.
func (s staging) holder(label string) string {
	for version := range s.labels {
		if s.has(version, label) {
			return version
		}
	}
	return ""
}

// check refuses what AWS's templates refuse.
func (s staging) check(token string) error {
	switch {
	case s.disabled:
		return Errorf(ClassSecret, "the secret is not enabled for rotation; RotateSecret enables it")
	case s.labels[token] == nil:
		return Errorf(ClassSecret, "secret version %s has no stage for rotation", token)
	case !s.has(token, pending):
		return Errorf(ClassSecret, "secret version %s is not staged AWSPENDING; start a new rotation by RotateSecret", token)
	}
	return nil
}

// read fetches the value of one version: by label, by id, or by both.
func (f *Function) read(ctx context.Context, secretID, version, label string) (document, error) {
	in, what := &secretsmanager.GetSecretValueInput{SecretId: aws.String(secretID)}, cmp.Or(label, version)
	if label != "" {
		in.VersionStage = aws.String(label)
	}
	if version != "" {
		in.VersionId = aws.String(version)
	}
	out, err := f.Secrets.GetSecretValue(ctx, in)
	if err != nil {
		return document{}, Errorf(ClassAPI, "reading %s: %w", what, err)
	}
	if out.SecretString == nil {
		return document{}, Errorf(ClassSecret, "the value of %s is binary; a rotation needs a SecretString that is a JSON object", what)
	}
	d, err := parseDocument(*out.SecretString)
	if err != nil {
		return document{}, Errorf(ClassSecret, "reading %s: %w", what, err)
	}
	if d.strategy == "" {
		d.strategy = f.settings.strategy
	}
	return d, nil
}

// readCurrent reads AWSCURRENT, which must be a login that can be rotated.
func (f *Function) readCurrent(ctx context.Context, secretID string) (document, error) {
	cur, err := f.read(ctx, secretID, "", current)
	if err != nil {
		return document{}, err
	}
	return cur, cur.usable()
}

// pair is what most steps need: the current value and the pending one.
type pair struct{ current, pending document }

// readPair reads AWSCURRENT and the token's version. It refuses a pending
// value that would send the password to another place.
func (f *Function) readPair(ctx context.Context, e Event) (pair, error) {
	cur, err := f.readCurrent(ctx, e.SecretID)
	if err != nil {
		return pair{}, err
	}
	pend, err := f.read(ctx, e.SecretID, e.ClientRequestToken, pending)
	if isNotFound(err) {
		return pair{}, Errorf(ClassSecret, "version %s has no value yet; %s must run first: %w", e.ClientRequestToken, StepCreate, err)
	}
	if err != nil {
		return pair{}, err
	}
	return pair{cur, pend}, samePlace(cur, pend)
}

// samePlace compares the pending login with the one that the strategy expects.
func samePlace(cur, pend document) error {
	if pend.login == cur.login { // the token is AWSCURRENT already
		return nil
	}
	want, err := cur.next()
	if err != nil {
		return err
	}
	if pend.login.Password == "" || !want.samePlace(pend.login) {
		return Errorf(ClassSecret, "the pending value is not the login that follows AWSCURRENT: it names another user or server, or the strategy has changed since it was made; "+
			"nothing was sent to it. \"keyturn rotation repair\" begins anew, as does removing the label AWSPENDING by UpdateSecretVersionStage and rotating again")
	}
	return nil
}

// isTaken tells whether a version has another value already.
func isTaken(err error) bool {
	var answer smithy.APIError
	return errors.As(err, &answer) && answer.ErrorCode() == "ResourceExistsException"
}

func isNotFound(err error) bool {
	var missing *types.ResourceNotFoundException
	return errors.As(err, &missing)
}
