// Command keyturn keeps database credentials and turns them: it is the server
// (keyturn serve), the deployment of a database with a rotating password
// (keyturn deploy), and a client of AWS Secrets Manager or of that server.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks, the second one ends the process at once.
	context.AfterFunc(ctx, stop)
	// Who reads the output may go away ("| head -1"): that is an error of the write, not
	// the end of the process in the middle of what it does.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	os.Exit(exitCode(err))
}

// run carries out one command line. The error it returns was already shown on
// stderr; exitCode says with which code the process ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now}
	defer a.close()
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	help := &checkedWriter{Writer: stdout}
	root.SetOut(help)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = help.err
	}
	if err == nil {
		return nil
	}
	err = a.settle(ctx, err)
	a.report(cmd, err)
	return err
}
