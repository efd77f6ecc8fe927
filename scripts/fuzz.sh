#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each, from its seeds, as many
# at a time as there are cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${1:?usage: fuzz.sh TIME}

# Go fuzzes one target at a time, so the targets are named one by one.
#
# When the time ends in an unlucky moment, Go 1.26 takes that for a failure of the target
# (golang/go#75804): "context deadline exceeded", and no input that failed. It runs again.
one() {
	local try
	for try in 1 2 3; do
		if out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel 1 "./$1" </dev/null 2>&1); then
			echo "fuzz $1 $2: $(tail -n 1 <<<"$out")"
			return
		fi
		printf 'fuzz %s %s, run %s\n%s\n' "$1" "$2" "$try" "$out"
		if ! grep -q '^ *context deadline exceeded$' <<<"$out" || grep -q 'Failing input' <<<"$out"; then
			return 255 # ends the run
		fi
	done
	return 255
}
export -f one

grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' cmd conformance internal | sort |
	sed 's|/[^/]*:func | |' |
	xargs -P "$(nproc)" -L 1 bash -c 'one "$0" "$1"'
