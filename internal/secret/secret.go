// Package secret keeps what a secret is: its name and ARN, its versions with
// their staging labels, and its soft deletion. It knows no protocol and no
// rotation.
//
// What it keeps true:
//   - a staging label is on at most one version of a secret;
//   - a secret that ever had AWSCURRENT keeps it, and the version that lost it
//     last has AWSPREVIOUS;
//   - a value lies on disk only sealed, bound to its ARN and version id.
//
// Methods take the caller's transaction, so that smapi and the scheduler can
// change a secret and their own tables together. Sealing and opening happen
// outside of transactions, since a key may live in a remote service.
package secret

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// The staging labels that have a meaning of their own.
const (
	Current  = "AWSCURRENT"
	Previous = "AWSPREVIOUS"
	Pending  = "AWSPENDING"
)

// Failures that callers see.
var (
	ErrNotFound         = fault.Kind{Code: "ResourceNotFoundException", Status: 400}
	ErrExists           = fault.Kind{Code: "ResourceExistsException", Status: 400}
	ErrInvalidRequest   = fault.Kind{Code: "InvalidRequestException", Status: 400}
	ErrInvalidParameter = fault.Kind{Code: "InvalidParameterException", Status: 400}
	ErrLimitExceeded    = fault.Kind{Code: "LimitExceededException", Status: 400}
	ErrValidation       = fault.Kind{Code: "ValidationException", Status: 400}
	ErrInvalidNextToken = fault.Kind{Code: "InvalidNextTokenException", Status: 400}
)

// VersionID names a version of a secret: the ClientRequestToken that made it.
type VersionID string

// Secret is a secret without its values.
type Secret struct {
	ARN           ARN
	Name          string
	Description   string
	KMSKeyID      string // empty: the default key
	Type          string // the partner's type of a managed external secret
	OwningService string
	Tags          []Tag // nil: never tagged
	Created       time.Time
	Changed       time.Time
	Accessed      *time.Time // midnight UTC of the last day it was read
	DeleteAt      *time.Time // scheduled for deletion
	Policy        string     // the resource policy, as it was put; empty: none
	PrimaryRegion string     // of a secret with replicas, and of these; empty: not replicated
	External      External   // of a managed external secret

	changedOrder int64  // where it stands in a list by Changed
	labels       string // what its board reads
}

// External is what RotateSecret stored about a managed external secret.
type External struct {
	Metadata []Tag  // ExternalSecretRotationMetadata
	RoleARN  string // ExternalSecretRotationRoleArn
}

// Tag is a tag of a secret.
type Tag struct{ Key, Value string }

// Deleted reports whether the secret is scheduled for deletion.
func (s *Secret) Deleted() bool { return s.DeleteAt != nil }

// RequireLive returns ErrInvalidRequest for a secret that is scheduled for
// deletion.
func (s *Secret) RequireLive() error {
	if s.Deleted() {
		return ErrInvalidRequest.Errorf("You can't perform this operation on the secret because it was marked for deletion.")
	}
	return nil
}

// IsReplica reports whether the secret is the copy of one in another region.
func (s *Secret) IsReplica() bool {
	return s.PrimaryRegion != "" && s.PrimaryRegion != s.ARN.Place().Region
}

// PrimaryARN returns the ARN of the secret that this one is a replica of, or else
// its own.
func (s *Secret) PrimaryARN() ARN {
	if s.IsReplica() {
		return s.ARN.In(s.PrimaryRegion)
	}
	return s.ARN
}

// RequirePrimary returns ErrInvalidParameter for a replica: whatever changes it
// is done to its primary.
func (s *Secret) RequirePrimary() error {
	if s.IsReplica() {
		return ErrInvalidParameter.Errorf("Operation not permitted on a replica secret. Call must be made in primary secret's region.")
	}
	return nil
}

// RequireUnmanaged returns ErrInvalidRequest for a secret that another service
// manages: value, tags and policy are that service's business ("Secrets managed
// by other AWS services" in the AWS guide).
func (s *Secret) RequireUnmanaged() error {
	if s.OwningService != "" {
		return ErrInvalidRequest.Errorf("The secret is managed by another service, and you must use that service to update it.")
	}
	return nil
}

