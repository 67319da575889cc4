package rdsapi

import (
	"net"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/dbserver"
)

// endpointTag on a cluster adopts the server at host:port.
const endpointTag = "keyturn:endpoint"

// engine is what an engine's name means here.
type engine struct {
	products    []dbserver.Product // that can run it, the preferred one first
	clusterOnly bool
	maxUser     int // length of a master user's name
	maxPassword int
}

var engines = map[string]engine{ // :: name on the API → what it is
	"aurora-mysql":      {products: []dbserver.Product{dbserver.MySQL, dbserver.MariaDB}, clusterOnly: true, maxUser: 16, maxPassword: 41},
	"mysql":             {products: []dbserver.Product{dbserver.MySQL, dbserver.MariaDB}, maxUser: 16, maxPassword: 41},
	"mariadb":           {products: []dbserver.Product{dbserver.MariaDB}, maxUser: 16, maxPassword: 41},
	"aurora-postgresql": {products: []dbserver.Product{dbserver.Postgres}, clusterOnly: true, maxUser: 63, maxPassword: 128},
	"postgres":          {products: []dbserver.Product{dbserver.Postgres}, maxUser: 63, maxPassword: 128},
}

// family is the product whose protocol an adopted server speaks.
func (e engine) family() dbserver.Product { return e.products[0] }

func engineOf(name string) (engine, error) {
	e, known := engines[name]
	if !known {
		return e, ErrParameterValue.Errorf("Invalid DB engine: %s. Known engines are aurora-mysql, mysql, mariadb, aurora-postgresql and postgres.", clip(name))
	}
	return e, nil
}

func clip(s string) string { return s[:min(len(s), 64)] }

// find returns the installed server for the engine. Its error says what to
// install.
func (e engine) find() (dbserver.Binary, error) {
	var texts []string
	for _, product := range e.products {
		b, err := dbserver.Find(product)
		if err == nil {
			return b, nil
		}
		texts = append(texts, err.Error())
	}
	return dbserver.Binary{}, ErrParameterCombination.Errorf("This engine cannot run here: %s.", strings.Join(texts, "; or: "))
}

var masterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// credentials checks a master user's name and password.
func (e engine) credentials(user, password *string) error {
	if err := required("MasterUsername", user); err != nil {
		return err
	}
	if err := required("MasterUserPassword", password); err != nil {
		return err
	}
	if len(*user) > e.maxUser || !masterName.MatchString(*user) {
		return ErrParameterValue.Errorf("The parameter MasterUsername is not valid. It must begin with a letter, contain only letters, digits and underscores, and be at most %d characters long.", e.maxUser)
	}
	if reserved(*user) {
		return ErrParameterValue.Errorf("MasterUsername %s cannot be used as it is a reserved word used by the engine", *user)
	}
	return e.password(*password)
}

// reserved names the accounts that servers have of themselves.
func reserved(user string) bool {
	user = strings.ToLower(user)
	switch user {
	case dbserver.Admin, "rds_superuser", "root", "public", "none":
		return true
	}
	return strings.HasPrefix(user, "pg_")
}

const minPassword = 8

// password keeps RDS's rules, so that what is accepted here is accepted there.
func (e engine) password(p string) error {
	switch {
	case len(p) < minPassword:
		return ErrParameterValue.Errorf("The parameter MasterUserPassword is not a valid password because it is shorter than %d characters.", minPassword)
	case len(p) > e.maxPassword:
		return ErrParameterValue.Errorf("The parameter MasterUserPassword is not a valid password because it is longer than %d characters.", e.maxPassword)
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] > '~' || strings.IndexByte(`/@"`, p[i]) >= 0 {
			return ErrParameterValue.Errorf("The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used.")
		}
	}
	return nil
}

const maxDatabaseName = 63

func databaseName(parameter string, name *string) (string, error) {
	if name == nil || *name == "" {
		return "", nil
	}
	if len(*name) > maxDatabaseName || !masterName.MatchString(*name) {
		return "", ErrParameterValue.Errorf("%s must begin with a letter and contain only alphanumeric characters and underscores.", parameter)
	}
	return *name, nil
}

// Only ports that need no privilege; RDS has the same lower bound.
const minPort, maxPort = 1150, 65535

func portNumber(port *int32) (int, error) {
	if port == nil {
		return 0, nil
	}
	if *port < minPort || *port > maxPort {
		return 0, ErrParameterValue.Errorf("Invalid database port: %d. Valid port values: %d-%d", *port, minPort, maxPort)
	}
	return int(*port), nil
}

// adoptedEndpoint reads the tag endpointTag; host is empty without it.
func adoptedEndpoint(tags []types.Tag) (host string, port int, err error) {
	for _, tag := range tags {
		if tag.Key == nil || *tag.Key != endpointTag {
			continue
		}
		host, text, err := net.SplitHostPort(value(tag.Value))
		number, parseErr := strconv.Atoi(text)
		if err != nil || parseErr != nil || host == "" || number < 1 || number > maxPort {
			return "", 0, ErrParameterValue.Errorf("The tag %s must be host:port, as in db.example.com:3306 or [::1]:3306.", endpointTag)
		}
		return host, number, nil
	}
	return "", 0, nil
}

const maxTags = 50

func checkTags(tags []types.Tag) error {
	if len(tags) > maxTags {
		return ErrParameterValue.Errorf("A resource has at most %d tags.", maxTags)
	}
	for _, tag := range tags {
		key := value(tag.Key)
		tooLong := utf8.RuneCountInString(key) > 128 || utf8.RuneCountInString(value(tag.Value)) > 256
		if key == "" || tooLong || strings.HasPrefix(strings.ToLower(key), "aws:") {
			return ErrParameterValue.Errorf("Invalid tag: keys have 1 to 128 characters and do not begin with aws:, values have at most 256 characters.")
		}
	}
	return nil
}

// value returns what p points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
