package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"golang.org/x/sync/errgroup"
)

// ImportOptions say how Import writes. The zero value writes everything but
// rotation.
type ImportOptions struct {
	// KMSKeyID is the key of secrets that Import creates; empty means the default
	// key.
	KMSKeyID string
	// WithRotation configures rotation where it was enabled. Two servers that
	// rotate one database account lock each other out: end it at the source first.
	WithRotation bool
	// DryRun compares and writes nothing.
	DryRun bool
	// Report is called for every secret, in their order; nil means nobody listens.
	Report func(Event)
}

// ErrIncomplete says that some secrets were not imported; Report told which.
var ErrIncomplete = errors.New("some secrets were not imported")

// ErrConflict says that there is a secret of that name which is not the same and
// was not begun by an import of this very secret. It is left as it is.
var ErrConflict = errors.New("the secret exists and differs from the archive")

// unfinished is the description of a secret whose import has not come to its end;
// the hash of what is to be imported follows. The true description is set last,
// so only what carries this may be completed.
const unfinished = "keyturn import, not completed: SHA-256 "

// Import writes the secrets of an archive, reads each back and compares its
// hash. A secret that fails does not stop the others; the error is then
// ErrIncomplete. Import may be run again at any time: a secret that exists is never
// changed, unless an interrupted import of the same one made it. The error for an archive that
// cannot be read is ErrArchive; secrets before the damage were imported.
func Import(ctx context.Context, api *sm.Client, in io.Reader, o ImportOptions) (sum Summary, err error) {
	r, err := newReader(in)
	if err != nil {
		return sum, err
	}
	for {
		secrets, err := some(r)
		importSome(ctx, api, secrets, o, &sum)
		switch {
		case ctx.Err() != nil:
			return sum, ctx.Err()
		case err != nil:
			return sum, err
		}
		if len(secrets) == 0 {
			break
		}
	}
	sum.Hash = r.hash
	if sum.Actions[Failed] > 0 {
		return sum, ErrIncomplete
	}
	return sum, nil
}

// some returns the next secrets; with an error those before the damage.
func some(r *reader) (secrets []*Secret, err error) {
	for len(secrets) < atOnce && r.hash == "" {
		s, err := r.secret()
		if err != nil {
			return secrets, err
		}
		if s != nil {
			secrets = append(secrets, s)
		}
	}
	return secrets, nil
}

func importSome(ctx context.Context, api *sm.Client, secrets []*Secret, o ImportOptions, sum *Summary) {
	events := make([]Event, len(secrets))
	var g errgroup.Group
	for i, s := range secrets {
		g.Go(func() error {
			w := target{api: api, want: s, options: o}
			events[i] = w.bring(ctx)
			return nil
		})
	}
	_ = g.Wait() // failures are in the events
	for i, e := range events {
		if e.Action != Failed && e.Action != Interrupted {
			sum.Versions += len(secrets[i].Versions)
		}
		sum.count(e, o.Report)
	}
}

// target is one secret on the server that is written to.
type target struct {
	api     *sm.Client
	want    *Secret
	options ImportOptions
	arn     string // empty as long as it does not exist
}

func (t *target) bring(ctx context.Context) Event {
	action, err := t.compare(ctx)
	if err == nil && !t.options.DryRun && action != Unchanged {
		err = t.write(ctx)
	}
	if err == nil && !t.options.DryRun {
		err = t.configureRotation(ctx)
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return Event{Name: t.want.Name, Action: Interrupted, Detail: "the next import completes it"}
	case err != nil:
		return Event{Name: t.want.Name, Action: Failed, Err: err}
	}
	return Event{Name: t.want.Name, Action: action, Detail: versions(len(t.want.Versions))}
}

