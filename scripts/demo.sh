#!/usr/bin/env bash
# Builds keyturn and runs its demo on a database server of this machine, which
# is installed first where that is possible. Arguments go to "keyturn demo".
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/debian.sh
. scripts/debian.sh

cached=${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/mysql/bin
[ -d "$cached" ] && PATH=$cached:$PATH

if ! has mysqld && ! has mariadbd && ! has postgres; then
	if ! can_install; then
		echo "the demo needs a database server: install MariaDB, MySQL 8.0.14 or newer, or PostgreSQL
  Debian, Ubuntu  apt install mariadb-server-core mariadb-client-core
  Fedora          dnf install mariadb-server
  Arch            pacman -S mariadb
  macOS           brew install mariadb" >&2
		exit 1
	fi
	install_mariadb
fi

echo "building keyturn (the first time takes a minute or two)" >&2
mkdir -p bin
go build -o bin/keyturn ./cmd/keyturn
exec bin/keyturn demo "$@"
