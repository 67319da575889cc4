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
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	// The first signal asks, the second one ends the process at once. Of SIGHUP a terminal
	// that is closed sends two: one by its shell and one by the kernel.
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGHUP)
		stop()
	})
	// Who reads the output may go away ("| head -1"): that is an error of the write, not
	// the end of the process in the middle of what it does.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	os.Exit(exitCode(err))
}

// endings are the signals that end the process in order: SIGHUP as well, which comes when
// the terminal is closed, but not under nohup.
func endings() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
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
