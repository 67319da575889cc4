package secret

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// position is where a secret stands in a list: the number it is sorted by, such
// as a moment in milliseconds, and its ARN. In a list by name the number is zero,
// and the name is the one in the ARN.
type position struct {
	at  int64
	arn ARN

	number int64 // of the secret; 0 in a token
}

func (p Page) positionOf(s *Secret) position {
	switch p.By {
	case ByAccessed:
		return position{at: accessedOrder(s), arn: s.ARN}
	case ByChanged:
		return position{at: s.changedOrder, arn: s.ARN}
	case ByName:
		return position{arn: s.ARN}
	}
	return position{at: sqldb.Millis(s.Created), arn: s.ARN}
}

// accessedOrder computes the column accessed_order.
func accessedOrder(s *Secret) int64 {
	const day, bitsOfMillis = 24 * time.Hour, 43 // until the year 2248
	at := sqldb.Millis(s.Created)
	if s.Accessed != nil {
		at += sqldb.Millis(*s.Accessed) / day.Milliseconds() << bitsOfMillis
	}
	return at
}

// compare orders two positions as the page does.
func (p Page) compare(a, b position) int {
	order := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.arn, b.arn))
	if p.By == ByName {
		order = cmp.Compare(a.arn.Name(), b.arn.Name())
	}
	if p.Descending {
		return -order
	}
	return order
}

// source yields the positions of secrets in the order of a page.
type source interface {
	// next returns at most n more positions; none when there are no more.
	next(ctx context.Context, tx *sqldb.Tx, n int) ([]position, error)
}

// walk goes along a source and leaves out what a filter on names refuses, for
// which no row need be read.
type walk struct {
	source
	filters []Filter // on names
	sifts   bool     // they are expected to refuse most
	ready   []position
	at      position // the last one that was looked at
	looked  int
	dry     bool
}

func (w *walk) more() bool  { return !w.dry || len(w.ready) > 0 }
func (w *walk) ended() bool { return !w.more() || w.looked >= maxLooked }

// batch returns the numbers of the secrets that come next, at most want.
func (w *walk) batch(ctx context.Context, tx *sqldb.Tx, want int) (numbers []int64, err error) {
	if len(w.ready) == 0 {
		if err := w.fill(ctx, tx); err != nil {
			return nil, err
		}
	}
	for len(w.ready) > 0 && len(numbers) < want {
		w.at, w.ready = w.ready[0], w.ready[1:]
		w.looked++
		if w.admits(w.at.arn.Name()) {
			numbers = append(numbers, w.at.number)
		}
	}
	return numbers, nil
}

// sift is how many positions are read at once where filters on names are
// expected to refuse most.
const sift = 1000

func (w *walk) fill(ctx context.Context, tx *sqldb.Tx) (err error) {
	n := batchSize
	if w.sifts {
		n = sift
	}
	w.ready, err = w.next(ctx, tx, n)
	w.dry = len(w.ready) < n
	return err
}

func (w *walk) admits(name string) bool {
	for _, f := range w.filters {
		if !f.any(name) {
			return false
		}
	}
	return true
}

// walk chooses how to find the secrets after a position. A few that share a
// prefix of their names are found by name and sorted; everything else follows
// the index of its order.
func (p Page) walk(ctx context.Context, tx *sqldb.Tx, after position) (*walk, error) {
	w := &walk{at: after}
	for _, f := range p.Filters {
		if f.Key == Name {
			w.filters = append(w.filters, f)
		}
	}
	spans := spansOf(w.filters)
	if p.By == ByName {
		w.source = &byName{page: p, spans: p.clip(spans, after)}
		return w, nil
	}
	few, err := p.fewIn(ctx, tx, spans)
	if err != nil {
		return nil, err
	}
	if few {
		w.source = &inSpans{page: p, spans: spans, at: after}
		return w, nil
	}
	w.source, w.sifts = &byTime{page: p, at: after}, len(w.filters) > 0
	return w, nil
}

// byTime follows the index of an order other than that of names.
type byTime struct {
	page Page
	at   position
}

// timeColumns is the columns that are indexed behind account and region, and
// before the ARN.
var timeColumns = map[Order]string{ByCreated: "created_at", ByChanged: "changed_order", ByAccessed: "accessed_order"}

// direction returns how SQL says the page's order, and what comes after.
func (p Page) direction() (order, after string) {
	if p.Descending {
		return " DESC", "<"
	}
	return "", ">"
}

func (b *byTime) next(ctx context.Context, tx *sqldb.Tx, n int) ([]position, error) {
	order, after := b.page.direction()
	column := timeColumns[b.page.By]
	text := `SELECT ` + column + `, arn, number FROM secrets WHERE account = $1 AND region = $2
		AND (` + column + `, arn) ` + after + ` ($3, $4) ORDER BY ` + column + order + `, arn` + order + ` LIMIT $5`
	found, err := positions(ctx, tx, text, b.page.At.Account, b.page.At.Region, b.at.at, b.at.arn, n)
	if len(found) > 0 {
		b.at = found[len(found)-1]
	}
	return found, err
}

