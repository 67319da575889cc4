#!/usr/bin/env bash
# Fetches a real MySQL server once and prints the folder of its mysqld and mysql.
#
# Debian's stable release has no MySQL. This takes the packages of Debian sid,
# with all libraries that they need, from the mirror that the system itself
# uses, lets apt verify them, and unpacks them into a cache folder; nothing is
# installed. The programs run through the loader that was fetched with them, so
# the system's libraries do not matter.
#
# Cache: ${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/mysql. Remove it to fetch anew.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/keyturn
home=$cache/mysql

# shellcheck source=scripts/unpack.sh
. "$(dirname "$0")/unpack.sh"

# unpack makes the whole cache folder out of the packages in $1.
unpack() {
	local deb
	mkdir -p "$new"/{tree,bin}
	for deb in "$1"/*.deb; do dpkg-deb -x "$deb" "$new/tree"; done
	# Of the other packages only the libraries are of use.
	find "$new/tree/usr/share" -mindepth 1 -maxdepth 1 ! -name mysql -exec rm -rf {} +
	find "$new"/tree/usr/{bin,sbin} -type f ! -name mysql ! -name mysqld -delete
	rm -rf "$new"/tree/{etc,var} "$new"/tree/usr/lib/*-linux-gnu*/{gconv,perl*}
	# shellcheck disable=SC2016 # $tree is the wrapper's variable
	wrapper "$new" usr/sbin/mysqld '"--lc-messages-dir=$tree/usr/share/mysql"' \
		'"--character-sets-dir=$tree/usr/share/mysql/charsets"' \
		'"--plugin-dir=$tree/usr/lib/mysql/plugin"' >"$new/bin/mysqld"
	wrapper "$new" usr/bin/mysql >"$new/bin/mysql"
	chmod 755 "$new"/bin/*
	"$new/bin/mysqld" --no-defaults --version >&2
	"$new/bin/mysql" --no-defaults --version >&2
}

if [ ! -x "$home/bin/mysqld" ]; then
	echo "fetching MySQL into $home" >&2
	mkdir -p "$cache"
	work=$(mktemp -d)
	new=$(mktemp -d "$cache/mysql.new.XXXXXX")
	trap 'rm -rf "$work" "$new"' EXIT
	trap 'exit 130' INT TERM
	chmod 755 "$work" "$new" # apt downloads as a user of its own
	fetch_debian "$work" sid mysql-server-core mysql-client-core
	unpack "$work/archives"
	# Whoever is first wins: mv does not replace a folder that is not empty.
	mv -T "$new" "$home" 2>/dev/null || [ -x "$home/bin/mysqld" ]
fi
echo "$home/bin"
