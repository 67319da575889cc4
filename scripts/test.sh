#!/usr/bin/env bash
# Runs all tests on real database servers: installs what they need, gives them
# a folder of their own, and stops whatever they leave running there, also when
# interrupted. Arguments go to "go test"; without any, all packages are tested.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/debian.sh
. scripts/debian.sh

# missing says what a machine lacks where nothing can be installed, and how to
# go on without: $1 is what to install, $2 the variable that names a server, and $3
# the scheme of that.
missing() {
	echo "the tests need $1: install it, or set $2=$3://user:password@host:port to an account that may do everything" >&2
	lacking=yes
}

need_servers() {
	if [ -z "${KEYTURN_TEST_MARIADB:-}" ] && ! { has mariadbd && { has mariadb-install-db || has mysql_install_db; }; }; then
		if can_install; then install_mariadb; else missing "a MariaDB server (10.6 or newer)" KEYTURN_TEST_MARIADB mysql; fi
	fi
	if [ -z "${KEYTURN_TEST_POSTGRES:-}" ] && ! has postgres initdb; then
		if can_install; then install_postgres; else missing "a PostgreSQL server (13 or newer)" KEYTURN_TEST_POSTGRES postgres; fi
	fi
	if [ -z "${KEYTURN_TEST_MYSQL:-}" ] && ! has_mysql; then
		local bin=
		if has apt-get dpkg-deb && bin=$(scripts/mysql.sh); then
			PATH=$bin:$PATH
		else
			missing "a MySQL server (8.0.14 or newer)" KEYTURN_TEST_MYSQL mysql
		fi
	fi
}

need_redis() {
	if [ -n "${KEYTURN_TEST_REDIS:-}" ] || has redis-server || has valkey-server ||
		[ -x "${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/redis/bin/redis-server" ]; then
		return
	fi
	if can_install; then install_redis; else missing "a Redis or Valkey server (6.2 or newer)" KEYTURN_TEST_REDIS redis; fi
}

# need_plugins: those of MariaDB that validate passwords.
need_plugins() {
	if [ -z "${KEYTURN_TEST_MARIADB_PLUGINS:-}" ] && ! KEYTURN_TEST_MARIADB_PLUGINS=$(scripts/mariadb-plugins.sh); then
		echo "the tests need MariaDB's plugin simple_password_check: name its folder in KEYTURN_TEST_MARIADB_PLUGINS" >&2
		lacking=yes
	fi
	export KEYTURN_TEST_MARIADB_PLUGINS
}

# has_mysql: MariaDB has a mysqld too, on Debian.
has_mysql() { mysqld --version 2>/dev/null | grep -q 'Ver [89]' && ! mysqld --version | grep -q MariaDB; }

# need_compiler: the race detector is linked by the C compiler.
need_compiler() {
	if ! has gcc && ! has clang; then
		if can_install; then install_packages gcc libc6-dev; else missing_program a C compiler; fi
	fi
}

# need_clients looks for the AWS clients that the tests run against the server.
need_clients() {
	if ! python3 -c 'import boto3' 2>/dev/null && ! /usr/bin/python3 -c 'import boto3' 2>/dev/null; then
		if can_install; then install_packages python3-boto3; else missing_program python3 with boto3; fi
	fi
	if ! has aws; then
		if can_install; then install_packages awscli; else missing_program the AWS CLI; fi
	fi
	# A python3 that is not the system's does not see the system's boto3.
	if ! python3 -c 'import boto3' 2>/dev/null; then
		mkdir -p "$KEYTURN_TEST_DIR/bin"
		ln -s /usr/bin/python3 "$KEYTURN_TEST_DIR/bin/python3"
		PATH=$KEYTURN_TEST_DIR/bin:$PATH
	fi
}

# need_runtimes looks for what functions of the tests run in: Node.js, whose npm
# also fetches the AWS SDK for JavaScript, and a Python with boto3 and the drivers of
# AWS's own rotation functions.
need_runtimes() {
	if ! has_drivers python3 && ! has_drivers /usr/bin/python3; then
		if can_install; then
			install_packages python3-boto3 python3-pymysql python3-cryptography python3-pygresql
		else
			missing_program python3 with boto3, pymysql, cryptography and pgdb
		fi
	fi
	if ! has node npm; then
		if can_install; then install_packages nodejs npm; else missing_program Node.js 18 or newer, with npm; fi
	fi
}

has_drivers() { "$1" -c 'import boto3, cryptography, pgdb, pymysql' 2>/dev/null; }

# need_terraform: its AWS provider is found, or fetched by Terraform itself.
need_terraform() {
	has terraform || missing_program "Terraform (1.11 or newer, https://developer.hashicorp.com/terraform/install)"
}

# need_browser looks for the browser that lays out the pages that keyturn writes.
need_browser() {
	if ! has chromium; then
		if can_install; then install_packages chromium fonts-dejavu-core; else missing_program chromium; fi
	fi
}

missing_program() {
	echo "the tests need $*: install it and put it into PATH" >&2
	lacking=yes
}

# stop_servers ends the servers that tests left behind. Each file named pid
# holds the leader of a server's process group, see package dbtest.
stop_servers() {
	local pid
	find "$KEYTURN_TEST_DIR" -name pid -type f -exec cat {} + 2>/dev/null | while read -r pid _; do
		# Another process may have the number by now.
		case $(ps -o args= -p "$pid" 2>/dev/null) in
		*"$KEYTURN_TEST_DIR"*) kill -KILL -- "-$pid" 2>/dev/null || true ;;
		esac
	done
}

clean_up() {
	trap '' INT TERM
	if [ -n "${tests:-}" ] && kill -TERM -- "-$tests" 2>/dev/null; then
		for _ in {1..100}; do # test binaries stop their own servers
			kill -0 -- "-$tests" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL -- "-$tests" 2>/dev/null || true
	fi
	stop_servers
	rm -rf "$KEYTURN_TEST_DIR"
}

# Sockets want a short path, and servers that run as another user a way in.
KEYTURN_TEST_DIR=$(mktemp -d /tmp/keyturn-test.XXXXXX)
TMPDIR=$KEYTURN_TEST_DIR/tmp
mkdir -m 1777 "$TMPDIR"
chmod 711 "$KEYTURN_TEST_DIR"
export KEYTURN_TEST_DIR TMPDIR
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

lacking=
need_compiler
need_servers
need_plugins
need_redis
need_clients
need_runtimes
need_terraform
need_browser
[ -z "$lacking" ] || exit 1
export PATH

# First what takes longest, so that nothing is left to run alone at the end.
[ $# -gt 0 ] || set -- ./internal/terraformtest . ./rotation/rotationtest ./...
# A process group of its own, to be ended as a whole: "go test" does not pass
# a SIGTERM on. Three packages at a time: each starts its own servers, and one
# mostly waits for Terraform. "go vet" is the linters', over every package once.
# SQLite, which is C made into Go, is not ours to check for its pointers, which
# takes half of the processor time of whatever opens a database.
set -m
go test -race -vet=off -gcflags=modernc.org/...=-d=checkptr=0 -count=1 -p 3 -timeout 30m "$@" </dev/null &
tests=$!
set +m
wait "$tests"
