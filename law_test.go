package keyturn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The laws of docs/design.md about who may know whom. They hold for packages,
// not for their tests. Where one of them is in the way, code stands in the
// wrong package: move it.

const module = "github.com/keyturn/keyturn"

// floors gives each package its floor; a package imports what lies below it,
// and the packages nested in it. cmd/... is the top.
var floors = map[string]int{
	"keyturntest": 7,

	"": 6, // the root

	"internal/smapi": 5,

	"internal/scheduler": 4, "internal/rdsapi": 4, "internal/lambdaapi": 4,
	"internal/stsapi": 4, "internal/accesskey": 4, "internal/keyapi": 4,

	"internal/secret": 3, "internal/wire": 3,

	"internal/metrics": 2, "internal/sqldb": 2, "internal/iam": 2, "internal/dbtest": 2, "internal/kmstest": 2,
	"rotation/mysql": 2, "rotation/postgres": 2, "rotation/redis": 2, "doctor": 2,

	"internal/http1": 1, "internal/fault": 1, "internal/envelope": 1, "internal/dbserver": 1, "internal/audit": 1, "internal/iam/policy": 1, "internal/execenv": 1,
	"rotation": 1, "deploy": 1, "deploy/lockedfile": 1, "deploy/yamlfile": 1, "keyturnapi": 1, "transfer": 1,
}

// clients work against AWS and against keyturn alike: they know the SDK only.
var clients = []string{"rotation", "deploy", "keyturnapi", "transfer", "doctor"}

// storage knows no protocol: neither AWS's services nor their types.
var storage = []string{"internal/secret", "internal/scheduler", "internal/sqldb", "internal/envelope"}

// services are the AWS services that keyturn answers for.
var services = []string{"internal/smapi", "internal/rdsapi", "internal/lambdaapi", "internal/stsapi"}

const (
	awsServices = "github.com/aws/aws-sdk-go-v2/service/"
	kms         = awsServices + "kms"
	sqlite      = "modernc.org/sqlite"
)

func TestImportsGoDownward(t *testing.T) {
	for _, p := range ours(t) {
		for _, imported := range p.Imports {
			if q, ok := name(imported); ok && !within(q, p.name) && floor(t, q) >= floor(t, p.name) {
				t.Errorf("%s (floor %d) imports %s (floor %d)", p, floor(t, p.name), q, floor(t, q))
			}
		}
	}
}

func TestClientsKnowNothingInternal(t *testing.T) {
	for _, p := range ours(t) {
		if !withinAny(p.name, clients) {
			continue
		}
		for _, dep := range p.Deps {
			if q, ok := name(dep); ok && within(q, "internal") {
				t.Errorf("%s reaches %s", p, q)
			}
		}
	}
}

func TestStorageKnowsNoService(t *testing.T) {
	for _, p := range ours(t) {
		if !withinAny(p.name, storage) {
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, awsServices) && !within(dep, kms) && !within(dep, awsServices+"internal") {
				t.Errorf("%s reaches %s", p, dep)
			}
		}
	}
}

func TestServicesDoNotKnowEachOther(t *testing.T) {
	for _, p := range ours(t) {
		for _, dep := range p.Deps {
			q, _ := name(dep)
			if withinAny(p.name, services) && withinAny(q, services) && !within(q, p.name) {
				t.Errorf("%s reaches %s", p, q)
			}
		}
	}
}

func TestEnginesDoNotKnowEachOther(t *testing.T) {
	for _, p := range ours(t) {
		for _, dep := range p.Deps {
			q, _ := name(dep)
			if strings.HasPrefix(p.name, "rotation/") && strings.HasPrefix(q, "rotation/") && !within(q, p.name) {
				t.Errorf("%s reaches %s", p, q)
			}
		}
	}
}

// The server's own database, the keys and the root have one door each, and what
// is made for tests stays out of programs.
func TestDoors(t *testing.T) {
	for _, law := range []struct {
		imported string
		by       []string
	}{
		{sqlite, []string{"internal/sqldb"}},
		{sqlite + "/lib", []string{"internal/sqldb"}},
		{"modernc.org/libc", []string{"internal/sqldb"}},
		{kms, []string{"internal/envelope"}},
		{module, []string{"cmd", "keyturntest"}},
		{module + "/internal/dbtest", nil},
		{module + "/internal/kmstest", nil},
		{module + "/keyturntest", nil},
	} {
		for _, p := range ours(t) {
			if slices.Contains(p.Imports, law.imported) && !withinAny(p.name, law.by) {
				t.Errorf("%s imports %s", p, law.imported)
			}
		}
	}
}

// pkg is a package of this module, as "go list" tells.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string

	name string // the path within the module, empty for the root
}

func (p pkg) String() string { return "./" + p.name }

// ours lists the packages of this module.
func ours(t *testing.T) []pkg {
	t.Helper()
	all, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// listed asks once for all tests.
var listed = sync.OnceValues(func() (all []pkg, err error) {
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		p.name, _ = name(p.ImportPath)
		all = append(all, p)
	}
})

// name returns the path within this module of an import path.
func name(importPath string) (string, bool) {
	rest, ok := strings.CutPrefix(importPath+"/", module+"/")
	return strings.TrimSuffix(rest, "/"), ok
}

// within reports whether path is parent or lies below it.
func within(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

func withinAny(path string, parents []string) bool {
	return slices.ContainsFunc(parents, func(parent string) bool { return within(path, parent) })
}

func floor(t *testing.T, name string) int {
	t.Helper()
	if within(name, "cmd") {
		return 7
	}
	f, ok := floors[name]
	if !ok {
		t.Fatalf("./%s has no floor; there are %v", name, slices.Sorted(maps.Keys(floors)))
	}
	return f
}
