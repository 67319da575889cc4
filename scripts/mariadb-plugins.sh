#!/usr/bin/env bash
# Prints the folder of MariaDB's plugins, among them those that validate passwords.
# Debian has them in the package mariadb-server, which would start a service: they
# are taken out of it, into a cache folder, and nothing is installed.
#
# Cache: ${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/mariadb-plugins, for root
# /var/cache/keyturn/mariadb-plugins, since servers run as another user then.
# Remove it to fetch anew.
set -euo pipefail
# shellcheck source=scripts/debian.sh
. "$(dirname "$0")/debian.sh"

plugin=simple_password_check.so
for there in /usr/lib/mysql/plugin /usr/lib64/mysql/plugin /usr/lib/mariadb/plugin /usr/lib64/mariadb/plugin; do
	[ ! -e "$there/$plugin" ] || { echo "$there" && exit; }
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/keyturn
[ "$(id -u)" != 0 ] || cache=/var/cache/keyturn
home=$cache/mariadb-plugins

if [ ! -e "$home/$plugin" ]; then
	echo "fetching MariaDB's plugins into $home" >&2
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/plugins.new.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM
	chmod 755 "$work"
	! can_install || update_once >/dev/null
	(cd "$work" && apt-get -q -o APT::Sandbox::User=root download mariadb-server >&2)
	dpkg-deb -x "$work"/*.deb "$work/tree"
	# Whoever is first wins: mv does not replace a folder that is not empty.
	mv -T "$work/tree/usr/lib/mysql/plugin" "$home" 2>/dev/null || [ -e "$home/$plugin" ]
fi
echo "$home"
