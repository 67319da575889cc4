package secret

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// VersionPage asks for part of the versions of a secret.
type VersionPage struct {
	ARN            ARN
	WithDeprecated bool   // also those without labels
	Limit          int    // 1 to 100
	Token          string // of the page before; empty: the first
}

// Versions returns a page of a secret's versions, without their values, in the
// order in which they were made, and the token of the next page, empty on the
// last. A version that waits for its first value is not among them. A bad token
// is ErrInvalidNextToken.
func (v *Vault) Versions(ctx context.Context, tx *sqldb.Tx, p VersionPage) (page []*Version, next string, err error) {
	after, err := p.start()
	if err != nil {
		return nil, "", err
	}
	all, err := v.versions(ctx, tx, p.ARN)
	if err != nil {
		return nil, "", err
	}
	all = slices.DeleteFunc(all, func(version *Version) bool {
		return !p.WithDeprecated && len(version.Stages) == 0 || compareVersions(version, after) <= 0
	})
	if len(all) <= p.Limit {
		return all, "", nil
	}
	return all[:p.Limit], p.token(all[p.Limit-1]), nil
}

// versions returns all of them: the quota keeps them few.
func (v *Vault) versions(ctx context.Context, tx *sqldb.Tx, arn ARN) ([]*Version, error) {
	b, err := readBoard(ctx, tx, arn)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT id, kms_key_id, created_at, accessed_at FROM secret_versions
		WHERE secret = $1 AND kind <> $2`, b.secret, reserved)
	if err != nil {
		return nil, fmt.Errorf("listing versions: %w", err)
	}
	defer rows.Close()
	stages := b.allStages()
	var all []*Version
	for rows.Next() {
		version := &Version{ARN: arn}
		var created int64
		var accessed sql.NullInt64
		if err := rows.Scan(&version.ID, &version.KMSKeyID, &created, &accessed); err != nil {
			return nil, fmt.Errorf("listing versions: %w", err)
		}
		version.Created, version.Accessed = time.UnixMilli(created).UTC(), sqldb.Time(accessed)
		version.Stages = stages[version.ID]
		all = append(all, version)
	}
	slices.SortFunc(all, compareVersions)
	return all, rows.Err()
}

func compareVersions(a, b *Version) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// token is base64 of 1|ARN|DEPRECATED|CREATED|ID of the page's last version.
func (p VersionPage) token(last *Version) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{"1", string(p.ARN),
		strconv.FormatBool(p.WithDeprecated), strconv.FormatInt(sqldb.Millis(last.Created), 10), string(last.ID)}, "|")))
}

func (p VersionPage) start() (*Version, error) {
	if p.Token == "" {
		return &Version{}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Token)
	if err != nil {
		return nil, errToken()
	}
	f := strings.SplitN(string(raw), "|", 5)
	if len(f) != 5 {
		return nil, errToken()
	}
	created, err := strconv.ParseInt(f[3], 10, 64)
	after := &Version{Created: time.UnixMilli(created), ID: VersionID(f[4])}
	if err != nil || p.token(after) != p.Token {
		return nil, errToken()
	}
	return after, nil
}
