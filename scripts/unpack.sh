# Sourced by the other scripts: fetches packages of another Debian release and
# unpacks them beside the system. Nothing is installed, apt verifies what it
# fetches, and the programs run through the loader that was fetched with them, so
# the system's libraries do not matter.
# shellcheck shell=bash

# mirror prints the address from which the system takes its own release.
mirror() {
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' |
		awk -v release="$codename" '$2 == release && !found { print $1; found = 1 }'
}

# fetch_debian puts packages of the release $2, with all that they need, into
# $1/archives; the rest are the packages' names. It gives apt an empty system, so
# that apt wants every library, and folders of its own, so that it needs no root.
fetch_debian() {
	local dir=$1 release=$2 uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	shift 2
	uri=$(mirror)
	if [ -z "$uri" ] || [ ! -f "$keyring" ]; then
		echo "no Debian mirror found in the system's apt sources" >&2
		return 1
	fi
	mkdir -p "$dir"/{lists,archives}/partial
	: >"$dir/status"
	echo "deb [signed-by=$keyring] $uri $release main" >"$dir/sources.list"
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
	apt-get -qq -y -c "$dir/apt.conf" --no-install-recommends --download-only install "$@" >&2
}

# wrapper prints a program for $1/bin that becomes the program $2 of $1/tree; the
# rest are further arguments, which come last: MySQL wants --no-defaults first.
wrapper() {
	local new=$1 program=$2 loader
	shift 2
	loader=$(cd "$new/tree" && find usr/lib usr/lib64 -name 'ld-linux*.so.*' -print -quit 2>/dev/null)
	cat <<-SH
		#!/bin/sh
		tree=\$(cd "\$(dirname "\$0")/../tree" && pwd) || exit 1
		libraries=\$(echo "\$tree"/usr/lib/*-linux-gnu*)
		exec "\$tree/$loader" --inhibit-cache --library-path "\$libraries" "\$tree/$program" "\$@" $*
	SH
}
