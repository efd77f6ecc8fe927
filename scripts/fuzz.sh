#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each, from its seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: fuzz.sh TIME}

# Go fuzzes one target at a time, so the targets are named one by one.
grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' cmd conformance internal | sort | while IFS=: read -r file target; do
	echo "fuzz $(dirname "$file") ${target#func }"
	go test -run '^$' -fuzz "^${target#func }\$" -fuzztime "$time" "./$(dirname "$file")" </dev/null
done
