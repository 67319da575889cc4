package secret

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// maxLabels is AWS's quota of staging labels on one version.
const maxLabels = 20

// holder returns the version that has a label, or "".
func holder(ctx context.Context, tx *sqldb.Tx, arn ARN, label string) (VersionID, error) {
	var id VersionID
	err := tx.QueryRow(ctx, `SELECT version FROM secret_labels WHERE arn = $1 AND label = $2`, arn, label).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading a staging label: %w", err)
	}
	return id, nil
}

// Holder returns the version that has a label, or "" when none has.
func (v *Vault) Holder(ctx context.Context, tx *sqldb.Tx, arn ARN, label string) (VersionID, error) {
	return holder(ctx, tx, arn, label)
}

func stages(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT label FROM secret_labels WHERE arn = $1 AND version = $2 ORDER BY position`, arn, id)
	if err != nil {
		return nil, fmt.Errorf("reading staging labels: %w", err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var l string
		if err := rows.Scan(&l); err != nil {
			return nil, fmt.Errorf("reading staging labels: %w", err)
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// Stages returns the labelled versions of a secret with their labels.
func (v *Vault) Stages(ctx context.Context, tx *sqldb.Tx, arn ARN) (map[VersionID][]string, error) {
	rows, err := tx.Query(ctx, `SELECT version, label FROM secret_labels WHERE arn = $1 ORDER BY position`, arn)
	if err != nil {
		return nil, fmt.Errorf("reading staging labels: %w", err)
	}
	defer rows.Close()
	all := map[VersionID][]string{}
	for rows.Next() {
		var id VersionID
		var l string
		if err := rows.Scan(&id, &l); err != nil {
			return nil, fmt.Errorf("reading staging labels: %w", err)
		}
		all[id] = append(all[id], l)
	}
	return all, rows.Err()
}

// attach puts a label on a version, off any other. It knows nothing of
// AWSCURRENT's consequences.
func attach(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID, label string) error {
	_, err := changeValue(ctx, tx, `INSERT INTO secret_labels (position, arn, label, version)
		VALUES ((SELECT COALESCE(MAX(position), 0) + 1 FROM secret_labels WHERE arn = $1), $1, $2, $3)
		ON CONFLICT (arn, label) DO UPDATE SET version = excluded.version, position = excluded.position
		WHERE secret_labels.version <> excluded.version`, arn, label, id)
	if err != nil {
		return fmt.Errorf("attaching %s: %w", label, err)
	}
	return nil
}

func detach(ctx context.Context, tx *sqldb.Tx, arn ARN, label string) error {
	_, err := changeValue(ctx, tx, `DELETE FROM secret_labels WHERE arn = $1 AND label = $2`, arn, label)
	if err != nil {
		return fmt.Errorf("detaching %s: %w", label, err)
	}
	return nil
}

// attachAll attaches the labels that a new value names and returns all that its
// version then has. A new AWSCURRENT ends a rotation under way: AWSPENDING goes,
// unless the caller named it too.
//
// It writes only what differs: every new value comes this way.
func (b *board) attachAll(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID, labels []string) ([]string, error) {
	if slices.Contains(labels, Current) && !slices.Contains(labels, Pending) {
		b.remove(Pending)
	}
	for _, l := range labels {
		if from := b.holder(l); l == Current && from != "" && from != id {
			b.set(Current, id)
			b.set(Previous, from)
		} else {
			b.set(l, id)
		}
	}
	stages := b.stages(id)
	if len(stages) > maxLabels {
		return nil, errTooManyLabels()
	}
	return stages, b.save(ctx, tx, arn)
}

// board is all labels of a secret, in the order in which they were attached.
type board struct {
	now, before []pin
	last        int64 // the highest position
}

type pin struct {
	position int64
	label    string
	version  VersionID
}

// add puts a label where it is stored.
func (b *board) add(p pin) {
	b.before, b.now, b.last = append(b.before, p), append(b.now, p), max(b.last, p.position)
}

func (b *board) find(label string) int {
	return slices.IndexFunc(b.now, func(p pin) bool { return p.label == label })
}

func (b *board) holder(label string) VersionID {
	if i := b.find(label); i >= 0 {
		return b.now[i].version
	}
	return ""
}

func (b *board) remove(label string) {
	b.now = slices.DeleteFunc(b.now, func(p pin) bool { return p.label == label })
}

// set puts a label on a version; one that is there already keeps its place.
func (b *board) set(label string, id VersionID) {
	if b.holder(label) == id {
		return
	}
	b.remove(label)
	b.last++
	b.now = append(b.now, pin{b.last, label, id})
}

func (b *board) stages(id VersionID) (all []string) {
	slices.SortFunc(b.now, func(p, q pin) int { return cmp.Compare(p.position, q.position) })
	for _, p := range b.now {
		if p.version == id {
			all = append(all, p.label)
		}
	}
	return all
}

func (b *board) save(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	for _, p := range b.before {
		if b.find(p.label) >= 0 {
			continue
		}
		if err := detach(ctx, tx, arn, p.label); err != nil {
			return err
		}
	}
	moved := slices.DeleteFunc(slices.Clone(b.now), func(p pin) bool { return slices.Contains(b.before, p) })
	return savePins(ctx, tx, arn, moved)
}

// savePins stores labels in one statement. There are at most as many texts of it
// as a request names labels.
func savePins(ctx context.Context, tx *sqldb.Tx, arn ARN, pins []pin) error {
	if len(pins) == 0 {
		return nil
	}
	args := make([]any, 0, 3*len(pins))
	for _, p := range pins {
		args = append(args, p.position, p.label, string(p.version))
	}
	rows, ok := pinRows[len(pins)]
	if !ok {
		rows = rowsOfPins(len(pins))
	}
	_, err := changeValue(ctx, tx, `INSERT INTO secret_labels (arn, position, label, version) VALUES `+rows+`
		ON CONFLICT (arn, label) DO UPDATE SET version = excluded.version, position = excluded.position`, arn, args...)
	if err != nil {
		return fmt.Errorf("attaching labels: %w", err)
	}
	return nil
}

// pinRows is rowsOfPins of what a new secret has and what a new value moves.
var pinRows = map[int]string{1: rowsOfPins(1), 2: rowsOfPins(2)}

// rowsOfPins is the placeholders of n labels.
func rowsOfPins(n int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("($1, $%d, $%d, $%d)", 3*i+2, 3*i+3, 3*i+4)
	}
	return strings.Join(rows, ", ")
}

// move puts a label on a version. With AWSCURRENT goes AWSPREVIOUS: onto the
// version that had AWSCURRENT, off every other.
func move(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID, label string) error {
	if label != Current {
		return attach(ctx, tx, arn, id, label)
	}
	from, err := holder(ctx, tx, arn, Current)
	if err != nil || from == id {
		return err
	}
	if err := attach(ctx, tx, arn, id, Current); err != nil {
		return err
	}
	if from == "" {
		return nil
	}
	return attach(ctx, tx, arn, from, Previous)
}

func underLimit(ctx context.Context, tx *sqldb.Tx, arn ARN, id VersionID) error {
	all, err := stages(ctx, tx, arn, id)
	if err == nil && len(all) > maxLabels {
		return errTooManyLabels()
	}
	return err
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
	if err := checkFrom(ctx, tx, arn, label, from, to); err != nil {
		return err
	}
	if to == "" {
		return v.removeLabel(ctx, tx, arn, label)
	}
	version, err := v.ByID(ctx, tx, arn, to)
	if err != nil {
		return err
	}
	if version == nil {
		return missing(ctx, tx, arn, to)
	}
	if err := move(ctx, tx, arn, to, label); err != nil {
		return err
	}
	return errors.Join(underLimit(ctx, tx, arn, to), v.touch(ctx, tx, arn))
}

func (v *Vault) removeLabel(ctx context.Context, tx *sqldb.Tx, arn ARN, label string) error {
	if label == Current {
		return ErrInvalidParameter.Errorf("You can't remove the staging label AWSCURRENT from a version. You can only move it to another version with MoveToVersionId.")
	}
	return errors.Join(detach(ctx, tx, arn, label), v.touch(ctx, tx, arn))
}

// checkFrom makes sure that the caller knows where the label is now.
func checkFrom(ctx context.Context, tx *sqldb.Tx, arn ARN, label string, from, to VersionID) error {
	now, err := holder(ctx, tx, arn, label)
	switch {
	case err != nil:
		return err
	case from == "" && now != "" && now != to:
		return ErrInvalidParameter.Errorf("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, now)
	case from != "" && from != now:
		return ErrInvalidParameter.Errorf("When you move staging label %s, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label %s.", label, label)
	}
	return nil
}
