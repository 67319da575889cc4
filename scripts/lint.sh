#!/usr/bin/env bash
# Everything that is checked about the code besides its tests.
set -euo pipefail
cd "$(dirname "$0")/.."

golangci_version=2.15.0
govulncheck_version=v1.9.0
tools=$PWD/bin/tools

# tool prints the path of the program $1 in version $2 from the module $3,
# which is built first if need be.
tool() {
	local dir=$tools/$1-$2
	if [ ! -x "$dir/$1" ]; then
		echo "installing $1 $2" >&2
		GOBIN=$dir go install "$3@$2" >&2
	fi
	echo "$dir/$1"
}

golangci() {
	local found
	for found in golangci-lint "$(go env GOPATH)/bin/golangci-lint"; do
		if "$found" version --short 2>/dev/null | grep -qx "v\{0,1\}$golangci_version"; then
			echo "$found"
			return
		fi
	done
	tool golangci-lint "v$golangci_version" github.com/golangci/golangci-lint/v2/cmd/golangci-lint
}

check_format() {
	local files
	files=$(gofmt -l .)
	if [ -n "$files" ]; then
		printf 'not formatted, run gofmt -w on:\n%s\n' "$files" >&2
		return 1
	fi
}

# check_vulnerabilities passes over a database that cannot be reached, and over
# nothing else: govulncheck exits with 3 when it finds something.
check_vulnerabilities() {
	local program output status=0
	program=$(tool govulncheck "$govulncheck_version" golang.org/x/vuln/cmd/govulncheck)
	output=$("$program" ./... 2>&1) || status=$?
	if [ $status -eq 1 ] && grep -qE 'dial tcp|no such host|i/o timeout|connection re|TLS handshake|vuln\.go\.dev' <<<"$output"; then
		echo "lint: govulncheck skipped, its database cannot be reached" >&2
		return
	fi
	[ $status -eq 0 ] || echo "$output" >&2
	return $status
}

check_scripts() {
	local script
	for script in scripts/*.sh .ci/run; do bash -n "$script" || return 1; done
	if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; fi
}

# check_systems compiles for other systems what does not reach SQLite, whose compilation
# takes longer than all else together: what depends on the system is among it.
check_systems() {
	local system packages
	for system in windows darwin; do
		packages=$(GOOS=$system go list -f '{{range .Deps}}{{if eq . "modernc.org/sqlite"}}- {{end}}{{end}}{{if not .GoFiles}}- {{end}}{{.ImportPath}}' ./... | grep -v '^- ')
		# shellcheck disable=SC2086 # one word for each package
		GOOS=$system CGO_ENABLED=0 go build $packages || return 1
	done
}

check_module() { go mod tidy -diff; }
check_vet() { go vet ./...; }
check_linters() { "$(golangci)" run ./...; }

failed=
for check in format scripts module vet systems linters vulnerabilities; do
	"check_$check" || failed+=" $check"
done
if [ -n "$failed" ]; then
	echo "lint: failed:$failed" >&2
	exit 1
fi
echo "lint: nothing found" >&2
