package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
)

type serveFlags struct {
	listen, data string
	dev          bool
	keys         keyFlags
	tls          tlsFlags
	auditFsync   string
	functionUser string
	logFunctions bool
	driftCheck   string
	metrics      string
	perHost      int
	perSecond    int
}

const serveText = `Run a server that speaks the AWS Secrets Manager API, and the slices of RDS and
Lambda that deploying and rotating need, on one port.

The first start makes the data folder with a key file, with which everything is
encrypted, and one access key, which is written to DATA/credentials. Keep a copy
of DATA/root.key in another place than the backup of the rest: without it
nothing can be opened.

The key file may also be another one (--key-file), wrapped by a passphrase
(--key-passphrase…), or be given to the server, which then can't change it: by a
file descriptor (--key-fd), the variable KEYTURN_KEY_FILE_CONTENT, or as the
systemd credential keyturn.key. Or keys are in AWS KMS (--aws-kms-key, "keyturn
key create --aws-kms"): the server uses them with the ordinary AWS settings of
its process, and AWS_ENDPOINT_URL_KMS.

With --tls-cert and --tls-key it speaks HTTPS, and reads them again when they
change. Clients that do not know the certificate's authority find it by
AWS_CA_BUNDLE. Without, put it where nobody else can listen: it speaks plain HTTP.

Functions made by "aws lambda create-function" run on this machine, in processes
of their own: provided.al2023, python3.x and nodejs with the python3 and node in
PATH. If the server is root they run as nobody; else they run as the server's own
user, and whoever may create functions can do what that user can.

GET /livez tells that it runs, GET /readyz (or /healthz) whether it should get
requests. Neither asks for a signature.

SIGTERM, Ctrl-C or the end of its terminal ends requests and steps of rotations in
order; under nohup it outlives the terminal.`

func newServeCommand(a *app) *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server that speaks the AWS Secrets Manager API",
		Long:  serveText,
		Example: `  keyturn serve
  keyturn serve --listen 127.0.0.1:8200 --data /var/lib/keyturn
  keyturn serve --key-file /etc/keyturn/key --key-passphrase-file /run/keyturn/passphrase
  keyturn serve --listen 0.0.0.0:443 --tls-cert fullchain.pem --tls-key privkey.pem
  keyturn serve --metrics-listen 127.0.0.1:9464 --drift-check 6h
  keyturn serve --dev --data :memory:   # for a test suite: any access key, no signatures`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.listen, "listen", "127.0.0.1:4566", "address and port to listen on")
	f.StringVar(&flags.data, "data", "./keyturn-data", "folder of the server's state; :memory: (with --dev) keeps none")
	f.BoolVar(&flags.dev, "dev", false, "for test suites: accept any access key, check no signature, let the clock be advanced")
	_ = cmd.MarkFlagDirname("data")
	f.StringVar(&flags.auditFsync, "audit-fsync", string(keyturn.AuditFsyncInterval),
		"when lines of the audit log are forced to the disk: always, interval (each second) or never")
	_ = cmd.RegisterFlagCompletionFunc("audit-fsync", cobra.FixedCompletions(auditFsyncs, cobra.ShellCompDirectiveNoFileComp))
	f.StringVar(&flags.driftCheck, "drift-check", "24h",
		"how often a canary login looks whether AWSCURRENT still works, such as 6h or 7d; 0: never")
	f.StringVar(&flags.metrics, "metrics-listen", "",
		"address and port for GET /metrics, in Prometheus's format, without any permission asked; empty: none")
	flags.keys.add(cmd)
	flags.tls.add(cmd)
	f.StringVar(&flags.functionUser, "function-user", "",
		"system user that runs the code of Lambda functions, if the server is root (default: the user with the number 65534)")
	f.BoolVar(&flags.logFunctions, "log-functions", false, "also log what Lambda functions print, which may be anything")
	f.IntVar(&flags.perHost, "max-rotations-per-host", keyturn.DefaultRotationsPerHost, "how many rotations may be at work on one database server at a time")
	f.IntVar(&flags.perSecond, "max-rotations-per-second", keyturn.DefaultRotationsPerSecond,
		"how many rotations may begin by their schedule in a second, so that a backlog does not slow down callers; 0: any number")
	return cmd
}

