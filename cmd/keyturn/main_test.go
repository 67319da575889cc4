package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyturn/keyturn/internal/dbtest"
)

func TestMain(m *testing.M) {
	testscript.Main(withServers{m}, map[string]func(){"keyturn": main})
}

// withServers ends the database servers that tests have started.
type withServers struct{ *testing.M }

func (m withServers) Run() int { return dbtest.Main(m.M) }

// TestScripts runs what needs no server: the scripts read like the manual.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setUp,
		Cmds:  scriptCommands,
	})
}

// setUp leaves nothing of the developer's own AWS settings in a script: its
// environment is empty but for these.
func setUp(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	// Looking for an EC2 instance takes seconds where there is none.
	env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	// A file in a script always ends with a newline; a password does not.
	if err := os.WriteFile(filepath.Join(env.WorkDir, "password"), []byte("hunter2"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "large"), bytes.Repeat([]byte("x"), maxValue+1), 0o600)
}
