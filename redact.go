package keyturn

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/rotation"
)

// untold stands in the record where it can't be known that a text holds no value.
const untold = "The function failed. What it said is not shown, since the secret could not be opened to keep its value out."

// redact returns what a function said of its failure without the values of its
// secret. Other people's functions are not careful: a database that refuses a
// statement quotes it, with the new password, and so does their exception.
func (s *Server) redact(ctx context.Context, arn secret.ARN, message string) string {
	values, err := s.valuesOf(ctx, arn)
	if err != nil {
		return untold
	}
	return mask(bounded(message), values)
}

// valuesOf returns what must not be shown of the staged versions of a secret, and
// of its admin secret.
func (s *Server) valuesOf(ctx context.Context, arn secret.ARN) (values []string, err error) {
	admin, err := s.adminSecret(ctx, arn)
	if err != nil {
		return nil, err
	}
	for _, of := range []secret.ARN{arn, admin} {
		for _, stage := range []string{secret.Current, secret.Pending, secret.Previous} {
			text, err := s.staged(ctx, of, stage)
			if err != nil {
				return nil, err
			}
			values = append(values, sensitive(text)...)
		}
	}
	return values, nil
}

// staged returns a version's value, "" where there is none.
func (s *Server) staged(ctx context.Context, arn secret.ARN, stage string) (text string, err error) {
	if arn == "" {
		return "", nil
	}
	var version *secret.Version
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		version, err = s.vault.Select(ctx, tx, arn, secret.Selector{Stage: stage})
		return err
	})
	if errors.Is(err, secret.ErrNotFound) || errors.Is(err, secret.ErrInvalidRequest) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	value, err := s.vault.Open(ctx, version)
	if err != nil {
		return "", err
	}
	if value.Text != nil {
		return *value.Text, nil
	}
	return string(value.Binary), nil
}

// plain are the members of a secret's JSON that are no secret.
var plain = map[string]bool{"engine": true, "host": true, "port": true, "username": true, "dbname": true, "dbinstanceidentifier": true,
	"dbclusteridentifier": true, "masterarn": true, "ssl": true, "rotationstrategy": true, "tlsservername": true, "tlsca": true}

// sensitive returns the texts in a value, but for those of plain members. What is
// no JSON object, or has two members of one name, of which readers take either, is
// one text.
func sensitive(value string) []string {
	var members map[string]any
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	if !jsontext.Value(value).IsValid() || d.Decode(&members) != nil {
		return []string{value}
	}
	var texts []string
	for name, v := range members {
		if !plain[strings.ToLower(name)] {
			texts = append(texts, leaves(v)...)
		}
	}
	return texts
}

func leaves(v any) (texts []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case json.Number:
		if len(v) >= window { // fewer digits stand in any message
			return []string{v.String()}
		}
	case []any:
		for _, e := range v {
			texts = append(texts, leaves(e)...)
		}
	case map[string]any:
		for _, e := range v {
			texts = append(texts, leaves(e)...)
		}
	}
	return texts
}

// maxMessage bounds what a function's failure may say in the record, in bytes.
const maxMessage = 1000

func bounded(message string) string {
	if len(message) > maxMessage {
		return strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return message
}

// classOf is how a failure stands in the record of a rotation. Functions in other
// languages tell the names of their exceptions.
func classOf(errorType string) rotation.Class {
	switch c := rotation.Class(errorType); c {
	case rotation.ClassDNS, rotation.ClassTCP, rotation.ClassTLS, rotation.ClassAuth, rotation.ClassPrivilege, rotation.ClassPolicy,
		rotation.ClassTimeout, rotation.ClassAPI, rotation.ClassSecret, rotation.ClassDatabase, rotation.TypeRejected:
		return c
	}
	if errorType == "Sandbox.Timedout" {
		return rotation.ClassTimeout
	}
	return rotation.ClassFunction
}
