package lambdaapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// Schema is the tables of this package.
var Schema = sqldb.Schema{Name: "lambdaapi", Steps: []string{`
CREATE TABLE function_permissions (
	position BIGINT NOT NULL, function TEXT NOT NULL, sid TEXT NOT NULL,
	statement TEXT NOT NULL, -- JSON
	PRIMARY KEY (function, sid)
);`, `
CREATE TABLE functions (
	arn         TEXT PRIMARY KEY,
	shown       TEXT NOT NULL, -- a types.FunctionConfiguration as JSON, without environment variables
	environment TEXT NOT NULL, -- sealed environment variables; empty: none
	tags        TEXT NOT NULL  -- JSON
);
CREATE TABLE function_code (
	function TEXT PRIMARY KEY, -- its ARN
	zip      BLOB NOT NULL     -- the deployment package, whose hash is CodeSha256
)`}}

// statement is one permission, as GetPolicy shows it.
type statement struct {
	Sid       string                       `json:"Sid"`
	Effect    string                       `json:"Effect"`
	Principal any                          `json:"Principal"` // "*", {"Service": …} or {"AWS": …}
	Action    string                       `json:"Action"`
	Resource  string                       `json:"Resource"`
	Condition map[string]map[string]string `json:"Condition,omitempty"`
}

type policy struct {
	Version   string            `json:"Version"`
	ID        string            `json:"Id"`
	Statement []json.RawMessage `json:"Statement"`
}

var (
	sidPattern    = wire.NewPattern(`([a-zA-Z0-9-_]+)`)
	actionPattern = wire.NewPattern(`(lambda:[*]|lambda:[a-zA-Z]+|[*])`)
	service       = regexp.MustCompile(`^[a-z0-9.-]+\.amazonaws\.com$`)
	account       = wire.NewPattern(`\d{12}`)
)

// newStatement makes the permission that a request asks for. Its bounds are those of
// Lambda's API reference.
func newStatement(a arn, in *lambda.AddPermissionInput) (*statement, error) {
	var v wire.Violations
	v.Required("statementId", in.StatementId != nil)
	v.Length("statementId", in.StatementId, 1, 100)
	v.Pattern("statementId", in.StatementId, sidPattern)
	v.Required("action", in.Action != nil)
	v.Pattern("action", in.Action, actionPattern)
	v.Required("principal", in.Principal != nil)
	v.Pattern("sourceAccount", in.SourceAccount, account)
	if err := v.Err(); err != nil {
		return nil, err
	}
	st := &statement{Sid: *in.StatementId, Effect: "Allow", Action: *in.Action, Resource: a.String()}
	st.restrict(in.SourceArn, in.SourceAccount)
	switch principal := *in.Principal; {
	case principal == "*":
		st.Principal = "*"
	case service.MatchString(principal):
		st.Principal = map[string]string{"Service": principal}
	case account.Match(principal):
		st.Principal = map[string]string{"AWS": "arn:aws:iam::" + principal + ":root"}
	case strings.HasPrefix(principal, "arn:aws:iam::"):
		st.Principal = map[string]string{"AWS": principal}
	default:
		return nil, ErrInvalidValue.Errorf("The provided principal was invalid. Please check the principal and try again.")
	}
	return st, nil
}

func (st *statement) restrict(sourceARN, sourceAccount *string) {
	st.Condition = map[string]map[string]string{}
	if sourceARN != nil {
		st.Condition["ArnLike"] = map[string]string{"AWS:SourceArn": *sourceARN}
	}
	if sourceAccount != nil {
		st.Condition["StringEquals"] = map[string]string{"AWS:SourceAccount": *sourceAccount}
	}
}

// allows reports whether the statement lets the service invoke the function on
// behalf of the resource source.
func (st *statement) allows(servicePrincipal, source, sourceAccount string) bool {
	return st.isFor(servicePrincipal) &&
		iam.Match(strings.ToLower(st.Action), "lambda:invokefunction") &&
		st.holds("ArnLike", "AWS:SourceArn", source) &&
		st.holds("StringEquals", "AWS:SourceAccount", sourceAccount)
}

func (st *statement) isFor(servicePrincipal string) bool {
	m, _ := st.Principal.(map[string]any)
	return st.Principal == "*" || m["Service"] == servicePrincipal
}

func (st *statement) holds(operator, key, value string) bool {
	want, conditional := st.Condition[operator][key]
	if operator == "ArnLike" && conditional {
		return iam.Match(want, value)
	}
	return !conditional || want == value
}

// Permits reports whether the function with this ARN exists and its policy lets
// a service invoke it on behalf of the resource source.
func (s *Service) Permits(ctx context.Context, functionARN, servicePrincipal, source, sourceAccount string) (ok bool, err error) {
	a, err := split(functionARN)
	if err != nil {
		return false, nil // no such function: not permitted, as on AWS
	}
	if _, err := s.find(ctx, a); errors.Is(err, ErrNotFound) {
		return false, nil // likewise
	} else if err != nil {
		return false, err
	}
	err = s.config.DB.ReadOne(ctx, func(tx *sqldb.Tx) error {
		ok, err = permits(ctx, tx, a, func(st *statement) bool { return st.allows(servicePrincipal, source, sourceAccount) })
		return err
	})
	return ok, err
}

// permits reads a function's policy up to the first statement that allows. They
// come in any order, for none denies, and to order them all would be read.
func permits(ctx context.Context, tx *sqldb.Tx, a arn, allows func(*statement) bool) (bool, error) {
	rows, err := tx.Query(ctx, `SELECT statement FROM function_permissions WHERE function = $1`, a.String())
	if err != nil {
		return false, fmt.Errorf("reading a function's policy: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var st statement
		if err := rows.Scan(&text); err != nil {
			return false, fmt.Errorf("reading a function's policy: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			return false, fmt.Errorf("reading a permission: %w", err)
		}
		if allows(&st) {
			return true, nil
		}
	}
	return false, rows.Err()
}

const statementsText = `SELECT statement FROM function_permissions WHERE function = $1 ORDER BY position`

func (s *Service) statements(ctx context.Context, a arn) (all []json.RawMessage, err error) {
	err = s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		all, err = statements(ctx, tx, a)
		return err
	})
	return all, err
}

func statements(ctx context.Context, tx *sqldb.Tx, a arn) ([]json.RawMessage, error) {
	rows, err := tx.Query(ctx, statementsText, a.String())
	if err != nil {
		return nil, fmt.Errorf("reading a function's policy: %w", err)
	}
	defer rows.Close()
	var all []json.RawMessage
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("reading a function's policy: %w", err)
		}
		all = append(all, json.RawMessage(text))
	}
	return all, rows.Err()
}

// render returns a policy's JSON and its revision: a UUID-shaped hash, so it
// changes exactly when the policy does.
func render(all []json.RawMessage) (text, revision string, err error) {
	b, err := json.Marshal(policy{Version: "2012-10-17", ID: "default", Statement: all})
	if err != nil {
		return "", "", fmt.Errorf("writing a policy: %w", err)
	}
	h := sha256.Sum256(b)
	return string(b), fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]), nil
}
