package dbserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
)

// account is the system user that a server process runs as.
type account struct {
	name     string
	uid, gid int
}

// self is the user that keyturn runs as.
func self() account { return account{uid: os.Geteuid(), gid: os.Getegid()} }

func lookUp(name string) (account, bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, false
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	return account{name: name, uid: uid, gid: gid}, errU == nil && errG == nil
}

// chooseUser returns the user to run b as with folder as its home. Only root
// can choose. mysqld, mariadbd and redis-server prefer the user of their package
// and accept root; postgres refuses root.
func chooseUser(b Binary, folder string) (account, error) {
	if os.Geteuid() != 0 {
		return self(), nil
	}
	if owner, made := ownerOf(filepath.Join(folder, dataFolder)); made {
		return owner, nil
	}
	if b.Product == Postgres {
		return unprivileged(b, folder)
	}
	a, known := lookUp(packageUser[b.Product])
	if known && canReach(a, b, folder) == nil {
		return a, nil
	}
	return self(), nil
}

var packageUser = map[Product]string{MySQL: "mysql", MariaDB: "mysql", Redis: "redis"}

func unprivileged(b Binary, folder string) (account, error) {
	a, known := lookUp("postgres")
	if !known {
		a, known = lookUp("nobody")
	}
	if !known {
		return account{}, errors.New("postgres refuses to run as root, and this machine has neither a user postgres nor a user nobody: start keyturn as an ordinary user")
	}
	if err := canReach(a, b, folder); err != nil {
		return account{}, err
	}
	return a, nil
}

// canReach tries it out: file modes alone would miss access lists.
func canReach(a account, b Binary, folder string) error {
	probe := func(dir string) error {
		cmd := exec.Command(b.Path, "--version")
		cmd.Dir = dir
		cmd.SysProcAttr = as(a)
		return cmd.Run()
	}
	if err := probe("/"); err != nil {
		return fmt.Errorf("%s runs as user %s, who cannot start it (%w): install it where everybody may read it", b.Path, a.name, err)
	}
	if err := probe(filepath.Dir(folder)); err != nil {
		return fmt.Errorf("%s runs as user %s when keyturn is root, and %s cannot enter %s: choose another data folder, or run `chmod o+x %s`",
			b.Product, a.name, a.name, filepath.Dir(folder), closedFolder(folder))
	}
	return nil
}

// closedFolder returns the topmost folder above path that others cannot enter.
func closedFolder(path string) string {
	closed := filepath.Dir(path)
	for dir := closed; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
			closed = dir
		}
		if dir == filepath.Dir(dir) {
			return closed
		}
	}
}
