package deploy

import (
	"errors"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/keyturn/keyturn/deploy/lockedfile"
	"github.com/keyturn/keyturn/deploy/yamlfile"
)

// config is what config.yml says.
type config struct {
	cluster       string // rds.clusterIdentifier
	engine        engine
	engineName    string // rds.engine
	engineVersion string // rds.engineVersion; empty: the service's choice
	instance      string // rds.instanceIdentifier; empty: see firstInstance
	instanceClass string
	username      string   // rds.masterUsername
	database      string   // rds.databaseName; may be empty
	port          int32    // rds.port; 0: the engine's usual one
	endpoint      string   // rds.endpoint; not empty: adopt the server there
	function      string   // lambda.functionName
	secret        string   // secretsmanager.name
	days          int64    // secretsmanager.rotatePasswordInDays
	Password      Password // secretsmanager.password; exported so that fmt redacts it
	managed       bool     // rds.manageMasterUserPassword: RDS makes the secret and rotates it
}

// firstInstance names the instance of a new cluster.
func (c config) firstInstance() string {
	if c.instance != "" {
		return c.instance
	}
	return c.cluster + "-instance-1"
}

// engine is what deploy must know about an RDS engine.
type engine struct {
	secret   string // the engine's name in a secret's JSON
	function string // the rotation function to use when config.yml names none
}

const (
	mysqlFunction    = "keyturn-rotate-mysql"
	postgresFunction = "keyturn-rotate-postgres"
)

// engines are the values of rds.engine. AWS has clusters with one instance of
// their own for the aurora engines; the others are for keyturn servers.
var engines = map[string]engine{
	"aurora-mysql":      {"mysql", mysqlFunction},
	"mysql":             {"mysql", mysqlFunction},
	"mariadb":           {"mariadb", mysqlFunction},
	"aurora-postgresql": {"postgres", postgresFunction},
	"postgres":          {"postgres", postgresFunction},
}

const engineNames = "aurora-mysql, mysql, mariadb, aurora-postgresql or postgres"

// defaultClass is the smallest instance class of the aurora engines.
const defaultClass = "db.t4g.medium"

// sections are the parts of config.yml with the keys that are ours. Everything
// else in the file is somebody else's and is kept.
var sections = []struct {
	name string
	keys []string
}{
	{"rds", []string{"clusterIdentifier", "engine", "engineVersion", "instanceIdentifier", "instanceClass", "masterUsername", "databaseName", "port", "endpoint", "manageMasterUserPassword"}},
	{"lambda", []string{"functionName"}},
	{"secretsmanager", []string{"host", "port", "name", "rotatePasswordInDays", "username", "password"}},
}

// open locks, reads and validates a config.yml, which must be one that can be written.
func open(o Options) (*lockedfile.File, config, error) {
	path := o.ConfigPath
	file, err := lockedfile.Open(path)
	if err != nil {
		return nil, config{}, fileError(err)
	}
	cfg, err := read(path, file.Bytes())
	if err == nil {
		err = rehearse(path, file.Bytes())
	}
	if err == nil {
		err = fileError(file.Replaceable())
	}
	if err == nil && cfg.endpoint != "" && o.Clients.RDS != nil && onAWS(o.Clients.RDS.Options()) {
		err = &ConfigError{
			Path: path, Key: "rds.endpoint", Problem: "is for keyturn servers; AWS would create a new cluster",
			Fix: "remove it, or set AWS_ENDPOINT_URL to a keyturn server",
		}
	}
	if err != nil {
		return nil, config{}, errors.Join(err, file.Close())
	}
	return file, cfg, nil
}

// read validates a config.yml and returns what it says.
func read(path string, src []byte) (config, error) {
	doc, err := yamlfile.Parse(path, src)
	if err != nil {
		return config{}, err
	}
	r := &reader{path: path, doc: doc}
	r.spelling()
	c := r.config()
	return c, r.err
}

