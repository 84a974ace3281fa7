#!/bin/sh
# Prints the size of each stripped program in a folder, and what signet-agent takes
# of memory when it is logged in at a signetd on this machine and idle. Fails when
# the agent has grown over its 7.2 MB.
# $1: the folder with the programs.
set -eu
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."

printf '%-24s %12s %8s\n' program bytes MB
for f in "$bin"/*; do
	wc -c "$f" | awk -v name="$(basename "$f")" '{ printf "%-24s %12d %8.2f\n", name, $1, $1 / 1e6 }'
done
size=$(wc -c <"$bin/signet-agent")
[ "$size" -le 7200000 ] || { echo "signet-agent is over its 7.2 MB" >&2; exit 1; }

SIGNET_BENCH_BIN=$bin go test ./test/bench -run '^$' -bench '^BenchmarkAgent$' -benchtime 1x -timeout 2m | awk '
/^BenchmarkAgent/ {
	for (i = 3; i < NF; i += 2) v[$(i + 1)] = $i
	printf "\nsignet-agent, logged in and idle: %.2f MiB resident (at most 8), %.2f MiB of it its own pages\n", v["MiB-RSS"], v["MiB-anon"]
	found = 1
}
{ said = said $0 "\n" }
END { if (!found) { printf "%s", said; exit 1 } }'
