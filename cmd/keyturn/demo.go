package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/deploy"
	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
	"github.com/keyturn/keyturn/rotation/postgres"
)

type demoFlags struct {
	engine  string
	every   time.Duration
	length  time.Duration
	workers int
}

func newDemoCommand(a *app) *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a real database's password rotating under load",
		Long: `Start a server in a temporary folder, deploy a database cluster with a rotating
password, and keep workers opening new connections with whatever GetSecretValue
says while the password changes. Nothing is left behind.

It needs mariadbd, mysqld or postgres on this machine. The exit code is 0 only
if every login worked.`,
		Example: `  keyturn demo
  keyturn demo --for 20s
  keyturn demo --engine postgres --workers 16 --every 1s`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.engine, "engine", "", "mariadb, mysql or postgres (default: the first of them that is installed)")
	f.DurationVar(&flags.length, "for", 0, "end after this time under load (0: at Ctrl-C)")
	f.DurationVar(&flags.every, "every", 3*time.Second, "time between rotations")
	f.IntVar(&flags.workers, "workers", 8, "workers that open connections")
	return cmd
}

// demo is one run of the demo.
type demo struct {
	*app
	folder  string
	config  string // path of config.yml
	product dbserver.Product
	server  *keyturn.Server
	addr    net.Addr
	stop    func() error
	aws     aws.Config
	secrets *secretsmanager.Client
	engine  rotation.Engine
}

const demoSecret = "rds_login"

func (a *app) demo(ctx context.Context, flags demoFlags) (err error) {
	if flags.workers < 1 || flags.every <= 0 || flags.length < 0 {
		return usagef("--workers and --every must be above 0, --for not below")
	}
	product, err := pickProduct(flags.engine)
	if err != nil {
		return err
	}
	d := &demo{app: a, product: product, engine: mysql.Engine{}}
	if product == dbserver.Postgres {
		d.engine = postgres.Engine{}
	}
	if err := d.open(ctx); err != nil {
		return errors.Join(err, d.close())
	}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, scene := range []func(context.Context) error{d.deploy, d.showTimeline, d.logIn, d.invite} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return d.crowd(ctx, flags)
}

// pickProduct returns the database asked for, or the first that is installed.
func pickProduct(asked string) (dbserver.Product, error) {
	products := []dbserver.Product{dbserver.MariaDB, dbserver.MySQL, dbserver.Postgres}
	if asked != "" {
		p := dbserver.Product(asked)
		if !slices.Contains(products, p) {
			return "", usagef("--engine is mariadb, mysql or postgres, not %q", asked)
		}
		_, err := dbserver.Find(p)
		return p, err
	}
	var missing error
	for _, p := range products {
		_, err := dbserver.Find(p)
		if err == nil {
			return p, nil
		}
		if missing == nil {
			missing = err
		}
	}
	return "", missing
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.stdout, format+"\n", args...) }

func (d *demo) title(text string) {
	d.say("\n── %s %s", text, strings.Repeat("─", max(0, 74-len(text))))
}

