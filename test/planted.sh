#!/bin/sh
# Plants twelve bugs, one build tag each, and wants the tests to find every one.
# Usage, from the repository's root: sh test/planted.sh [tag...]
set -u
GO=${GO:-go}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
missed=0

# plant TAG PACKAGE TEST: TEST must pass without the bug's tag and fail, not break, with it.
plant() {
	tag=$1 package=$2 test=$3
	case " $only " in "  " | *" $tag "*) ;; *) return ;; esac
	if ! $GO vet -tags "$tag" "$package" >"$log" 2>&1; then
		cat "$log"
		echo "BROKEN  $tag does not compile"
		missed=$((missed + 1))
	elif ! $GO test -count=1 -run "$test" "$package" >"$log" 2>&1; then
		tail -n 20 "$log"
		echo "BROKEN  $test in $package fails without $tag"
		missed=$((missed + 1))
	elif $GO test -count=1 -v -tags "$tag" -run "$test" "$package" >"$log" 2>&1; then
		grep -- '--- SKIP' "$log"
		echo "MISSED  $tag by $test in $package"
		missed=$((missed + 1))
	else
		echo "caught  $tag by $test in $package: $(grep -c -- '^ *--- FAIL' "$log") failures"
	fi
}

only="$*"
export SIGNET_SIM_SEEDS="${SIGNET_SIM_SEEDS:-40}"
plant bug_replay ./test '^TestAnswerIsGoodOnce$'
plant bug_replay ./test/sim '^TestSimulation$'
plant planted_fsync_skipped ./broker/boltstore '^TestSynced$'
plant bug_will ./broker/mqttd '^TestWillIsChecked(Again)?$'
plant bug_type ./protocol/token '^TestTypes$'
plant bug_transcript ./test/sim '^TestSimulation$'
plant bug_successor ./test/sim '^TestSimulation$'
plant bug_tries ./test '^TestSecondChallengeByHook$'
plant bug_disabled ./test/sim '^TestSimulation$'
plant bug_rebind ./test '^TestReenrolment$'
plant bug_expiry ./test '^TestChallengeExpires$'
plant bug_nonce ./agent '^TestGrant'
plant bug_nonce ./test/sim '^TestSimulation$'
plant bug_audience ./protocol/verify '^TestVerifyRefuses$'
[ "$missed" -eq 0 ] || { echo "$missed missed"; exit 1; }
