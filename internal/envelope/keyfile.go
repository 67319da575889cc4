package envelope

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A key file is text, one line for each key material:
//
//	keyturn-key-1 ID BASE64
//	keyturn-key-2 KEY ALIAS ID CREATED BASE64
//	keyturn-key-2 KEY ALIAS ARN CREATED aws-kms
//
// The first form, of the first version, is a key without alias whose first
// material has the key's own id. In the second form ALIAS is - for a key that
// has none, CREATED is RFC 3339 in UTC, or - where it is not known. BASE64 holds
// 32 bytes; aws-kms instead says that the material is the AWS KMS key whose ARN
// stands in the place of its id.
//
// The lines of one key go from its oldest material to its newest, and the key of
// the first line is the default key.
const (
	lineFormat1 = "keyturn-key-1"
	lineFormat2 = "keyturn-key-2"
	inAWSKMS    = "aws-kms"
	none        = "-"
)

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 1 << 20

var (
	keyName   = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$`)
	aliasName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z/_-]{0,249}$`)
)

// key is what a KmsKeyId names.
type key struct {
	id        string
	alias     string     // without "alias/"; empty: none
	materials []material // oldest first; never empty
}

type material struct {
	Key
	created time.Time // UTC, whole seconds; zero: not known
}

func (k *key) newest() Key { return k.materials[len(k.materials)-1] }

// with is the key with one material more.
func (k *key) with(m material) *key {
	return &key{id: k.id, alias: k.alias, materials: append(k.materials[:len(k.materials):len(k.materials)], m)}
}

// without is the key without one of its materials.
func (k *key) without(id string) *key {
	rest := &key{id: k.id, alias: k.alias}
	for _, m := range k.materials {
		if m.ID() != id {
			rest.materials = append(rest.materials, m)
		}
	}
	return rest
}

// isKeyFile tells a key file from text of another kind, wrapped ones included.
func isKeyFile(text string) bool {
	return strings.HasPrefix(text, lineFormat1+" ") || strings.HasPrefix(text, lineFormat2+" ")
}

// parseKeys reads a key file. Blank lines are left out.
func parseKeys(text string, remote *awsKMS) ([]*key, error) {
	var all []*key
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		owner, m, err := parseLine(fields, remote)
		if err != nil {
			return nil, err
		}
		if all, err = addMaterial(all, owner, m); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, errors.New("not a keyturn key file")
	}
	return all, nil
}

func parseLine(f []string, remote *awsKMS) (*key, material, error) {
	switch {
	case f[0] == lineFormat1 && len(f) == 3:
		f = []string{lineFormat2, f[1], none, f[1], none, f[2]}
	case f[0] == lineFormat2 && len(f) == 6:
	default:
		return nil, material{}, errors.New("not a keyturn key file")
	}
	k, err := parseName(f[1], f[2])
	if err != nil {
		return nil, material{}, err
	}
	m := material{}
	if m.created, err = parseCreated(f[4]); err != nil {
		return nil, m, err
	}
	m.Key, err = parseMaterial(f[3], f[5], remote)
	return k, m, err
}

func parseName(id, alias string) (*key, error) {
	if alias == none {
		alias = ""
	}
	if !keyName.MatchString(id) {
		return nil, fmt.Errorf("%q is no key id", id)
	}
	return &key{id: id, alias: alias}, checkAlias(alias)
}

func checkAlias(alias string) error {
	if alias != "" && !aliasName.MatchString(alias) {
		return fmt.Errorf("an alias has letters, digits, / _ and -, at most 250, not %q", alias)
	}
	if strings.HasPrefix(alias, "aws/") {
		return fmt.Errorf("the alias %q is not allowed: aliases that begin with aws/ are AWS's own", alias)
	}
	return nil
}

func parseCreated(text string) (time.Time, error) {
	if text == none {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.IsZero() {
		return time.Time{}, fmt.Errorf("%q is no time", text)
	}
	return t.UTC().Truncate(time.Second), nil
}

func parseMaterial(id, secret string, remote *awsKMS) (Key, error) {
	if secret == inAWSKMS {
		k, err := remote.key(id)
		if err != nil {
			return nil, err
		}
		return k, nil
	}
	if !keyName.MatchString(id) {
		return nil, fmt.Errorf("%q is no id of a key material", id)
	}
	l, err := parseLocal(id, secret)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// addMaterial puts m behind the other materials of its key.
func addMaterial(all []*key, owner *key, m material) ([]*key, error) {
	var known *key
	for _, k := range all {
		if k.id == owner.id {
			known = k
		} else if owner.alias != "" && k.alias == owner.alias {
			return nil, fmt.Errorf("the alias %s is on two keys", owner.alias)
		}
		for _, other := range k.materials {
			if other.ID() == m.ID() {
				return nil, fmt.Errorf("the key material %s is there twice", m.ID())
			}
		}
	}
	switch {
	case known == nil:
		owner.materials = []material{m}
		return append(all, owner), nil
	case known.alias != owner.alias:
		return nil, fmt.Errorf("the key %s has two aliases", owner.id)
	}
	known.materials = append(known.materials, m)
	return all, nil
}

// printKeys is the key file that parseKeys reads.
func printKeys(all []*key) string {
	var b strings.Builder
	for _, k := range all {
		for _, m := range k.materials {
			b.WriteString(printLine(k, m))
		}
	}
	return b.String()
}

func printLine(k *key, m material) string {
	local, inFile := m.Key.(*Local)
	if inFile && k.alias == "" && k.id == local.id && m.created.IsZero() {
		return strings.Join([]string{lineFormat1, local.id, local.secret()}, " ") + "\n" // older programs read it too
	}
	alias, created, secret := k.alias, none, inAWSKMS
	if alias == "" {
		alias = none
	}
	if !m.created.IsZero() {
		created = m.created.Format(time.RFC3339)
	}
	if inFile {
		secret = local.secret()
	}
	return strings.Join([]string{lineFormat2, k.id, alias, m.ID(), created, secret}, " ") + "\n"
}
