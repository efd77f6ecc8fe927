#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each, from its seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: fuzz.sh TIME}

# go test -list names targets without their package, hence package by package; only
# those that have any are asked.
while read -r dir; do
	pkg=./$dir
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz'); do
		echo "fuzz $pkg $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg"
	done
done < <(grep -rl --include='*_test.go' '^func Fuzz' internal cmd conformance | xargs -r -n1 dirname | sort -u)
