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

# mirror prints the address from which the system takes its own release.
mirror() {
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' |
		awk -v release="$codename" '$2 == release && !found { print $1; found = 1 }'
}

# fetch puts the packages into $1/archives. It gives apt an empty system, so
# that apt wants every library, and folders of its own, so that it needs no root.
fetch() {
	local dir=$1 uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	uri=$(mirror)
	if [ -z "$uri" ] || [ ! -f "$keyring" ]; then
		echo "no Debian mirror found in the system's apt sources" >&2
		return 1
	fi
	mkdir -p "$dir"/{lists,archives}/partial
	: >"$dir/status"
	echo "deb [signed-by=$keyring] $uri sid main" >"$dir/sources.list"
	cat >"$dir/apt.conf" <<-CONF
		Dir::Etc::SourceList "$dir/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		Dir::State::Lists "$dir/lists";
		Dir::State::Status "$dir/status";
		Dir::State::Extended_States "$dir/extended_states";
		Dir::Cache "$dir";
		Dir::Cache::Archives "$dir/archives";
		Debug::NoLocking "true";
		Acquire::Retries "3";
		# A mirror that stands still is good enough, if its signature is.
		Acquire::Check-Valid-Until "false";
		# Hooks that would empty the system's own package cache.
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear DPkg::Post-Invoke;
	CONF
	apt-get -qq -c "$dir/apt.conf" update >&2
	apt-get -qq -y -c "$dir/apt.conf" --no-install-recommends --download-only \
		install mysql-server-core mysql-client-core >&2
}

# wrapper prints a program that becomes the unpacked program $1; the rest are
# further arguments. MySQL wants --no-defaults first, so ours come last.
wrapper() {
	local program=$1 loader
	shift
	loader=$(cd "$new/tree" && find usr/lib usr/lib64 -name 'ld-linux*.so.*' -print -quit 2>/dev/null)
	cat <<-SH
		#!/bin/sh
		tree=\$(cd "\$(dirname "\$0")/../tree" && pwd) || exit 1
		libraries=\$(echo "\$tree"/usr/lib/*-linux-gnu*)
		exec "\$tree/$loader" --inhibit-cache --library-path "\$libraries" "\$tree/$program" "\$@" $*
	SH
}

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
	wrapper usr/sbin/mysqld '"--lc-messages-dir=$tree/usr/share/mysql"' \
		'"--character-sets-dir=$tree/usr/share/mysql/charsets"' \
		'"--plugin-dir=$tree/usr/lib/mysql/plugin"' >"$new/bin/mysqld"
	wrapper usr/bin/mysql >"$new/bin/mysql"
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
	fetch "$work"
	unpack "$work/archives"
	# Whoever is first wins: mv does not replace a folder that is not empty.
	mv -T "$new" "$home" 2>/dev/null || [ -x "$home/bin/mysqld" ]
fi
echo "$home/bin"