// RequireEditable returns why value, tags, policy and description may not be
// changed through the API, or nil.
func (s *Secret) RequireEditable() error {
	if err := s.RequireLive(); err != nil {
		return err
	}
	if err := s.RequirePrimary(); err != nil {
		return err
	}
	return s.RequireUnmanaged()
}

// Vault is all secrets of a server.
type Vault struct {
	db    *sqldb.DB
	keys  *envelope.Keyring
	cache *cache
	pokes chan struct{} // what has to be done in the background has changed
	lag   lag
}

// NewVault returns a Vault that keeps its tables in db and seals with keys.
func NewVault(db *sqldb.DB, keys *envelope.Keyring) *Vault {
	v := &Vault{db: db, keys: keys, cache: newCache(), pokes: make(chan struct{}, 1), lag: lag{noted: make(chan struct{}, 1)}}
	v.lag.note() // the process may have ended before the rows were worked off
	db.Watch(v.cache.watch)
	return v
}

// Pokes wakes whoever carries changes to replicas and removes old versions.
func (v *Vault) Pokes() <-chan struct{} { return v.pokes }

// Poke makes Pokes ready.
func (v *Vault) Poke() {
	select {
	case v.pokes <- struct{}{}:
	default: // one is waiting already
	}
}

// Schema is the tables of this package.
var Schema = sqldb.Schema{Name: "secret", Steps: []string{`
CREATE TABLE secrets (
	arn TEXT PRIMARY KEY,
	account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
	description TEXT NOT NULL, kms_key_id TEXT NOT NULL,
	type TEXT NOT NULL, owning_service TEXT NOT NULL,
	tagged BIGINT NOT NULL, -- 1 once it had a tag
	created_at BIGINT NOT NULL, changed_at BIGINT NOT NULL,
	accessed_at BIGINT, delete_at BIGINT,
	UNIQUE (account, region, name)
);
CREATE INDEX secrets_created ON secrets (account, region, created_at, arn);
CREATE INDEX secrets_delete ON secrets (delete_at) WHERE delete_at IS NOT NULL;
CREATE TABLE secret_versions (
	arn TEXT NOT NULL, id TEXT NOT NULL,
	kind TEXT NOT NULL, -- reserved (no value yet), string, binary
	key_id TEXT NOT NULL, wrapped BYTEA, ciphertext BYTEA,
	created_at BIGINT NOT NULL, accessed_at BIGINT,
	PRIMARY KEY (arn, id)
);
CREATE TABLE secret_labels (
	position BIGINT NOT NULL, -- the order in which labels were attached
	arn TEXT NOT NULL, label TEXT NOT NULL, version TEXT NOT NULL,
	PRIMARY KEY (arn, label)
);
CREATE TABLE secret_tags (
	position BIGINT NOT NULL, -- the order in which keys were first set
	arn TEXT NOT NULL, tag_key TEXT NOT NULL, tag_value TEXT NOT NULL,
	PRIMARY KEY (arn, tag_key)
);`, `
ALTER TABLE secrets ADD COLUMN resource_policy TEXT NOT NULL DEFAULT '';
ALTER TABLE secrets ADD COLUMN primary_region TEXT NOT NULL DEFAULT '';
ALTER TABLE secrets ADD COLUMN external TEXT NOT NULL DEFAULT ''; -- JSON of External; empty: none
CREATE TABLE secret_replicas ( -- one row for each region of a primary's ReplicationStatus
	position BIGINT NOT NULL,
	arn TEXT NOT NULL, -- of the primary
	region TEXT NOT NULL, kms_key_id TEXT NOT NULL,
	status TEXT NOT NULL, message TEXT NOT NULL,
	PRIMARY KEY (arn, region)
);`, `
-- What ListSecrets sorts by; its other orders have their indexes from the start.
-- The order of accesses is the day of the last one, 0 for never, and within a day
-- the order of creation: so a new secret comes to the end of those never read.
ALTER TABLE secrets ADD COLUMN accessed_order BIGINT GENERATED ALWAYS AS
	(COALESCE(accessed_at, 0) / 86400000 * 8796093022208 + created_at) VIRTUAL;
CREATE INDEX secrets_changed ON secrets (account, region, changed_at, arn);
CREATE INDEX secrets_accessed ON secrets (account, region, accessed_order, arn);`, `
ALTER TABLE secret_versions ADD COLUMN kms_key_id TEXT NOT NULL DEFAULT ''; -- of the secret when the value was sealed
ALTER TABLE secret_versions ADD COLUMN origin BYTEA; -- of a replica's version: see Version.origin
ALTER TABLE secret_replicas ADD COLUMN overwrite BIGINT NOT NULL DEFAULT 0; -- 1: a secret of that name gives way
CREATE INDEX secret_replicas_waiting ON secret_replicas (arn, region) WHERE status = 'InProgress';
CREATE TABLE secret_removed_versions ( -- the latest versions that the clean-up took
	arn TEXT NOT NULL, id TEXT NOT NULL, removed_at BIGINT NOT NULL,
	PRIMARY KEY (arn, id)
);
CREATE TABLE secret_cleanups ( -- secrets with more versions than the quota
	arn TEXT PRIMARY KEY,
	at BIGINT NOT NULL -- when the next one may go
);
CREATE INDEX secret_cleanups_at ON secret_cleanups (at);`, `
-- labels are read and moved with every value: one tree holds them, not two
CREATE TABLE secret_labels_new (
	position BIGINT NOT NULL, -- the order in which labels were attached
	arn TEXT NOT NULL, label TEXT NOT NULL, version TEXT NOT NULL,
	PRIMARY KEY (arn, label)
) WITHOUT ROWID;
INSERT INTO secret_labels_new SELECT position, arn, label, version FROM secret_labels;
DROP TABLE secret_labels;
ALTER TABLE secret_labels_new RENAME TO secret_labels;`, `
-- A new value touches few pages: a secret's own row tells its labels and how many
-- versions it has, and versions name their secret in few bytes. In both, the new
-- tables differ from the old in that alone.
CREATE TABLE secrets_new (
	number INTEGER PRIMARY KEY,
	arn TEXT NOT NULL UNIQUE,
	account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
	description TEXT NOT NULL, kms_key_id TEXT NOT NULL,
	type TEXT NOT NULL, owning_service TEXT NOT NULL,
	tagged BIGINT NOT NULL,
	created_at BIGINT NOT NULL, changed_at BIGINT NOT NULL,
	accessed_at BIGINT, delete_at BIGINT,
	resource_policy TEXT NOT NULL DEFAULT '',
	primary_region TEXT NOT NULL DEFAULT '',
	external TEXT NOT NULL DEFAULT '',
	labels TEXT NOT NULL DEFAULT '[]', -- JSON, [label, version id] of each in the order in which they were attached
	current TEXT NOT NULL DEFAULT '', -- the version that has AWSCURRENT; empty: none
	versions BIGINT NOT NULL DEFAULT 0, -- how many there are
	changed_order BIGINT NOT NULL, -- changed_at, or what it was: see OrderChanges
	accessed_order BIGINT GENERATED ALWAYS AS
		(COALESCE(accessed_at, 0) / 86400000 * 8796093022208 + created_at) VIRTUAL,
	UNIQUE (account, region, name)
);
INSERT INTO secrets_new (arn, account, region, name, description, kms_key_id, type, owning_service, tagged, created_at, changed_at,
		accessed_at, delete_at, resource_policy, primary_region, external, labels, current, versions, changed_order)
	SELECT arn, account, region, name, description, kms_key_id, type, owning_service, tagged, created_at, changed_at,
		accessed_at, delete_at, resource_policy, primary_region, external,
		(SELECT json_group_array(json_array(label, version) ORDER BY position) FROM secret_labels l WHERE l.arn = s.arn),
		COALESCE((SELECT version FROM secret_labels l WHERE l.arn = s.arn AND label = 'AWSCURRENT'), ''),
		(SELECT COUNT(*) FROM secret_versions v WHERE v.arn = s.arn), changed_at
	FROM secrets s ORDER BY arn;
CREATE TABLE secret_versions_new (
	secret BIGINT NOT NULL, -- its number
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	key_id TEXT NOT NULL, wrapped BYTEA, ciphertext BYTEA,
	created_at BIGINT NOT NULL, accessed_at BIGINT,
	kms_key_id TEXT NOT NULL DEFAULT '', origin BYTEA,
	PRIMARY KEY (secret, id)
);
INSERT INTO secret_versions_new (secret, id, kind, key_id, wrapped, ciphertext, created_at, accessed_at, kms_key_id, origin)
	SELECT s.number, v.id, v.kind, v.key_id, v.wrapped, v.ciphertext, v.created_at, v.accessed_at, v.kms_key_id, v.origin
	FROM secrets_new s JOIN secret_versions v ON v.arn = s.arn ORDER BY s.number, v.id;
DROP TABLE secret_labels;
DROP TABLE secret_versions;
DROP TABLE secrets;
ALTER TABLE secrets_new RENAME TO secrets;
ALTER TABLE secret_versions_new RENAME TO secret_versions;
CREATE INDEX secrets_created ON secrets (account, region, created_at, arn);
CREATE TABLE secret_changes ( -- a row, or more, for each secret whose changed_order is behind
	position INTEGER PRIMARY KEY, secret BIGINT NOT NULL
);
CREATE INDEX secrets_changed ON secrets (account, region, changed_order, arn);
CREATE INDEX secrets_accessed ON secrets (account, region, accessed_order, arn);
CREATE INDEX secrets_delete ON secrets (delete_at) WHERE delete_at IS NOT NULL;`, `
-- tags are read with every secret, and are few
ALTER TABLE secrets ADD COLUMN tags TEXT NOT NULL DEFAULT ''; -- JSON: see tagsText
UPDATE secrets SET tags = (SELECT json_group_array(json_array(tag_key, tag_value) ORDER BY position)
	FROM secret_tags t WHERE t.arn = secrets.arn) WHERE tagged = 1;
DROP TABLE secret_tags;
ALTER TABLE secrets DROP COLUMN tagged;`, `
-- An ARN and a name are looked up in one index, not in two. The new table differs
-- from the old in that alone.
CREATE TABLE secrets_new (
	number INTEGER PRIMARY KEY,
	arn TEXT NOT NULL,
	place_name TEXT GENERATED ALWAYS AS (substr(arn, 24, length(arn) - 30)) VIRTUAL UNIQUE, -- REGION:ACCOUNT:secret:NAME
	account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
	description TEXT NOT NULL, kms_key_id TEXT NOT NULL,
	type TEXT NOT NULL, owning_service TEXT NOT NULL,
	created_at BIGINT NOT NULL, changed_at BIGINT NOT NULL,
	accessed_at BIGINT, delete_at BIGINT,
	resource_policy TEXT NOT NULL DEFAULT '',
	primary_region TEXT NOT NULL DEFAULT '',
	external TEXT NOT NULL DEFAULT '', -- JSON of External; empty: none
	labels TEXT NOT NULL DEFAULT '[]', -- JSON, [label, version id] of each in the order in which they were attached
	current TEXT NOT NULL DEFAULT '', -- the version that has AWSCURRENT; empty: none
	versions BIGINT NOT NULL DEFAULT 0, -- how many there are
	changed_order BIGINT NOT NULL, -- changed_at, or what it was: see OrderChanges
	accessed_order BIGINT GENERATED ALWAYS AS
		(COALESCE(accessed_at, 0) / 86400000 * 8796093022208 + created_at) VIRTUAL,
	tags TEXT NOT NULL DEFAULT '' -- JSON: see tagsText
);
INSERT INTO secrets_new (number, arn, account, region, name, description, kms_key_id, type, owning_service, created_at, changed_at,
		accessed_at, delete_at, resource_policy, primary_region, external, labels, current, versions, changed_order, tags)
	SELECT number, arn, account, region, name, description, kms_key_id, type, owning_service, created_at, changed_at,
		accessed_at, delete_at, resource_policy, primary_region, external, labels, current, versions, changed_order, tags
	FROM secrets ORDER BY number;
DROP TABLE secrets;
ALTER TABLE secrets_new RENAME TO secrets;
CREATE INDEX secrets_created ON secrets (account, region, created_at, arn);
CREATE INDEX secrets_changed ON secrets (account, region, changed_order, arn);
CREATE INDEX secrets_accessed ON secrets (account, region, accessed_order, arn);
CREATE INDEX secrets_delete ON secrets (delete_at) WHERE delete_at IS NOT NULL;`}}

