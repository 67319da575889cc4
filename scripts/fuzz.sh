#!/usr/bin/env bash
# Runs every fuzz target of the module, one after another, for $1 each (30s). Inputs are
# made smaller by ten calls, not for a minute each, during which nothing else is tried.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-30s}
grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | while IFS=: read -r file func; do
	target=${func#func }
	echo "== ${file%/*} $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "${file%/*}" </dev/null
done