var auditFsyncs = []string{string(keyturn.AuditFsyncAlways), string(keyturn.AuditFsyncInterval), string(keyturn.AuditFsyncNever)}

func (f serveFlags) check() error {
	if !slices.Contains(auditFsyncs, f.auditFsync) {
		return usagef("--audit-fsync is always, interval or never, not %q", f.auditFsync)
	}
	if f.perHost < 1 {
		return usagef("--max-rotations-per-host is a number from 1, not %d", f.perHost)
	}
	if f.perSecond < 0 {
		return usagef("--max-rotations-per-second is a number from 1, or 0 for no bound, not %d", f.perSecond)
	}
	host, err := hostOf("--listen", f.listen)
	if err != nil {
		return err
	}
	if _, err := hostOf("--metrics-listen", f.metrics); err != nil && f.metrics != "" {
		return err
	}
	if f.data == "" {
		return usagef("--data is the name of a folder, not empty")
	}
	if f.dev && !isLoopback(host) {
		return usagef("--dev checks no signature, so it listens on the loopback address only: use --listen 127.0.0.1:4566")
	}
	if _, err := f.drift(); err != nil {
		return err
	}
	if err := f.tls.check(); err != nil {
		return err
	}
	if f.data == keyturn.InMemory && !f.dev {
		return usagef("--data :memory: loses every secret at the end, so it goes with --dev only")
	}
	return nil
}

// hostOf is the host of a flag's address.
func hostOf(flag, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		return "", usagef("%s: %q is not an address and port, such as 127.0.0.1:4566", flag, address)
	}
	return host, nil
}

// listenOn listens on the address of a flag. For Go 0.0.0.0 means every address of IPv6,
// too; here it does not.
func listenOn(ctx context.Context, flag, address string) (net.Listener, error) {
	network := "tcp"
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Is4() {
		network = "tcp4"
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, network, address)
	if err != nil {
		return nil, guided{err: fmt.Errorf("listening: %w", err), hint: "Choose another address or port with " + flag + ".", code: exitFailure}
	}
	return listener, nil
}

// pace is Config.RotationsPerSecond, where 0 is the usual one.
func (f serveFlags) pace() int {
	if f.perSecond == 0 {
		return -1
	}
	return f.perSecond
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// The heap may grow to three times what is alive, which halves the work of the
// garbage collector, but for softMemory: from so many bytes on it collects more
// eagerly. What a server of many secrets keeps in memory takes less than half of
// that; the rest of a process, the program itself and SQLite's pages, takes up to
// 80 MB on top. GOGC and GOMEMLIMIT in the environment override them.
const (
	heapGrowth = 200 // percent
	softMemory = 64 << 20
)

func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemory)
	}
}