// ofSecret is the versions of a secret whose ARN is $1.
const ofSecret = `secret = (SELECT number FROM secrets WHERE ` + byARN + `)`

// byARN is the row of secrets whose ARN is $1. It is found by its name, as those are
// that somebody names, so that one index serves both.
const byARN = `place_name = substr($1, 24, length($1) - 30) AND arn = $1`

// byOtherARN is byARN of $2.
const byOtherARN = `place_name = substr($2, 24, length($2) - 30) AND arn = $2`

const secretColumns = `arn, name, description, kms_key_id, type, owning_service, created_at, changed_at,
	changed_order, accessed_at, delete_at, resource_policy, primary_region, external, labels, tags`

func scanSecret(scan func(...any) error) (*Secret, error) {
	var s Secret
	var created, changed int64
	var accessed, deleteAt sql.NullInt64
	var external, tags string
	err := scan(&s.ARN, &s.Name, &s.Description, &s.KMSKeyID, &s.Type, &s.OwningService, &created, &changed,
		&s.changedOrder, &accessed, &deleteAt, &s.Policy, &s.PrimaryRegion, &external, &s.labels, &tags)
	if err != nil {
		return nil, err
	}
	if external != "" {
		if err := json.Unmarshal([]byte(external), &s.External); err != nil {
			return nil, fmt.Errorf("reading what is stored of an external secret: %w", err)
		}
	}
	s.Created, s.Changed = time.UnixMilli(created).UTC(), time.UnixMilli(changed).UTC()
	s.Accessed, s.DeleteAt = sqldb.Time(accessed), sqldb.Time(deleteAt)
	s.Tags, err = parseTags(tags)
	return &s, err
}