// rehearse makes sure that every key deploy writes at the end can be written.
func rehearse(path string, src []byte) error {
	doc, err := yamlfile.Parse(path, src)
	if err != nil {
		return err
	}
	for _, key := range []string{"host", "port", "username", "password"} {
		if _, err := doc.Set(yamlfile.Text("rehearsal"), "secretsmanager", key); err != nil {
			return err
		}
	}
	return nil
}

// reader reads keys and keeps the first error.
type reader struct {
	path string
	doc  *yamlfile.Doc
	err  error
}

func (r *reader) config() config {
	c := config{
		cluster:       r.match("rds.clusterIdentifier", r.required("rds", "clusterIdentifier", "an identifier such as phatcluster"), isIdentifier, identifierRule),
		engineName:    r.required("rds", "engine", "one of "+engineNames),
		engineVersion: r.raw("rds", "engineVersion"),
		instance:      r.match("rds.instanceIdentifier", r.text("rds", "instanceIdentifier"), isIdentifier, identifierRule),
		instanceClass: r.text("rds", "instanceClass"),
		username:      r.required("rds", "masterUsername", "the name of the master user, such as admin"),
		database:      r.text("rds", "databaseName"),
		port:          int32(r.number("rds", "port", 1, 65535)), //nolint:gosec // within int32 by its bounds
		endpoint:      r.endpoint(),
		function:      r.text("lambda", "functionName"),
		managed:       r.flag("rds", "manageMasterUserPassword"),
		Password:      Password(r.raw("secretsmanager", "password")),
	}
	if c.managed {
		c.days = r.managedDays()
		return r.defaults(c)
	}
	c.secret = r.match("secretsmanager.name", r.required("secretsmanager", "name", "the name of the secret, such as rds_login"), isSecretName, "write 1 to 512 letters, digits or any of -/_+=.@!")
	c.days = r.days()
	return r.defaults(c)
}

func (r *reader) defaults(c config) config {
	known, ok := engines[c.engineName]
	if !ok {
		r.fail("rds", "engine", "is not an engine that deploy knows", "use "+engineNames)
	}
	c.engine = known
	if c.function == "" {
		c.function = known.function
	}
	if (c.function == mysqlFunction || c.function == postgresFunction) && c.function != known.function {
		r.fail("lambda", "functionName", "is a function that does not rotate "+c.engineName, "remove it, or write "+known.function)
	}
	if c.instanceClass == "" {
		c.instanceClass = defaultClass
	}
	if c.instance == "" && !isIdentifier(c.firstInstance()) {
		r.fail("rds", "instanceIdentifier", "is missing, and the cluster's name is too long to make one from it", identifierRule)
	}
	if c.endpoint == "" {
		return c
	}
	_, port, _ := net.SplitHostPort(c.endpoint) // checked by r.endpoint
	number, _ := strconv.ParseInt(port, 10, 32)
	if c.port != 0 && c.port != int32(number) {
		r.fail("rds", "port", "is not the port in rds.endpoint", "remove rds.port")
	}
	c.port = int32(number)
	return c
}

