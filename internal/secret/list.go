package secret

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// Page asks for part of the list of secrets.
type Page struct {
	At          Place
	Filters     []Filter // all of them must match
	WithDeleted bool     // IncludePlannedDeletion
	By          Order
	Descending  bool
	Limit       int    // 1 to 100
	Token       string // of the page before; empty: the first
}

// Order is what a list is sorted by. Secrets that are equal in it are in the
// order of their ARNs.
type Order int

// The orders of ListSecrets' SortBy.
const (
	ByCreated  Order = iota
	ByAccessed       // by days; never read comes first, and within a day the oldest secret
	ByChanged        // as of the last OrderChanges
	ByName
)

const (
	// batchSize is how many secrets are read at once: the largest page, and one
	// more that tells that there is a next.
	batchSize = 101
	// maxLooked bounds how many secrets one call looks at when its filters let
	// few through. A page may so be short, or empty, and still have a token.
	maxLooked = 10_000
)

// List returns a page of secrets, and the token of the next page, empty on the
// last. A bad token is ErrInvalidNextToken.
func (v *Vault) List(ctx context.Context, tx *sqldb.Tx, p Page) (all []*Secret, next string, err error) {
	after, err := p.start()
	if err != nil {
		return nil, "", err
	}
	w, err := p.walk(ctx, tx, after)
	if err != nil {
		return nil, "", err
	}
	for len(all) <= p.Limit && !w.ended() {
		batch, err := w.batch(ctx, tx, p.wants(len(all)))
		if err != nil {
			return nil, "", err
		}
		found, err := loadPage(ctx, tx, p, batch)
		if err != nil {
			return nil, "", err
		}
		all = append(all, p.matching(found)...)
	}
	switch {
	case len(all) > p.Limit:
		all = all[:p.Limit]
		return all, p.token(p.positionOf(all[p.Limit-1])), nil
	case w.more():
		return all, p.token(w.at), nil
	}
	return all, "", nil
}

// wants is how many secrets to read when the page has n.
func (p Page) wants(n int) int {
	if len(p.Filters) == 0 {
		return p.Limit + 1 - n
	}
	return batchSize
}

func (p Page) matching(found []*Secret) (all []*Secret) {
	for _, s := range found {
		if p.matches(s) {
			all = append(all, s)
		}
	}
	return all
}

func (p Page) matches(s *Secret) bool {
	for _, f := range p.Filters {
		if !f.matches(s) {
			return false
		}
	}
	return true
}

// inList stands for batchSize values in a statement, from $1 on; a list of fewer
// is filled up with such as nobody has. So one text, prepared once, serves every page.
var inList = func() string {
	var b strings.Builder
	for i := range batchSize {
		fmt.Fprintf(&b, ",$%d", i+1)
	}
	return "(" + b.String()[1:] + ")"
}()

// inArgs is the values of inList, place_names or numbers of secrets, with room for more
// arguments.
func inArgs[T string | int64](values []T) []any {
	args := make([]any, batchSize, batchSize+2)
	for i := range args {
		var v T // nobody's
		if i < len(values) {
			v = values[i]
		}
		args[i] = v
	}
	return args
}

// loadPage returns those secrets of at most batchSize numbers that the list shows, in
// their order.
func loadPage(ctx context.Context, tx *sqldb.Tx, p Page, numbers []int64) ([]*Secret, error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	args := append(inArgs(numbers), p.WithDeleted, sqldb.Millis(tx.Now))
	rows, err := tx.Query(ctx, loadText, args...)
	if err != nil {
		return nil, fmt.Errorf("reading a page of secrets: %w", err)
	}
	defer rows.Close()
	all := make(map[int64]*Secret, len(numbers))
	for rows.Next() {
		var number int64
		s, err := scanSecret(func(to ...any) error { return rows.Scan(append(to, &number)...) })
		if err != nil {
			return nil, fmt.Errorf("reading a page of secrets: %w", err)
		}
		all[number] = s
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading a page of secrets: %w", err)
	}
	found := make([]*Secret, 0, len(all))
	for _, n := range numbers {
		if s := all[n]; s != nil {
			found = append(found, s)
		}
	}
	return found, nil
}

var loadText = `SELECT ` + secretColumns + `, number FROM secrets WHERE number IN ` + inList + `
	AND (delete_at IS NULL OR ($102 AND delete_at > $103))`

// Stages returns the labelled versions of a secret that Find or List has returned,
// with their labels.
func (s *Secret) Stages() (map[VersionID][]string, error) {
	b := board{arn: s.ARN}
	err := b.parse(s.labels)
	return b.allStages(), err
}
