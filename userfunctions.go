package keyturn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyturn/keyturn/internal/execenv"
	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/iam/policy"
	"github.com/keyturn/keyturn/internal/lambdaapi"
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
	"github.com/keyturn/keyturn/rotation/redis"
)

// Function is a Lambda function in Go, in the server's own process. It gets the
// event, JSON, and answers JSON. Clients made from cfg may touch the secret that
// the event of a rotation names, and read its admin secret, if this function is
// the one that the secret is rotated by; they serve until the function returns.
//
// Callers see the text of an error that rotation.Errorf makes, or of any other
// with a method ErrorType() string; all other errors go to the server's log. A
// function may be called twice with the same event.
type Function func(ctx context.Context, cfg aws.Config, event json.RawMessage) (json.RawMessage, error)

// reservedFunctions begin the names of keyturn's own functions.
const reservedFunctions = "keyturn-rotate-"

var functionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// openFunctions makes the functions there are.
func (s *Server) openFunctions() error {
	user, err := s.functionUser()
	if err != nil {
		return err
	}
	builtIns := []lambdaapi.Function{
		{Name: reservedFunctions + "mysql", Description: "Rotates a login of MySQL, MariaDB or Aurora MySQL.", Handler: s.rotate(mysql.Engine{})},
		{Name: reservedFunctions + "postgres", Description: "Rotates a login of PostgreSQL or Aurora PostgreSQL.", Handler: s.rotate(postgres.Engine{Admissions: new(postgres.Admissions)})},
		{Name: reservedFunctions + "redis", Description: "Rotates a user of Redis or Valkey.", Handler: s.rotate(redis.Engine{})},
		{Name: managedFunction, Internal: true, Description: "Rotates the password of a master user that RDS manages.", Handler: s.rotateManaged},
	}
	for _, name := range slices.Sorted(maps.Keys(s.config.Functions)) {
		if !functionName.MatchString(name) || strings.HasPrefix(name, reservedFunctions) {
			return fmt.Errorf("opening a server: Config.Functions: %q is not a name that a function can have", name)
		}
		builtIns = append(builtIns, lambdaapi.Function{Name: name, Handler: s.inProcessFunction(s.config.Functions[name])})
	}
	s.lambda, err = lambdaapi.New(lambdaapi.Config{DB: s.db, Keys: s.keys, Dir: filepath.Join(s.folder, "lambda"), User: user,
		BuiltIns: builtIns, Reserved: reservedFunctions, Grant: s.grant, Log: s.config.Log})
	return err
}

// nobody is the number that Linux gives to the user who owns nothing.
const nobody = 65534

// functionUser is another user than root, who could read the key file.
func (s *Server) functionUser() (execenv.User, error) {
	if s.config.FunctionUser != "" {
		u, err := execenv.LookUp(s.config.FunctionUser)
		if err == nil && u.Other && os.Geteuid() != 0 {
			return u, errors.New("opening a server: only root can run functions as another user")
		}
		return u, err
	}
	if os.Geteuid() != 0 {
		return execenv.User{}, nil
	}
	return execenv.User{UID: nobody, GID: nobody, Other: true}, nil
}

func (s *Server) inProcessFunction(f Function) lambdaapi.Handler {
	return func(ctx context.Context, inv lambdaapi.Invocation) ([]byte, error) {
		p, _, err := s.functionPrincipal(ctx, inv)
		if err != nil {
			return nil, err
		}
		cfg, done := s.clientOf(p, inv.Region)
		defer done()
		return f(ctx, cfg, inv.Payload)
	}
}

// functionPrincipal returns under whom a function acts that is not keyturn's own;
// key tells such principals apart. Whoever may invoke a function chooses the
// event, so a secret is open to its own rotation function only.
func (s *Server) functionPrincipal(ctx context.Context, inv lambdaapi.Invocation) (p iam.Principal, key string, err error) {
	p = iam.Principal{ARN: "arn:aws:sts::" + inv.Account + ":assumed-role/keyturn-function/" + inv.Function[strings.LastIndexByte(inv.Function, ':')+1:],
		Account: inv.Account, Issued: s.now()}
	var e rotation.Event
	if json.Unmarshal(inv.Payload, &e) != nil || e.SecretID == "" {
		return p, p.ARN, nil // the event of something else than a rotation
	}
	arn := secret.ARN(e.SecretID)
	var state *scheduler.State
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		state, err = s.sched.State(ctx, tx, arn)
		return err
	})
	if err != nil || state == nil || state.Function != inv.Function {
		return p, p.ARN, err
	}
	admin, err := s.adminSecret(ctx, arn)
	if err != nil {
		return p, "", err
	}
	document, err := rotatorPolicy(arn, admin)
	if err != nil {
		return p, "", err
	}
	p.Policies = []*policy.Document{document}
	return p, fmt.Sprintf("%s %s %s", p.ARN, arn, admin), nil
}

// grant is functionPrincipal for a process.
func (s *Server) grant(ctx context.Context, inv lambdaapi.Invocation) (lambdaapi.Grant, error) {
	p, key, err := s.functionPrincipal(ctx, inv)
	if err != nil {
		return lambdaapi.Grant{}, err
	}
	return lambdaapi.Grant{Key: key, Issue: func(preset map[string]string) ([]string, func(), error) {
		endpoint, err := s.private.open(s, s.config.Log)
		if err != nil {
			return nil, nil, err
		}
		id, key, token := s.sessions.Issue(p)
		variables := []string{"AWS_REGION=" + inv.Region, "AWS_DEFAULT_REGION=" + inv.Region,
			"AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + key, "AWS_SESSION_TOKEN=" + token}
		return append(variables, endpoints(preset, endpoint)...), func() { s.sessions.Revoke(id) }, nil
	}}, nil
}

// endpoints are the variables by which SDKs, and AWS's rotation functions, find
// the server. A function may have its own, but not one of AWS: its credentials
// are good here only.
func endpoints(preset map[string]string, endpoint string) (variables []string) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "SECRETS_MANAGER_ENDPOINT"} {
		u, err := url.Parse(preset[name])
		if preset[name] == "" || err == nil && isAWS(u.Hostname()) {
			variables = append(variables, name+"="+endpoint)
		}
	}
	return variables
}

func isAWS(host string) bool {
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn")
}

// privateDoor is a listener on the loopback address for the processes of
// functions. It opens at the first need.
type privateDoor struct {
	mu     sync.Mutex
	server *http.Server
	url    string
	served chan struct{} // closed when server has ended
}

func (d *privateDoor) open(h http.Handler, log *slog.Logger) (url string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server != nil {
		return d.url, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listening for functions: %w", err)
	}
	d.url, d.served = "http://"+listener.Addr().String(), make(chan struct{})
	d.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	go func() {
		defer close(d.served)
		_ = d.server.Serve(listener) // it ends by close
	}()
	return d.url, nil
}

func (d *privateDoor) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		return nil
	}
	err := d.server.Close()
	<-d.served
	return err
}