// Rules for names. RDS takes identifiers of letters, digits and single
// hyphens; Secrets Manager's rule is that of CreateSecret. With their lengths in them
// they took every start of the program 11 ms.
var (
	identifier = regexp.MustCompile(`^[A-Za-z](-?[A-Za-z0-9])*$`)
	secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`)
)

func isIdentifier(name string) bool { return len(name) <= 63 && identifier.MatchString(name) }

func isSecretName(name string) bool { return len(name) <= 512 && secretName.MatchString(name) }

const identifierRule = "begin with a letter, use letters, digits and single hyphens, 63 characters at most, no hyphen at the end"

func (r *reader) match(key, value string, fits func(string) bool, fix string) string {
	section, name, _ := strings.Cut(key, ".")
	if value != "" && !fits(value) {
		r.fail(section, name, "is not a name that the service takes", fix)
	}
	return value
}

func (r *reader) endpoint() string {
	value := r.text("rds", "endpoint")
	if value == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(value)
	number, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || host == "" || number == 0 {
		r.fail("rds", "endpoint", "is not an address", "write host:port, such as db.example.com:3306")
	}
	return value
}

// days reads rotatePasswordInDays. Secrets Manager takes 1 to 1000.
func (r *reader) days() int64 {
	r.require("secretsmanager", "rotatePasswordInDays", "the number of days between rotations, 1 to 1000")
	return r.number("secretsmanager", "rotatePasswordInDays", 1, 1000)
}

// require fails when the key is missing or empty.
func (r *reader) require(section, key, what string) {
	node := r.node(section, key)
	if node == nil || node.Value == "" && node.Kind == yaml.ScalarNode {
		r.fail(section, key, "is missing", "add "+what)
	}
}

func (r *reader) required(section, key, what string) string {
	r.require(section, key, what)
	return r.text(section, key)
}

// flag reads true or false; false when there is none.
func (r *reader) flag(section, key string) bool {
	node := r.node(section, key)
	if node == nil || node.ShortTag() == "!!null" {
		return false
	}
	if node.ShortTag() != "!!bool" {
		r.fail(section, key, "is neither true nor false", "write true or false, without quotes")
		return false
	}
	return strings.EqualFold(node.Value, "true")
}

// text reads a string; "" when there is none.
func (r *reader) text(section, key string) string {
	node := r.node(section, key)
	if node == nil || node.ShortTag() == "!!null" {
		return ""
	}
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str" {
		r.fail(section, key, "is not text", "write it in quotes")
		return ""
	}
	return node.Value
}

// raw reads a scalar as it is written: a version 8.0 and a password 1234 are
// meant as text.
func (r *reader) raw(section, key string) string {
	node := r.node(section, key)
	if node == nil || node.ShortTag() == "!!null" {
		return ""
	}
	if node.Kind != yaml.ScalarNode {
		r.fail(section, key, "is not a single value", "write it in quotes on one line")
		return ""
	}
	return node.Value
}

// number reads a whole number within bounds; 0 when there is none.
func (r *reader) number(section, key string, low, high int64) int64 {
	node := r.node(section, key)
	if node == nil || node.ShortTag() == "!!null" {
		return 0
	}
	fix := "write a whole number from " + strconv.FormatInt(low, 10) + " to " + strconv.FormatInt(high, 10)
	n, err := strconv.ParseInt(node.Value, 10, 64)
	if err != nil || node.ShortTag() != "!!int" {
		r.fail(section, key, "is not a whole number", fix)
		return 0
	}
	if n < low || n > high {
		r.fail(section, key, "is out of range", fix)
	}
	return n
}

func (r *reader) node(section, key string) *yaml.Node {
	if r.err != nil {
		return nil
	}
	node, err := r.doc.Lookup(section, key)
	r.err = err
	return node
}

// spelling refuses what would be passed over in silence: a key of our sections that
// differs from one of ours only in case, hyphens or underscores, and YAML's merge key.
func (r *reader) spelling() {
	for _, section := range sections {
		lines, err := r.doc.Keys(section.name)
		if r.err == nil {
			r.err = err
		}
		if _, merges := lines["<<"]; merges {
			r.fail(section.name, "<<", "is a merge key", "write the merged keys out here")
		}
		for _, key := range slices.Sorted(maps.Keys(lines)) {
			i := slices.IndexFunc(section.keys, func(k string) bool { return folded(k) == folded(key) })
			if i >= 0 && section.keys[i] != key {
				r.fail(section.name, key, "is not a key that deploy knows", "spell it "+section.keys[i])
			}
		}
	}
}

func folded(key string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(key))
}

// fail keeps the first error, with the line of the key, of its section, or
// none.
func (r *reader) fail(section, key, problem, fix string) {
	if r.err != nil {
		return
	}
	line := 0
	if top, err := r.doc.Keys(); err == nil {
		line = top[section]
	}
	if keys, err := r.doc.Keys(section); err == nil && keys[key] > 0 {
		line = keys[key]
	}
	r.err = &ConfigError{Path: r.path, Line: line, Key: section + "." + key, Problem: problem, Fix: fix}
}