func (a *app) serve(ctx context.Context, flags serveFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	boundMemory()
	keys, err := a.keys(ctx, flags.keys)
	if err != nil {
		return err
	}
	drift, err := flags.drift()
	if err != nil {
		return err
	}
	log := a.logger(flags.logFunctions)
	listener, err := listenOn(ctx, "--listen", flags.listen)
	if err != nil {
		return err
	}
	front, err := flags.tls.over(bounded(listener, affordable(usualLimits.connections)), log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	metrics, err := listenMetrics(ctx, flags.metrics)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server, err := a.openServer(ctx, keyturn.Config{Data: flags.data, Dev: flags.dev, Keys: keys, AuditFsync: keyturn.AuditFsync(flags.auditFsync),
		DriftCheck: drift, FunctionUser: flags.functionUser, RotationsPerHost: flags.perHost,
		RotationsPerSecond: flags.pace(), Log: log})
	if err != nil {
		return errors.Join(err, listener.Close(), metrics.stop())
	}
	metrics.start(server.Metrics(), log)
	a.greet(server, listener.Addr(), flags)
	err = serveUntil(ctx, server, front, usualLimits, log)
	return errors.Join(err, metrics.stop(), server.Close())
}

// serveUntil serves until ctx ends, then lets requests finish before the work behind
// them stops.
func serveUntil(ctx context.Context, server *keyturn.Server, listener net.Listener, limits frontLimits, log *slog.Logger) error {
	front := newFront(server, limits, log)
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	front.BaseContext = func(net.Listener) context.Context { return requests }
	quick := server.Listen(listener, front)
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	g, failed := errgroup.WithContext(work)
	g.Go(func() error { return server.Run(work) })
	g.Go(func() error {
		if err := front.Serve(quick); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})
	select {
	case <-ctx.Done():
		log.Info("shutting down")
	case <-failed.Done():
	}
	server.Drain()
	err := shutdown(front, quick, limits.drain)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests that take long are ended", "after", limits.drain.String())
		endRequests()
		err = cutOff(front, quick, limits.end)
	}
	stopWork()
	return errors.Join(err, g.Wait())
}

func shutdown(front *http.Server, quick *keyturn.Listener, most time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return errors.Join(front.Shutdown(ctx), quick.Shutdown(ctx))
}

// cutOff lets requests that were told to end be answered and recorded. What does not end
// then is a client that keeps the rest of its request to itself.
func cutOff(front *http.Server, quick *keyturn.Listener, most time.Duration) error {
	err := shutdown(front, quick, most)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return errors.Join(err, front.Close())
}

// logger writes for people on a terminal, and JSON elsewhere. What functions print
// has the level debug.
func (a *app) logger(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	if isTerminal(a.stderr) {
		return slog.New(tint.NewTextHandler(a.stderr, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != ""}))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

// greet says how to use the server.
func (a *app) greet(server *keyturn.Server, addr net.Addr, flags serveFlags) {
	scheme := flags.tls.scheme() + "://"
	fmt.Fprintf(a.stdout, "keyturn serves Secrets Manager, RDS and Lambda at %s\n\n", scheme+addr.String())
	writeUsage(a.stdout, server, scheme+fromHere(addr))
	if flags.dev {
		fmt.Fprint(a.stderr, "\n*** DEV MODE: any access key is accepted and NO SIGNATURE IS CHECKED. ***\n"+
			"*** Whoever reaches this port can read every secret. Never use it for real ones. ***\n\n")
	}
	if host, _, err := net.SplitHostPort(addr.String()); err == nil && !isLoopback(host) && flags.tls.scheme() == "http" {
		fmt.Fprint(a.stderr, "\nWARNING: this is plain HTTP on an address that others can reach. Secrets cross the\n"+
			"network in the clear: use --tls-cert and --tls-key, or put a proxy that speaks TLS before it.\n\n")
	}
}

// fromHere is an address for clients on this machine: nobody connects to 0.0.0.0 or [::].
func fromHere(addr net.Addr) string {
	if a, err := netip.ParseAddrPort(addr.String()); err == nil && a.Addr().IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(int(a.Port())))
	}
	return addr.String()
}

func writeUsage(w io.Writer, server *keyturn.Server, endpoint string) {
	fmt.Fprintf(w, "Use it from another terminal:\n\n"+
		"  export AWS_ENDPOINT_URL=%s\n"+
		"  export AWS_SHARED_CREDENTIALS_FILE=%s\n"+
		"  export AWS_REGION=%[3]s AWS_DEFAULT_REGION=%[3]s\n\n", endpoint, server.CredentialsFile(), keyturn.DefaultRegion)
	fmt.Fprintf(w, "  keyturn secret list\n"+
		"  aws --endpoint-url %[1]s secretsmanager list-secrets\n"+
		"  python3 -c 'import boto3; print(boto3.client(\"secretsmanager\", endpoint_url=\"%[1]s\").list_secrets())'\n", endpoint)
}
