#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each, from its seeds, as many
# at a time as there are cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${1:?usage: fuzz.sh TIME}

# Go fuzzes one target at a time, so the targets are named one by one.
one() {
	if ! out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel 1 "./$1" </dev/null 2>&1); then
		printf 'fuzz %s %s\n%s\n' "$1" "$2" "$out"
		return 255 # ends the run
	fi
	echo "fuzz $1 $2: $(tail -n 1 <<<"$out")"
}
export -f one

grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' cmd conformance internal | sort |
	sed 's|/[^/]*:func | |' |
	xargs -P "$(nproc)" -L 1 bash -c 'one "$0" "$1"'
