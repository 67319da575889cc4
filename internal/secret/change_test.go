package secret

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// writes finds statements that change what the cache may hold, and such as get
// the table's name from elsewhere.
var writes = regexp.MustCompile(`(?i)\b(INSERT\s+(OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE(\s+OR\s+\w+)?|DELETE\s+FROM)\s+((secrets|secret_versions)\b|["\x60])`)

// A statement that writes to a table of this package without going through
// change would leave the cache telling of the past.
func TestEveryWriteGoesThroughChange(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		checkWrites(t, path, filepath.Dir(path) == "../../internal/secret")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkWrites(t *testing.T, path string, here bool) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && here && isChange(call) {
			ast.Inspect(call.Args[2], func(n ast.Node) bool { allowed[n] = true; return true })
		}
		if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == "Schema" { // runs before there is a cache
			return false
		}
		text, ok := n.(*ast.BasicLit)
		if ok && text.Kind == token.STRING && !allowed[n] && writes.MatchString(text.Value) {
			t.Errorf("%s: a statement that does not go through change: %.60s", files.Position(n.Pos()), text.Value)
		}
		return true
	})
}

func isChange(call *ast.CallExpr) bool {
	name, ok := call.Fun.(*ast.Ident)
	return ok && slices.Contains([]string{"change", "changeReturning", "changeValue", "changeOf", "changeAccess", "changeOrder"}, name.Name) && len(call.Args) > 3
}