// compare tells what is to be done, and finds the secret.
func (t *target) compare(ctx context.Context) (Action, error) {
	d, err := t.api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &t.want.Name})
	switch {
	case errors.As(err, new(*types.ResourceNotFoundException)):
		return Created, nil
	case err != nil:
		return Failed, fmt.Errorf("looking for it: %w", err)
	case d.DeletedDate != nil:
		return Failed, errors.New("a secret of this name is scheduled for deletion: restore it, or delete it for good, first")
	}
	t.arn = aws.ToString(d.ARN)
	if aws.ToString(d.Description) == unfinished+t.want.Hash {
		return Completed, nil
	}
	now, err := read(ctx, t.api, t.arn)
	if err != nil {
		return Failed, err
	}
	if now.Hash != t.want.Hash {
		return Failed, ErrConflict
	}
	return Unchanged, nil
}

// write brings the secret to what the archive holds, and proves it before it is
// called complete. Each step may be done twice. The policy comes before the
// values: nobody is to read one whom it denies.
func (t *target) write(ctx context.Context) error {
	for _, step := range []func(context.Context) error{t.create, t.putPolicy, t.tag, t.putVersions, t.label, t.prove, t.complete} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prove reads all of it back.
func (t *target) prove(ctx context.Context) error {
	now, err := read(ctx, t.api, t.arn)
	if err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	now.Description = t.want.Description
	if err := now.seal(); err != nil || now.Hash != t.want.Hash {
		return errors.Join(err, errors.New("what was read back differs from the archive"))
	}
	return nil
}

// complete sets the true description.
func (t *target) complete(ctx context.Context) error {
	if _, err := t.api.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: &t.arn, Description: &t.want.Description}); err != nil {
		return fmt.Errorf("updating its description: %w", err)
	}
	return nil
}

func (t *target) create(ctx context.Context) error {
	if t.arn != "" {
		return nil
	}
	in := &sm.CreateSecretInput{Name: &t.want.Name, Description: aws.String(unfinished + t.want.Hash), Type: ifSet(t.want.Type),
		KmsKeyId: ifSet(t.options.KMSKeyID), Tags: tagList(t.want.Tags)}
	out, err := t.api.CreateSecret(ctx, in)
	if err != nil {
		return fmt.Errorf("creating it: %w", err)
	}
	t.arn = aws.ToString(out.ARN)
	return nil
}

// tag sets the archive's tags and removes others.
func (t *target) tag(ctx context.Context) error {
	d, err := t.api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &t.arn})
	if err != nil {
		return fmt.Errorf("describing it: %w", err)
	}
	missing, surplus := difference(t.want.Tags, tagsOf(d.Tags))
	if len(surplus) > 0 {
		if _, err := t.api.UntagResource(ctx, &sm.UntagResourceInput{SecretId: &t.arn, TagKeys: surplus}); err != nil {
			return fmt.Errorf("removing tags: %w", err)
		}
	}
	if len(missing) > 0 {
		if _, err := t.api.TagResource(ctx, &sm.TagResourceInput{SecretId: &t.arn, Tags: tagList(missing)}); err != nil {
			return fmt.Errorf("setting tags: %w", err)
		}
	}
	return nil
}

func difference(want, have []Tag) (missing []Tag, surplus []string) {
	left := map[string]string{}
	for _, t := range have {
		left[t.Key] = t.Value
	}
	for _, t := range want {
		if value, ok := left[t.Key]; !ok || value != t.Value {
			missing = append(missing, t)
		}
		delete(left, t.Key)
	}
	for key := range left {
		surplus = append(surplus, key)
	}
	return missing, surplus
}

func (t *target) putPolicy(ctx context.Context) error {
	now, err := t.api.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: &t.arn})
	if err != nil {
		return fmt.Errorf("reading its resource policy: %w", err)
	}
	switch {
	case aws.ToString(now.ResourcePolicy) == t.want.Policy:
		return nil
	case t.want.Policy == "":
		_, err = t.api.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: &t.arn})
	default:
		_, err = t.api.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: &t.arn, ResourcePolicy: &t.want.Policy})
	}
	if err != nil {
		return fmt.Errorf("putting its resource policy: %w", err)
	}
	return nil
}

func tagList(tags []Tag) []types.Tag {
	var list []types.Tag
	for _, t := range tags {
		list = append(list, types.Tag{Key: &t.Key, Value: &t.Value})
	}
	return list
}

// ifSet leaves out what is empty.
func ifSet(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
