package dbserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// software is what must be known of a product to find it.
type software struct {
	servers    []string // program names, the preferred one first
	installers []string // programs that make a data folder
	minimum    string   // the oldest version that works
}

var softwares = map[Product]software{ // :: product → how it is recognised
	// RETAIN CURRENT PASSWORD came with MySQL 8.0.14.
	MySQL:    {servers: []string{"mysqld"}, minimum: "8.0.14"},
	MariaDB:  {servers: []string{"mariadbd", "mysqld"}, installers: []string{"mariadb-install-db", "mysql_install_db"}, minimum: "10.6"},
	Postgres: {servers: []string{"postgres"}, installers: []string{"initdb"}, minimum: "13"},
	// set-proc-title came with Redis 6.2, ACLs with 6.0.
	Redis: {servers: []string{"redis-server", "valkey-server"}, minimum: "6.2"},
}

// Find looks for an installed server of product p: on PATH, then in keyturn's
// cache folder, then in the folders that packages use. It returns a
// *NotFoundError when there is none, or only one that is too old.
func Find(p Product) (Binary, error) {
	soft, known := softwares[p]
	if !known {
		return Binary{}, fmt.Errorf("looking for a database server: unknown product %q", p)
	}
	missing := &NotFoundError{Product: p, System: thisSystem()}
	for _, folder := range folders() {
		for _, name := range soft.servers {
			b, err := inspect(p, soft, filepath.Join(folder, name))
			if err == nil {
				return b, nil
			}
			if !errors.Is(err, errOtherProduct) {
				missing.Seen = append(missing.Seen, err.Error())
			}
		}
	}
	return Binary{}, missing
}

// errOtherProduct stands for a path without a program, or one of another
// product: Debian's mysqld is a link to mariadbd.
var errOtherProduct = errors.New("not this product")

var versionNumber = regexp.MustCompile(`(?:Ver |\(PostgreSQL\) | v=)(\d+(?:\.\d+)*)`)

func inspect(p Product, soft software, path string) (Binary, error) {
	said, err := versionOf(path)
	if err != nil || productOf(said) != p {
		return Binary{}, errOtherProduct
	}
	match := versionNumber.FindStringSubmatch(said)
	if match == nil {
		return Binary{}, errOtherProduct
	}
	b := Binary{Product: p, Path: path, Version: match[1]}
	if older(b.Version, soft.minimum) {
		return Binary{}, fmt.Errorf("%s is %s, at least %s is needed", path, b.Version, soft.minimum)
	}
	if len(soft.installers) == 0 {
		return b, nil
	}
	b.Installer = installer(path, soft.installers)
	if b.Installer == "" {
		return Binary{}, fmt.Errorf("%s comes without %s", path, soft.installers[0])
	}
	return b, nil
}

// versionOf asks a program for its version. The time limit keeps a program
// that waits for input from holding up a request.
func versionOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return "", errOtherProduct
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	return string(out), err
}

func productOf(version string) Product {
	switch {
	case strings.Contains(version, "MariaDB"):
		return MariaDB
	case strings.Contains(version, "(PostgreSQL)"):
		return Postgres
	case strings.Contains(version, "Redis server"), strings.Contains(version, "Valkey server"):
		return Redis
	}
	return MySQL
}

// installer looks beside the server program, where links lead to included, and
// then in the sibling folders that packages use.
func installer(server string, names []string) string {
	places := []string{filepath.Dir(server)}
	if real, err := filepath.EvalSymlinks(server); err == nil {
		places = append(places, filepath.Dir(real))
	}
	for _, place := range slices.Clone(places) {
		places = append(places, filepath.Join(place, "../bin"), filepath.Join(place, "../scripts"))
	}
	for _, place := range append(places, filepath.SplitList(os.Getenv("PATH"))...) {
		for _, name := range names {
			path := filepath.Join(place, name)
			if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
				return path
			}
		}
	}
	return ""
}

func folders() []string {
	list := filepath.SplitList(os.Getenv("PATH"))
	if cache, err := os.UserCacheDir(); err == nil {
		list = append(list, filepath.Join(cache, "keyturn/mysql/bin"), filepath.Join(cache, "keyturn/redis/bin"))
	}
	list = append(list, newestFirst("/usr/lib/postgresql/*/bin")...) // Debian
	list = append(list, newestFirst("/usr/pgsql-*/bin")...)          // PGDG on Fedora and its kin
	list = append(list, newestFirst("/usr/libexec/postgresql*")...)  // Alpine
	list = append(list, "/usr/sbin", "/usr/libexec", "/usr/bin",
		"/usr/local/sbin", "/usr/local/bin", "/usr/local/mysql/bin", "/usr/local/pgsql/bin")
	for _, brew := range []string{"/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew"} {
		list = append(list, filepath.Join(brew, "bin"))
		for _, formula := range []string{"mysql*", "mariadb*", "postgresql*"} {
			list = append(list, newestFirst(filepath.Join(brew, "opt", formula, "bin"))...)
		}
	}
	return slices.DeleteFunc(list, func(f string) bool { return !filepath.IsAbs(f) })
}

var number = regexp.MustCompile(`\d+(\.\d+)*`)

func newestFirst(pattern string) []string {
	found, _ := filepath.Glob(pattern) // the pattern is ours: it is well formed
	slices.SortFunc(found, func(a, b string) int {
		return slices.Compare(parts(lastNumber(b)), parts(lastNumber(a)))
	})
	return found
}

// lastNumber returns the version in a path such as /usr/lib/postgresql/15/bin.
func lastNumber(path string) string {
	all := number.FindAllString(path, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// older compares dotted version numbers by their parts.
func older(a, b string) bool {
	return slices.Compare(parts(a), parts(b)) < 0
}

func parts(version string) []int {
	var list []int
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part) // only digits come here; none counts as 0
		list = append(list, n)
	}
	return list
}
