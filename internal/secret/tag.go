package secret

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// maxTags is AWS's quota of tags of one secret. Tags of the system do not count
// ("Tag naming limits and requirements" in the AWS tagging guide).
const maxTags = 50

// systemTag begins the keys that only services set.
const systemTag = "aws:"

// CheckTagKey returns ErrInvalidParameter for a key that is reserved for system
// use.
func CheckTagKey(key string) error {
	if strings.HasPrefix(strings.ToLower(key), systemTag) {
		return ErrInvalidParameter.Errorf("Tag keys that begin with aws: are reserved for system use.")
	}
	return nil
}

// Tag is TagResource: it sets tags, and a key that exists keeps its place. More
// than 50 are ErrInvalidParameter.
func (v *Vault) Tag(ctx context.Context, tx *sqldb.Tx, arn ARN, all []Tag) error {
	for _, t := range all {
		if err := v.SetTag(ctx, tx, arn, t); err != nil {
			return err
		}
	}
	var count int
	err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM secret_tags WHERE arn = $1 AND tag_key NOT LIKE 'aws:%'`, arn).Scan(&count)
	if err != nil {
		return fmt.Errorf("counting tags: %w", err)
	}
	if count > maxTags {
		return ErrInvalidParameter.Errorf("A secret can't have more than %d tags.", maxTags)
	}
	return v.touch(ctx, tx, arn)
}

// HasTag tells whether a secret has this very tag.
func (v *Vault) HasTag(ctx context.Context, tx *sqldb.Tx, arn ARN, t Tag) (has bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM secret_tags WHERE arn = $1 AND tag_key = $2 AND tag_value = $3)`,
		arn, t.Key, t.Value).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("looking for a tag: %w", err)
	}
	return has, nil
}

// Untag is UntagResource; keys that the secret does not have are no error.
func (v *Vault) Untag(ctx context.Context, tx *sqldb.Tx, arn ARN, keys []string) error {
	for _, key := range keys {
		if _, err := change(ctx, tx, `DELETE FROM secret_tags WHERE arn = $1 AND tag_key = $2`, arn, key); err != nil {
			return fmt.Errorf("removing a tag: %w", err)
		}
	}
	return v.touch(ctx, tx, arn)
}