// open starts a server on the usual port, or another one when that is taken.
func (d *demo) open(ctx context.Context) (err error) {
	if d.folder, err = os.MkdirTemp("", "keyturn-demo-"); err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	if err := os.Chmod(d.folder, 0o711); err != nil { //nolint:gosec // a PostgreSQL server runs as another user
		return err
	}
	log := slog.New(slog.NewTextHandler(d.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d.server, err = keyturn.Open(ctx, keyturn.Config{Data: filepath.Join(d.folder, "keyturn-data"), Log: log})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:4566")
	if err != nil {
		listener, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	d.addr = listener.Addr()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		ended <- serveUntil(serving, d.server, bounded(listener, usualLimits.connections), usualLimits, log)
	}()
	d.stop = func() error { cancel(); return <-ended }
	d.title("a server")
	d.say("keyturn serves Secrets Manager, RDS and Lambda at http://%s", d.addr)
	return d.connect(ctx)
}

// connect makes clients as anybody would: with the server's credentials file.
func (d *demo) connect(ctx context.Context) (err error) {
	d.aws, err = config.LoadDefaultConfig(ctx,
		config.WithSharedCredentialsFiles([]string{d.server.CredentialsFile()}),
		config.WithSharedConfigFiles(nil),
		config.WithSharedConfigProfile("default"),
		config.WithRegion(keyturn.DefaultRegion),
		config.WithBaseEndpoint("http://"+d.addr.String()))
	d.secrets = secretsmanager.NewFromConfig(d.aws)
	return err
}

func (d *demo) close() error {
	var errs []error
	if d.stop != nil {
		errs = append(errs, d.stop())
	}
	if d.server != nil {
		errs = append(errs, d.server.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(d.folder))...)
}

const demoConfig = `# The database of the demo.
rds:
  clusterIdentifier: phatcluster
  engine: %s
  masterUsername: admin_login

secretsmanager:
  name: rds_login             # the secret that holds the login
  rotatePasswordInDays: 30
`

func (d *demo) deploy(ctx context.Context) error {
	before := fmt.Sprintf(demoConfig, d.product)
	d.config = filepath.Join(d.folder, "config.yml")
	if err := os.WriteFile(d.config, []byte(before), 0o600); err != nil {
		return err
	}
	d.title("config.yml")
	d.say("%s", strings.TrimSpace(before))
	d.title("keyturn deploy")
	show := d.progress(ctx)
	_, err := deploy.Run(ctx, deploy.Options{ConfigPath: d.config, Progress: show.event, Clients: deploy.Clients{
		SecretsManager: d.secrets, RDS: rds.NewFromConfig(d.aws), Lambda: lambda.NewFromConfig(d.aws)}})
	show.close()
	if ctx.Err() != nil {
		return ctx.Err() // nothing is left of the deploy that could be run again
	}
	if err != nil {
		return err
	}
	after, err := os.ReadFile(d.config)
	if err != nil {
		return err
	}
	d.title("what changed in config.yml")
	writeDiff(d.stdout, before, string(after))
	return nil
}

var passwordLine = regexp.MustCompile(`(password: ).*`)

// writeDiff shows the lines that differ, passwords masked.
func writeDiff(w io.Writer, before, after string) {
	old, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range now {
		mark := "  "
		if !slices.Contains(old, line) {
			mark = "+ "
		}
		fmt.Fprintln(w, strings.TrimRight(mark+passwordLine.ReplaceAllString(line, "${1}********"), " "))
	}
}

func (d *demo) records(ctx context.Context) (*keyturnapi.ListRotationsOutput, error) {
	out, err := keyturnapi.New(d.aws).ListRotations(ctx, &keyturnapi.ListRotationsInput{SecretID: demoSecret, MaxResults: 1000})
	if err != nil {
		return nil, fmt.Errorf("reading the rotation's record: %w", err)
	}
	return out, nil
}

func (d *demo) showTimeline(ctx context.Context) error {
	out, err := d.records(ctx)
	if err != nil {
		return err
	}
	d.title("the first rotation")
	return d.writeTimeline(timeline{ARN: out.ARN, Name: out.Name, Strategy: out.Strategy, Next: out.Next, Rotations: group(out.Runs, d.now())})
}

func (d *demo) logIn(ctx context.Context) error {
	d.title("logging in with what GetSecretValue says")
	login, err := d.fetch(ctx, "")
	if err != nil {
		return err
	}
	begin := d.now()
	session, err := d.engine.Connect(ctx, login)
	if err != nil {
		return err
	}
	d.say("%s at %s: logged in as %s in %s", d.product, login.Address(0), login.Username, d.now().Sub(begin).Round(time.Microsecond))
	return session.Close()
}

// fetch asks for the login under a staging label; empty is AWSCURRENT.
func (d *demo) fetch(ctx context.Context, stage string) (rotation.Login, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String(demoSecret)}
	if stage != "" {
		in.VersionStage = &stage
	}
	out, err := d.secrets.GetSecretValue(ctx, in)
	if err != nil {
		return rotation.Login{}, err
	}
	return rotation.ParseLogin(aws.ToString(out.SecretString))
}

func (d *demo) invite(context.Context) error {
	d.title("talk to it from another terminal")
	writeUsage(d.stdout, d.server, "http://"+d.addr.String())
	d.say("  aws --endpoint-url http://%s secretsmanager get-secret-value --secret-id %s --query SecretString --output text", d.addr, demoSecret)
	d.say("  aws --endpoint-url http://%s secretsmanager rotate-secret --secret-id %s", d.addr, demoSecret)
	return nil
}
