package dbserver

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// NotFoundError says that no usable server of a product is installed, and what
// to install on the system at hand.
type NotFoundError struct {
	Product Product
	System  string   // an ID of /etc/os-release (debian, fedora, …), or darwin
	Seen    []string // servers that were found and cannot be used, with the reason
}

var titles = map[Product]string{MySQL: "MySQL", MariaDB: "MariaDB", Postgres: "PostgreSQL", Redis: "Redis or Valkey"}

// Error tells what to install.
func (e *NotFoundError) Error() string {
	text := fmt.Sprintf("no %s server was found on this machine: %s", titles[e.Product], advice(e.System, e.Product))
	if len(e.Seen) > 0 {
		text += " (" + strings.Join(e.Seen, "; ") + ")"
	}
	return text
}

const mysqlDownload = "install MySQL from https://dev.mysql.com/downloads/mysql/ (this system has no package of it), or use the engine mariadb"

var packages = map[string]map[Product]string{ // :: system → product → what to do
	"debian": {MySQL: mysqlDownload, MariaDB: "run `apt-get install mariadb-server`", Postgres: "run `apt-get install postgresql`", Redis: "run `apt-get install redis-server`"},
	"ubuntu": {MySQL: "run `apt-get install mysql-server`", MariaDB: "run `apt-get install mariadb-server`", Postgres: "run `apt-get install postgresql`", Redis: "run `apt-get install redis-server`"},
	"fedora": {MySQL: "run `dnf install community-mysql-server`", MariaDB: "run `dnf install mariadb-server`", Postgres: "run `dnf install postgresql-server`", Redis: "run `dnf install valkey`"},
	"rhel":   {MySQL: "run `dnf install mysql-server`", MariaDB: "run `dnf install mariadb-server`", Postgres: "run `dnf install postgresql-server`", Redis: "run `dnf install valkey`"},
	"alpine": {MySQL: mysqlDownload, MariaDB: "run `apk add mariadb`", Postgres: "run `apk add postgresql`", Redis: "run `apk add valkey`"},
	"arch":   {MySQL: mysqlDownload, MariaDB: "run `pacman -S mariadb`", Postgres: "run `pacman -S postgresql`", Redis: "run `pacman -S valkey`"},
	"suse":   {MySQL: mysqlDownload, MariaDB: "run `zypper install mariadb`", Postgres: "run `zypper install postgresql-server`", Redis: "run `zypper install valkey`"},
	"darwin": {MySQL: "run `brew install mysql`", MariaDB: "run `brew install mariadb`", Postgres: "run `brew install postgresql`", Redis: "run `brew install valkey`"},
}

func advice(system string, p Product) string {
	if line, ok := packages[system][p]; ok {
		return line
	}
	return fmt.Sprintf("install %s and put its server program on PATH", titles[p])
}

func thisSystem() string {
	if runtime.GOOS != "linux" {
		return runtime.GOOS
	}
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer f.Close()
	return systemOf(bufio.NewScanner(f))
}

// systemOf returns the first of ID and ID_LIKE (see os-release(5)) whose
// packages are known: Linux Mint, for one, is like Ubuntu.
func systemOf(lines *bufio.Scanner) string {
	var own, like []string
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		names := strings.Fields(strings.Trim(value, `"'`))
		switch key {
		case "ID":
			own = names
		case "ID_LIKE":
			like = names
		}
	}
	for _, name := range append(own, like...) {
		if _, known := packages[name]; known {
			return name
		}
	}
	return ""
}