func notFound() error {
	return ErrNotFound.Errorf("Secrets Manager can't find the specified secret.")
}

// Find returns the secret, also when it is scheduled for deletion; ErrNotFound
// when there is none or its recovery window has ended.
func (v *Vault) Find(ctx context.Context, tx *sqldb.Tx, arn ARN) (*Secret, error) {
	s, err := scanSecret(tx.QueryRow(ctx, `SELECT `+secretColumns+` FROM secrets
		WHERE `+byARN+` AND (delete_at IS NULL OR delete_at > $2)`, arn, sqldb.Millis(tx.Now)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound()
	}
	if err != nil {
		return nil, fmt.Errorf("finding a secret: %w", err)
	}
	return s, nil
}

// FindLive is Find for operations that a secret scheduled for deletion refuses.
func (v *Vault) FindLive(ctx context.Context, tx *sqldb.Tx, arn ARN) (*Secret, error) {
	s, err := v.Find(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	return s, s.RequireLive()
}

// FindEditable is Find for operations that change a secret: see RequireEditable.
func (v *Vault) FindEditable(ctx context.Context, tx *sqldb.Tx, arn ARN) (*Secret, error) {
	s, err := v.Find(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	return s, s.RequireEditable()
}

// later is the LastChangedDate after a change at the moment $2: that moment, or a
// millisecond more than before, so that the date moves with every change. It is a
// second ahead of the clock at most, also after that was set back.
const later = `CASE WHEN changed_at < $2 THEN $2 WHEN changed_at < $2 + 1000 THEN changed_at + 1 ELSE $2 + 1000 END`

// Touch moves LastChangedDate, and has every change of a secret carried to its
// replicas: each method that changes something calls it, and so does who keeps
// something about a secret elsewhere.
func (v *Vault) Touch(ctx context.Context, tx *sqldb.Tx, arn ARN) error {
	_, err := changeValue(ctx, tx, `UPDATE secrets SET changed_at = `+later+`, changed_order = `+later+` WHERE `+byARN, arn, sqldb.Millis(tx.Now))
	if err != nil {
		return fmt.Errorf("moving LastChangedDate: %w", err)
	}
	return v.outdate(ctx, tx, arn)
}
