#!/bin/sh
# Looks for known vulnerabilities that our programs reach, by govulncheck at a pinned
# version. First it looks in a database of three planted entries, of which it must find
# the two that are reached: a check that finds nothing there checks nothing.
# Exit: 0 none known, 1 some are reached or the check is broken, 75 not checked.
# Usage: sh test/vulncheck/vulncheck.sh [planted]   planted: only the first part
set -eu
cd "$(dirname "$0")/../.."
tool=golang.org/x/vuln/cmd/govulncheck@v1.9.0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
GOBIN=$tmp CGO_ENABLED=0 go install "$tool"

# check OUT ARGS...: govulncheck's own exit code: 0 none reached, 3 some, else it could not say.
check() {
	out=$1
	shift
	code=0
	timeout 300 "$tmp/govulncheck" "$@" >"$out" 2>&1 || code=$?
}

check "$tmp/planted" -db "file://$PWD/test/vulncheck/database" ./...
found=$(grep -o '^Vulnerability #[0-9]*: GO-0000-[0-9]*' "$tmp/planted" | sed 's/.*: //' | sort | tr '\n' ' ')
if [ "$code" != 3 ] || [ "$found" != 'GO-0000-0001 GO-0000-0002 ' ]; then
	cat "$tmp/planted"
	echo "vulncheck: broken: of the planted entries it found '$found', exit $code" >&2
	exit 1
fi
echo 'vulncheck: finds both planted entries that our code reaches, and not the third'

# With no database behind a port the answer must be "not checked".
check "$tmp/nobody" -db http://127.0.0.1:9 ./protocol/build
case $code in
0 | 3)
	echo 'vulncheck: broken: it passes without a database' >&2
	exit 1
	;;
esac
[ "${1:-}" != planted ] || exit 0

check "$tmp/real" ./...
case $code in
0) echo 'vulncheck: no known vulnerability is reached' ;;
3)
	cat "$tmp/real"
	exit 1
	;;
*)
	tail -n 1 "$tmp/real"
	echo 'vulncheck: NOT CHECKED: the vulnerability database was not reached'
	exit 75
	;;
esac
