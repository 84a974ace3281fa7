#!/bin/sh
# Measures this tree against a commit of its past, in turns on one machine: an
# authentication in process, and the verification of tokens.
# Usage, from anywhere in the repository: sh test/bench/pair.sh COMMIT [rounds]
#
# What is compared is each side's ratio to the floor that it measures beside itself,
# so that a machine that grows busy between two turns is not taken for a change.
# Fails when the median of a figure is more than 5% above the commit's.
set -eu
cd "$(dirname "$0")/../.."
base=$(git rev-parse --verify "${1:?a commit to measure against}^{commit}") rounds=${2:-9}
work=$(mktemp -d)
trap 'git worktree remove --force "$work/then" 2>/dev/null; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/then" "$base"
(cd "$work/then" && go test -c -o "$work/then.test" ./test/bench)
go test -c -o "$work/now.test" ./test/bench

turn() { # side, benchmark, benchtime
	folder=.
	[ "$1" = now ] || folder=$work/then
	(cd "$folder/test/bench" && "$work/$1.test" -test.run '^$' -test.bench "^$2\$" -test.benchtime "$3") >>"$work/$1.out"
}
i=0
while [ "$i" -lt "$rounds" ]; do
	i=$((i + 1))
	echo "  round $i of $rounds ..." >&2
	# Who goes first changes, so that neither always finds the machine warm.
	if [ $((i % 2)) -eq 0 ]; then order='then now'; else order='now then'; fi
	for side in $order; do turn $side BenchmarkAuthentication 1x; done
	for side in $order; do turn $side BenchmarkVerify 300ms; done
done

awk '
FILENAME != file { file = FILENAME; side++ }
/^Benchmark/ {
	name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name)
	for (i = 3; i < NF; i += 2) if ($(i + 1) == "x-floor") {
		if (!(name in seen)) { seen[name] = ++names; order[names] = name }
		values[name, side, ++count[name, side]] = $i
	}
}
function median(name, side,   n, i, j, t, v) {
	n = count[name, side]
	for (i = 1; i <= n; i++) v[i] = values[name, side, i] + 0
	for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j-1]; j--) { t = v[j]; v[j] = v[j-1]; v[j-1] = t }
	return v[int((n + 1) / 2)]
}
END {
	printf "%-46s %10s %10s %10s\n", "x-floor, medians", "then", "now", "now/then"
	for (k = 1; k <= names; k++) {
		name = order[k]
		if (!count[name, 1] || !count[name, 2]) { printf "%-46s only on one side\n", name; bad = 1; continue }
		a = median(name, 1); b = median(name, 2)
		printf "%-46s %10.3f %10.3f %10.3f%s\n", name, a, b, b / a, (b > 1.05 * a ? "  slower" : "")
		if (b > 1.05 * a) bad = 1
	}
	exit bad || names == 0
}' "$work/then.out" "$work/now.out"
