package execenv

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Clients of the Runtime API for interpreters that have none of their own.
var (
	//go:embed client.py
	pythonClient []byte
	//go:embed client.mjs
	nodeClient []byte
)

const (
	pythonFile = "client.py"
	nodeFile   = "client.mjs"
)

func writeClients(dir string) error {
	for name, text := range map[string][]byte{pythonFile: pythonClient, nodeFile: nodeClient} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // another user runs it
			return fmt.Errorf("writing a runtime's client: %w", err)
		}
	}
	return nil
}

// Interpreter returns the program that runs functions of a runtime; empty: they
// are programs themselves, called bootstrap. It is the one in PATH, whatever its
// version. known is false for runtimes that this package can't run.
func Interpreter(name string) (program string, known bool) {
	switch {
	case strings.HasPrefix(name, "provided"):
		return "", true
	case strings.HasPrefix(name, "python3."):
		return "python3", true
	case strings.HasPrefix(name, "nodejs"):
		return "node", true
	}
	return "", false
}

// command returns what to execute, or a *Failure.
func (c *Config) command() ([]string, error) {
	program, known := Interpreter(c.Runtime)
	if !known {
		return nil, noEntry("runtime " + c.Runtime + ": not supported")
	}
	if program == "" {
		return c.bootstrap()
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, noEntry(program + ": no such file or directory")
	}
	client := pythonFile
	if program == "node" {
		client = nodeFile
	}
	return []string{path, filepath.Join(c.Dir, client)}, nil
}

func (c *Config) bootstrap() ([]string, error) {
	path := filepath.Join(c.Dir, "task", "bootstrap")
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, noEntry("/var/task/bootstrap: no such file or directory")
	case err != nil:
		return nil, fmt.Errorf("looking for a function's program: %w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return nil, noEntry("/var/task/bootstrap: permission denied")
	}
	return []string{path}, nil
}
