#!/bin/sh
# Runs every fuzz target of the module, one more at a time than there are cores: each
# begins with a build that does not fill one.
# Usage: sh test/fuzz.sh [TIME | TOTAL/]: each target for TIME (30s), or all of them
# within TOTAL minutes, shared evenly: "6/".
set -eu
time=${1:-30s}
list=$(mktemp)
trap 'rm -f "$list"' EXIT
for dir in $(go list -f '{{.Dir}}' ./...); do
	for target in $(cat "$dir"/*_test.go 2>/dev/null | grep -oE '^func Fuzz[A-Za-z0-9_]+' | cut -c6- | sort -u); do
		echo "$dir $target"
	done
done >"$list"
case $time in
*/) time=$((${time%/} * 60 * ($(nproc) + 1) / $(wc -l <"$list")))s ;;
esac
echo "$(wc -l <"$list") fuzz targets, $time each"
# Minimising is cut short: with its default of a minute it eats the whole budget.
# On a busy machine go test may take the end of its time for a failure: it then says
# "context deadline exceeded" and names no input that fails. That is no finding.
xargs -P "$(($(nproc) + 1))" -L 1 sh -c '
	out=$(go test -run "^$" -fuzz "^$2\$" -fuzztime "$0" -fuzzminimizetime 20x -parallel 1 "$1" 2>&1) ||
		{ echo "$out" | grep -q "^ *context deadline exceeded$" && ! echo "$out" | grep -qE "Failing input|panic|_test.go:"; } ||
		{ echo "$out"; echo "FAIL $2"; exit 255; }
	echo "ok   $2 $(echo "$out" | grep -oE "execs: [0-9]+" | tail -1)"
' "$time" <"$list"
