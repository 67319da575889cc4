package secret

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	tags, err := readTags(ctx, tx, arn)
	if err != nil {
		return err
	}
	tags = withTags(tags, all)
	if err := checkCount(tags); err != nil {
		return err
	}
	return v.writeTags(ctx, tx, arn, tags)
}

// withTags sets tags: a key that exists keeps its place.
func withTags(tags, all []Tag) []Tag {
	for _, t := range all {
		i := slices.IndexFunc(tags, func(has Tag) bool { return has.Key == t.Key })
		if i < 0 {
			tags = append(tags, t)
		} else {
			tags[i] = t
		}
	}
	return tags
}

// checkCount returns ErrInvalidParameter for more tags than a secret may have.
func checkCount(tags []Tag) error {
	n := 0
	for _, t := range tags {
		if !strings.HasPrefix(t.Key, systemTag) {
			n++
		}
	}
	if n > maxTags {
		return ErrInvalidParameter.Errorf("A secret can't have more than %d tags.", maxTags)
	}
	return nil
}

// HasTag tells whether a secret has this very tag.
func (v *Vault) HasTag(ctx context.Context, tx *sqldb.Tx, arn ARN, t Tag) (bool, error) {
	tags, err := readTags(ctx, tx, arn)
	return slices.Contains(tags, t), err
}

// Untag is UntagResource; keys that the secret does not have are no error.
func (v *Vault) Untag(ctx context.Context, tx *sqldb.Tx, arn ARN, keys []string) error {
	tags, err := readTags(ctx, tx, arn)
	if err != nil {
		return err
	}
	return v.writeTags(ctx, tx, arn, slices.DeleteFunc(tags, func(t Tag) bool { return slices.Contains(keys, t.Key) }))
}

// readTags returns the tags of a secret; nil: it never had one.
func readTags(ctx context.Context, tx *sqldb.Tx, arn ARN) ([]Tag, error) {
	var text string
	err := tx.QueryRow(ctx, `SELECT tags FROM secrets WHERE `+byARN, arn).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading tags: %w", err)
	}
	return parseTags(text)
}

func (v *Vault) writeTags(ctx context.Context, tx *sqldb.Tx, arn ARN, tags []Tag) error {
	text, err := tagsText(tags)
	if err != nil {
		return err
	}
	if _, err := change(ctx, tx, `UPDATE secrets SET tags = $2 WHERE `+byARN, arn, text); err != nil {
		return fmt.Errorf("setting tags: %w", err)
	}
	return v.Touch(ctx, tx, arn)
}

// tagsText is how a secret's row tells its tags: in JSON, [key, value] of each in the
// order in which keys were first set; empty: it never had one.
func tagsText(tags []Tag) (string, error) {
	if tags == nil {
		return "", nil
	}
	pairs := make([][2]string, 0, len(tags))
	for _, t := range tags {
		pairs = append(pairs, [2]string{t.Key, t.Value})
	}
	text, err := json.Marshal(pairs)
	if err != nil {
		return "", fmt.Errorf("writing tags: %w", err)
	}
	return string(text), nil
}

func parseTags(text string) ([]Tag, error) {
	if text == "" {
		return nil, nil
	}
	var pairs [][2]string
	if err := json.Unmarshal([]byte(text), &pairs); err != nil {
		return nil, fmt.Errorf("reading tags: %w", err)
	}
	tags := make([]Tag, 0, len(pairs))
	for _, p := range pairs {
		tags = append(tags, Tag{Key: p[0], Value: p[1]})
	}
	return tags, nil
}
