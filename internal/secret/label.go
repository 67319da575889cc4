package secret

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// maxLabels is AWS's quota of staging labels on one version.
const maxLabels = 20

// board is what a secret's own row tells of its versions: its labels in the order
// in which they were attached, each on one version, and how many versions it has.
type board struct {
	arn        ARN
	secret     int64 // its number, in secret_versions
	versions   int
	replicated bool
	behind     bool // in the list by Changed: see OrderChanges
	pins       []pin
}

type pin struct {
	label   string
	version VersionID
}

// boardColumns is what scanBoard reads of secrets.
const boardColumns = `number, versions, primary_region <> '', changed_order <> changed_at, labels`

// readBoard returns the board of a secret. One that does not exist has no labels.
func readBoard(ctx context.Context, tx *sqldb.Tx, arn ARN) (*board, error) {
	b, err := scanBoard(arn, tx.QueryRow(ctx, `SELECT `+boardColumns+` FROM secrets WHERE `+byARN, arn).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return &board{arn: arn}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading staging labels: %w", err)
	}
	return b, nil
}

// scanBoard scans boardColumns, and more columns behind them.
func scanBoard(arn ARN, scan func(...any) error, more ...any) (*board, error) {
	b := &board{arn: arn}
	var labels string
	if err := scan(append([]any{&b.secret, &b.versions, &b.replicated, &b.behind, &labels}, more...)...); err != nil {
		return nil, err
	}
	return b, b.parse(labels)
}

func (b *board) parse(labels string) error {
	var pairs [][2]string
	if err := json.Unmarshal([]byte(labels), &pairs); err != nil {
		return fmt.Errorf("what is stored of the staging labels of %s: %w", b.arn, err)
	}
	b.pins = make([]pin, len(pairs))
	for i, p := range pairs {
		b.pins[i] = pin{p[0], VersionID(p[1])}
	}
	return nil
}

// text is what parse reads.
func (b *board) text() (string, error) {
	pairs := make([][2]string, len(b.pins))
	for i, p := range b.pins {
		pairs[i] = [2]string{p.label, string(p.version)}
	}
	text, err := json.Marshal(pairs)
	return string(text), err
}

// save stores the board. It moves LastChangedDate and has the change carried to the
// replicas, as touch does.
func (v *Vault) save(ctx context.Context, tx *sqldb.Tx, b *board) error {
	labels, err := b.text()
	if err != nil {
		return fmt.Errorf("storing staging labels: %w", err)
	}
	_, err = changeOf(ctx, tx, `UPDATE secrets SET changed_at = `+later+`, labels = $3, current = $4, versions = $5 WHERE number = $1`,
		b, sqldb.Millis(tx.Now), labels, b.holder(Current), b.versions)
	if err != nil {
		return fmt.Errorf("storing staging labels: %w", err)
	}
	if err := v.noteChange(ctx, tx, b); err != nil || !b.replicated {
		return err
	}
	return v.outdate(ctx, tx, b.arn)
}

func (b *board) find(label string) int {
	return slices.IndexFunc(b.pins, func(p pin) bool { return p.label == label })
}

// holder returns the version that has a label, or "".
func (b *board) holder(label string) VersionID {
	if i := b.find(label); i >= 0 {
		return b.pins[i].version
	}
	return ""
}

func (b *board) remove(label string) {
	b.pins = slices.DeleteFunc(b.pins, func(p pin) bool { return p.label == label })
}

// set puts a label on a version, off any other; one that is there already keeps
// its place. It knows nothing of AWSCURRENT's consequences.
func (b *board) set(label string, id VersionID) {
	if b.holder(label) == id {
		return
	}
	b.remove(label)
	b.pins = append(b.pins, pin{label, id})
}

// move puts a label on a version. With AWSCURRENT goes AWSPREVIOUS: onto the
// version that had AWSCURRENT, off every other.
func (b *board) move(label string, id VersionID) {
	from := b.holder(label)
	b.set(label, id)
	if label == Current && from != "" && from != id {
		b.set(Previous, from)
	}
}

// attachAll moves the labels that a new value names. A new AWSCURRENT ends a
// rotation under way: AWSPENDING goes, unless the caller named it too.
func (b *board) attachAll(id VersionID, labels []string) {
	if slices.Contains(labels, Current) && !slices.Contains(labels, Pending) {
		b.remove(Pending)
	}
	for _, l := range labels {
		b.move(l, id)
	}
}

// stages returns the labels of a version.
func (b *board) stages(id VersionID) (all []string) {
	for _, p := range b.pins {
		if p.version == id {
			all = append(all, p.label)
		}
	}
	return all
}

// allStages returns the labelled versions with their labels.
func (b *board) allStages() map[VersionID][]string {
	all := make(map[VersionID][]string, len(b.pins))
	for _, p := range b.pins {
		all[p.version] = append(all[p.version], p.label)
	}
	return all
}

// underLimit returns ErrLimitExceeded if a version has too many labels.
func (b *board) underLimit(id VersionID) error {
	if len(b.stages(id)) > maxLabels {
		return errTooManyLabels()
	}
	return nil
}

// Holder returns the version that has a label, or "" when none has.
func (v *Vault) Holder(ctx context.Context, tx *sqldb.Tx, arn ARN, label string) (VersionID, error) {
	b, err := readBoard(ctx, tx, arn)
	if err != nil {
		return "", err
	}
	return b.holder(label), nil
}

func errTooManyLabels() error {
	return ErrLimitExceeded.Errorf("You can't attach more than %d staging labels to a version of a secret.", maxLabels)
}

// MoveLabel is UpdateSecretVersionStage: it moves label from one version to
// another, or attaches it (from is "") or removes it (to is "").
func (v *Vault) MoveLabel(ctx context.Context, tx *sqldb.Tx, arn ARN, label string, from, to VersionID) error {
	if from == "" && to == "" {
		return ErrInvalidParameter.Errorf("You must provide RemoveFromVersionId, MoveToVersionId, or both.")
	}
	b, err := readBoard(ctx, tx, arn)
	if err != nil {
		return err
	}
	if err := b.checkFrom(label, from, to); err != nil {
		return err
	}
	if to == "" {
		return v.removeLabel(ctx, tx, b, label)
	}
	version, err := v.ByID(ctx, tx, arn, to)
	if err != nil {
		return err
	}
	if version == nil {
		return missing(ctx, tx, arn, to)
	}
	if label == Current && version.Reserved() { // a function's createSecret may have stored none
		return ErrInvalidRequest.Errorf("You can't move the staging label AWSCURRENT to version %s because it has no secret value.", to)
	}
	b.move(label, to)
	if err := b.underLimit(to); err != nil {
		return err
	}
	return v.save(ctx, tx, b)
}

func (v *Vault) removeLabel(ctx context.Context, tx *sqldb.Tx, b *board, label string) error {
	if label == Current {
		return ErrInvalidParameter.Errorf("You can't remove the staging label AWSCURRENT from a version. You can only move it to another version with MoveToVersionId.")
	}
	b.remove(label)
	return v.save(ctx, tx, b)
}

// checkFrom makes sure that the caller knows where the label is now.
func (b *board) checkFrom(label string, from, to VersionID) error {
	now := b.holder(label)
	switch {
	case from == "" && now != "" && now != to:
		return ErrInvalidParameter.Errorf("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, now)
	case from != "" && from != now:
		return ErrInvalidParameter.Errorf("When you move staging label %s, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label %s.", label, label)
	}
	return nil
}
