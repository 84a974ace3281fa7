#!/bin/sh
# Runs every fuzz target of the module for the given time.
set -eu
time=${1:-30s}
for dir in $(go list -f '{{.Dir}}' ./...); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | cut -c6- | sort -u); do
		echo "fuzz $target in ${dir#"$PWD"/}"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir"
	done
done