// positions runs a statement that returns what position has.
func positions(ctx context.Context, tx *sqldb.Tx, text string, args ...any) ([]position, error) {
	rows, err := tx.Query(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("listing secrets: %w", err)
	}
	defer rows.Close()
	var all []position
	for rows.Next() {
		var p position
		if err := rows.Scan(&p.at, &p.arn, &p.number); err != nil {
			return nil, fmt.Errorf("listing secrets: %w", err)
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// span is the names from low on and below high.
type span struct{ low, high string }

// afterAll is greater than every name, and prefix + afterAll than every name
// with that prefix; justAfter added to a name makes the least text after it that
// is greater than no other. Neither is legal in a name.
const (
	afterAll  = "\x7f"
	justAfter = " "
)

// spansOf returns the names that the first filter without a negation admits,
// in ascending order and without overlaps; nil when every filter has one.
func spansOf(onNames []Filter) (spans []span) {
	for _, f := range onNames {
		prefixes := slices.Sorted(slices.Values(f.Values))
		if slices.ContainsFunc(prefixes, negated) {
			continue
		}
		for _, prefix := range prefixes {
			if n := len(spans); n > 0 && strings.HasPrefix(prefix, spans[n-1].low) {
				continue
			}
			spans = append(spans, span{prefix, prefix + afterAll})
		}
		return spans
	}
	return nil
}

// maxSorted bounds how many secrets are found by name and then sorted.
const maxSorted = 2000

// fewIn reports whether there are spans and at most maxSorted names in them.
func (p Page) fewIn(ctx context.Context, tx *sqldb.Tx, spans []span) (bool, error) {
	total := 0
	for _, s := range spans {
		var n int
		err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM secrets
			WHERE place_name >= $1 AND place_name < $2 LIMIT $3)`,
			p.At.placeName(s.low), p.At.placeName(s.high), maxSorted+1).Scan(&n)
		if err != nil {
			return false, fmt.Errorf("counting names: %w", err)
		}
		if total += n; total > maxSorted {
			return false, nil
		}
	}
	return len(spans) > 0, nil
}

// inSpans finds the few secrets whose names are in spans, in an order other
// than that of names.
type inSpans struct {
	page  Page
	spans []span
	at    position
}

// next sorts what it finds each time: there are at most maxSorted.
func (b *inSpans) next(ctx context.Context, tx *sqldb.Tx, n int) (all []position, err error) {
	order, after := b.page.direction()
	column := timeColumns[b.page.By] + " + 0" // so that the index of names is used
	text := `SELECT ` + column + `, arn, number FROM secrets WHERE place_name >= $1 AND place_name < $2
		AND (` + column + `, arn) ` + after + ` ($3, $4) ORDER BY ` + column + order + `, arn` + order + ` LIMIT $5`
	for _, s := range b.spans {
		found, err := positions(ctx, tx, text, b.page.At.placeName(s.low), b.page.At.placeName(s.high), b.at.at, b.at.arn, n)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, b.page.compare)
	all = all[:min(n, len(all))]
	if len(all) > 0 {
		b.at = all[len(all)-1]
	}
	return all, nil
}

// byName follows the index of names through spans, from the first of them to
// the last.
type byName struct {
	page  Page
	spans []span
}

// clip returns what of the spans comes after a position, in the page's order.
// No spans are all names.
func (p Page) clip(spans []span, after position) (rest []span) {
	if spans == nil {
		spans = []span{{"", afterAll}}
	}
	name := after.arn.Name()
	for _, s := range spans {
		switch {
		case p.Descending:
			s.high = min(s.high, name)
		case name != "":
			s.low = max(s.low, name+justAfter)
		}
		if s.low < s.high {
			rest = append(rest, s)
		}
	}
	if p.Descending {
		slices.Reverse(rest)
	}
	return rest
}

func (b *byName) next(ctx context.Context, tx *sqldb.Tx, n int) (all []position, err error) {
	order, _ := b.page.direction()
	text := `SELECT 0, arn, number FROM secrets WHERE place_name >= $1 AND place_name < $2
		ORDER BY place_name` + order + ` LIMIT $3`
	for len(b.spans) > 0 && len(all) < n {
		s := b.spans[0]
		want := n - len(all)
		found, err := positions(ctx, tx, text, b.page.At.placeName(s.low), b.page.At.placeName(s.high), want)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if len(found) < want {
			b.spans = b.spans[1:]
			continue
		}
		b.spans = b.page.clip(b.inOrder(), found[want-1])
	}
	return all, nil
}

// inOrder returns the spans as clip takes them: ascending.
func (b *byName) inOrder() []span {
	if b.page.Descending {
		slices.Reverse(b.spans)
	}
	return b.spans
}

// first is before every secret of the page's list.
func (p Page) first() position {
	if p.Descending {
		return position{at: math.MaxInt64, arn: ARN(p.At.prefix() + afterAll + unknownSuffix)}
	}
	return position{at: math.MinInt64}
}
