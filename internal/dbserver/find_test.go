package dbserver

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNotFoundNamesThePackage(t *testing.T) {
	for _, tc := range []struct {
		release string
		product Product
		want    string
	}{
		{"ID=debian\n", Postgres, "run `apt-get install postgresql`"},
		{"ID=debian\n", MySQL, "https://dev.mysql.com/downloads/mysql/"},
		{"NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", MySQL, "run `apt-get install mysql-server`"},
		{"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", MariaDB, "run `dnf install mariadb-server`"},
		{"ID=fedora\n", MySQL, "run `dnf install community-mysql-server`"},
		{"ID=alpine\n", MariaDB, "run `apk add mariadb`"},
		{"ID=arch\n", Postgres, "run `pacman -S postgresql`"},
		{"ID=plan9\n", Postgres, "install PostgreSQL and put its server program on PATH"},
	} {
		system := systemOf(bufio.NewScanner(strings.NewReader(tc.release)))
		err := &NotFoundError{Product: tc.product, System: system}
		if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v", tc.release, err)
		}
	}
}

// program writes a program that says what a server says to --version.
func program(t *testing.T, dir, name, version string) {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+version+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	program(t, dir, "mysqld", "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))")
	program(t, dir, "mariadbd", "mysqld  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64")
	program(t, dir, "mariadb-install-db", "")
	program(t, dir, "postgres", "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)")
	program(t, dir, "initdb", "")
	program(t, dir, "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0")
	program(t, dir, "valkey-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=384b3c0d511f998a")
	program(t, dir, "old-mysqld", "mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server (GPL))")
	for _, tc := range []struct {
		product    Product
		name, want string // version, or a part of the error
	}{
		{MySQL, "mysqld", "9.7.4"},
		{MySQL, "mariadbd", "not this product"},
		{MySQL, "old-mysqld", "is 5.7.44, at least 8.0.14 is needed"},
		{MySQL, "absent", "not this product"},
		{MariaDB, "mysqld", "not this product"},
		{MariaDB, "mariadbd", "10.11.19"},
		{Postgres, "postgres", "15.18"},
		{Redis, "redis-server", "7.0.15"},
		{Redis, "valkey-server", "8.1.1"},
		{MySQL, "redis-server", "not this product"},
	} {
		b, err := inspect(tc.product, softwares[tc.product], filepath.Join(dir, tc.name))
		got := b.Version
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s as %s: got %s, want %s", tc.name, tc.product, got, tc.want)
		}
	}
}

func TestNewestFirst(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"9.6", "15", "9.10", "16"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, path := range newestFirst(filepath.Join(dir, "*")) {
		got = append(got, filepath.Base(path))
	}
	if strings.Join(got, " ") != "16 15 9.10 9.6" {
		t.Errorf("got %v", got)
	}
}
