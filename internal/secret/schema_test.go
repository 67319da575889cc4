package secret_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// A database from before a secret's row told its labels.
func TestOlderDatabaseIsUpgraded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	older := secret.Schema
	older.Steps = older.Steps[:5]
	db, err := sqldb.Open(t.Context(), path, time.Now, older)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(tx *sqldb.Tx) error { return fillOlder(t.Context(), tx) })
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, path)
	h.read(func(tx *sqldb.Tx) error {
		found, err := h.Find(t.Context(), tx, "arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf")
		if err != nil {
			return err
		}
		full, err := found.Stages()
		if err != nil {
			return err
		}
		if diff := cmp.Diff(map[secret.VersionID][]string{"v1": {secret.Previous}, "v2": {"mine", secret.Current}}, full); diff != "" {
			t.Errorf("labels (-stored +kept):\n%s", diff)
		}
		for arn, want := range map[secret.ARN][]secret.VersionID{"arn:aws:secretsmanager:us-east-1:000000000000:secret:a-AbCdEf": nil, "arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf": {"v0", "v1", "v2"}, "arn:aws:secretsmanager:us-east-1:000000000000:secret:c-AbCdEf": {"v1"}} {
			ids, err := h.VersionIDs(t.Context(), tx, arn)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Errorf("%s: versions (-stored +kept):\n%s", arn, diff)
			}
		}
		if found.Description != "what b is for" || found.Policy != "{}" || found.Changed.UnixMilli() != 7 || !slices.Equal(found.Tags, []secret.Tag{{Key: "team", Value: "data"}, {Key: "a", Value: "<&>"}}) {
			t.Errorf("kept %+v", found)
		}
		return nil
	})
}

// fillOlder adds three secrets: one without a version, one with three, of which two
// have labels, and one whose only label is its own.
func fillOlder(ctx context.Context, tx *sqldb.Tx) error {
	for _, text := range []string{
		`INSERT INTO secrets (arn, account, region, name, description, kms_key_id, type, owning_service, tagged, created_at, changed_at, resource_policy)
			SELECT 'arn:aws:secretsmanager:us-east-1:000000000000:secret:' || column1 || '-AbCdEf', '000000000000', 'us-east-1', column1, 'what ' || column1 || ' is for', '', '', '', column1 = 'b', 5, 7, '{}'
			FROM (VALUES ('c'), ('b'), ('a'))`,
		`INSERT INTO secret_versions (arn, id, kind, key_id, created_at, origin) VALUES
			('arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'v2', 'string', 'k', 3, NULL), ('arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'v0', 'string', 'k', 1, x'00'), ('arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'v1', 'binary', 'k', 2, NULL), ('arn:aws:secretsmanager:us-east-1:000000000000:secret:c-AbCdEf', 'v1', 'reserved', '', 3, NULL)`,
		`INSERT INTO secret_labels (position, arn, label, version) VALUES
			(4, 'arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'AWSCURRENT', 'v2'), (5, 'arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'AWSPREVIOUS', 'v1'), (2, 'arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'mine', 'v2'), (1, 'arn:aws:secretsmanager:us-east-1:000000000000:secret:c-AbCdEf', 'AWSPENDING', 'v1')`,
		`INSERT INTO secret_tags (position, arn, tag_key, tag_value) VALUES (2, 'arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'a', '<&>'), (1, 'arn:aws:secretsmanager:us-east-1:000000000000:secret:b-AbCdEf', 'team', 'data')`,
	} {
		if _, err := tx.Exec(ctx, text); err != nil {
			return err
		}
	}
	return nil
}
