package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"golang.org/x/sync/errgroup"
)

// ExportOptions say what Export reads. The zero value means every secret of the
// account and region.
type ExportOptions struct {
	// IDs are names or ARNs; empty means all secrets that Prefix allows.
	IDs []string
	// Prefix is what names begin with; unused with IDs.
	Prefix string
	// DryRun lists what would be exported and reads no value.
	DryRun bool
	// Report is called for every secret, in their order; nil means nobody listens.
	Report func(Event)
	// Now is the time of the archive's header.
	Now time.Time
}

// Event tells how a secret went.
type Event struct {
	Name   string
	Action Action
	Detail string // why it was skipped, or how many versions it has
	Err    error  // set with Failed only
}

// Action is what was done with a secret, or in a dry run would be.
type Action string

// The actions.
const (
	Exported  Action = "exported"
	Created   Action = "created"
	Completed Action = "completed" // an import of it had been interrupted
	Unchanged Action = "unchanged"
	Skipped   Action = "skipped"
	Failed    Action = "failed"
	// Interrupted: the context of an import ended meanwhile. Another one completes it.
	Interrupted Action = "interrupted"
)

// Summary counts what was done.
type Summary struct {
	Secrets  int            `json:"secrets"`
	Versions int            `json:"versions"`
	Actions  map[Action]int `json:"actions"`
	Hash     string         `json:"sha256,omitempty"` // of the archive's content
}

func (s *Summary) count(e Event, report func(Event)) {
	if s.Actions == nil {
		s.Actions = map[Action]int{}
	}
	s.Secrets++
	s.Actions[e.Action]++
	if report != nil {
		report(e)
	}
}

// ErrNothing says that there is no secret to be exported.
var ErrNothing = errors.New("no secret matches")

// atOnce is how many secrets are read or written at a time.
const atOnce = 8

// Export writes an archive of the secrets that o names to out. A secret that
// cannot be read ends it with an error: an archive is whole or it is none. Only what
// is deleted meanwhile, and was not named, is skipped.
func Export(ctx context.Context, api *sm.Client, out io.Writer, o ExportOptions) (sum Summary, err error) {
	entries, err := selected(ctx, api, o)
	if err != nil {
		return sum, err
	}
	if len(entries) == 0 {
		return sum, ErrNothing
	}
	if o.DryRun {
		dryRun(&sum, entries, o.Report)
		return sum, nil
	}
	w, err := newWriter(out, o.Now)
	if err != nil {
		return sum, err
	}
	for len(entries) > 0 {
		n := min(atOnce, len(entries))
		if err := exportSome(ctx, api, w, entries[:n], &sum, o); err != nil {
			return sum, err
		}
		entries = entries[n:]
	}
	sum.Hash, err = w.close()
	return sum, err
}

// entry is a secret to be exported, or the reason why it is not.
type entry struct{ id, name, skip string }

func dryRun(sum *Summary, entries []entry, report func(Event)) {
	for _, e := range entries {
		event := Event{Name: e.name, Action: Exported}
		if e.skip != "" {
			event.Action, event.Detail = Skipped, e.skip
		}
		sum.count(event, report)
	}
}

// exportSome reads some secrets at once and writes them in their order.
func exportSome(ctx context.Context, api *sm.Client, w *writer, entries []entry, sum *Summary, o ExportOptions) error {
	secrets := make([]*Secret, len(entries))
	g, ctx := errgroup.WithContext(ctx)
	for i, e := range entries {
		if e.skip != "" {
			continue
		}
		g.Go(func() (err error) {
			secrets[i], err = read(ctx, api, e.id)
			if err != nil && len(o.IDs) == 0 && deleted(ctx, api, e.id) {
				entries[i].skip = "deleted during the export"
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, s := range secrets {
		if s == nil {
			sum.count(Event{Name: entries[i].name, Action: Skipped, Detail: entries[i].skip}, o.Report)
			continue
		}
		if err := w.add(s); err != nil {
			return err
		}
		sum.Versions += len(s.Versions)
		sum.count(Event{Name: s.Name, Action: Exported, Detail: versions(len(s.Versions))}, o.Report)
	}
	return nil
}

// deleted reports whether a secret that was listed is gone, or scheduled for deletion.
func deleted(ctx context.Context, api *sm.Client, id string) bool {
	d, err := api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &id})
	return errors.As(err, new(*types.ResourceNotFoundException)) || err == nil && d.DeletedDate != nil
}

func versions(n int) string {
	if n == 1 {
		return "1 version"
	}
	return fmt.Sprintf("%d versions", n)
}

func selected(ctx context.Context, api *sm.Client, o ExportOptions) ([]entry, error) {
	if len(o.IDs) == 0 {
		return listed(ctx, api, o.Prefix)
	}
	var all []entry
	for _, id := range o.IDs {
		e, err := named(ctx, api, id)
		if err != nil {
			return nil, err
		}
		// Import could not create a secret that is there twice.
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all, nil
}

func named(ctx context.Context, api *sm.Client, id string) (entry, error) {
	d, err := api.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return entry{}, fmt.Errorf("describing %s: %w", id, err)
	}
	if d.DeletedDate != nil {
		return entry{}, errors.New(id + " is scheduled for deletion: restore it first")
	}
	return entry{id: aws.ToString(d.ARN), name: aws.ToString(d.Name), skip: unmovable(d.ARN, d.OwningService, d.PrimaryRegion)}, nil
}

func listed(ctx context.Context, api *sm.Client, prefix string) (all []entry, err error) {
	in := &sm.ListSecretsInput{Filters: nameFilter(prefix)}
	for pages := sm.NewListSecretsPaginator(api, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the secrets: %w", err)
		}
		for _, s := range page.SecretList {
			if !strings.HasPrefix(aws.ToString(s.Name), prefix) {
				continue // what was not asked for is not to leave the server, whatever the filter let through
			}
			all = append(all, entry{id: aws.ToString(s.ARN), name: aws.ToString(s.Name),
				skip: unmovable(s.ARN, s.OwningService, s.PrimaryRegion)})
		}
	}
	return all, nil
}

// nameFilter has the service look for a prefix, if it can: an exclamation mark,
// which names may begin with, turns a filter around.
func nameFilter(prefix string) []types.Filter {
	if prefix == "" || strings.HasPrefix(prefix, "!") {
		return nil
	}
	return []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}
}

// unmovable says why a secret stays where it is; empty: it does not.
func unmovable(arn, service, primary *string) string {
	switch {
	case service != nil:
		return "managed by " + *service
	case primary != nil && *primary != part(*arn, 3):
		return "a replica of the secret in " + *primary
	}
	return ""
}

// part returns the i-th part of an ARN, counted from 0: 3 is the region, 4 the
// account.
func part(arn string, i int) string {
	parts := strings.SplitN(arn, ":", 7)
	if i >= len(parts) {
		return ""
	}
	return parts[i]
}
