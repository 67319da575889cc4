# Sourced by the other scripts: installs Debian packages where that is possible.
# shellcheck shell=bash

# has reports whether all the named programs can be found, in PATH or in the
# folders where Debian puts database servers.
has() {
	local program
	for program; do
		PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$program" >/dev/null ||
			compgen -G "/usr/lib/postgresql/*/bin/$program" >/dev/null || return 1
	done
}

# can_install reports whether this is Debian, or made from it, and we are root.
can_install() { [ "$(id -u)" = 0 ] && has apt-get dpkg; }

# install_packages installs Debian packages, without recommended ones. What apt
# says is shown only when it fails.
install_packages() {
	local log
	echo "installing $*" >&2
	log=$(mktemp)
	if ! update_once >"$log" 2>&1 || ! apt_get install "$@" >>"$log" 2>&1; then
		cat "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}

update_once() {
	[ -n "${apt_updated:-}" ] || apt_get update && apt_updated=yes
}

apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
		-o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"
}

# The core packages hold the programs and nothing that starts them.
install_mariadb() { install_packages mariadb-server-core mariadb-client-core; }

# install_postgres keeps the package from making a cluster, so that it has
# nothing to start.
install_postgres() {
	local conf=/etc/postgresql-common/createcluster.d/keyturn.conf status=0
	mkdir -p "${conf%/*}"
	echo 'create_main_cluster = false' >"$conf"
	install_packages postgresql || status=$?
	rm -f "$conf"
	return $status
}

# install_redis makes redis-server out of redis-tools, which has the program under
# another name: the package redis-server would start a service. The link goes into
# keyturn's cache, where the tests look too.
install_redis() {
	local bin=${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/redis/bin
	[ -x /usr/bin/redis-check-rdb ] || install_packages redis-tools || return
	mkdir -p "$bin"
	ln -sf /usr/bin/redis-check-rdb "$bin/redis-server"
}
