#!/bin/sh
# Plants fifteen bugs, one build tag each, and wants the tests to find every
# one, each for the reason that is its own.
# Usage, from the repository's root: sh test/planted.sh [tag...]
set -u
GO=${GO:-go}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
only="$*"
sound=' ' # tests that passed without a bug
missed=0

miss() {
	echo "$*"
	missed=$((missed + 1))
}

# plant TAG PACKAGE TEST REASON: TEST must pass without the bug's tag, and with it
# fail in words that fit REASON, an extended regular expression.
plant() {
	tag=$1 package=$2 test=$3 reason=$4
	case " $only " in "  " | *" $tag "*) ;; *) return ;; esac
	case "$sound" in
	*" $package:$test "*) ;;
	*)
		if ! $GO test -count=1 -v -run "$test" "$package" >"$log" 2>&1; then
			tail -n 20 "$log"
			miss "BROKEN  $test in $package fails without $tag"
			return
		elif ! grep -q -- '^--- PASS' "$log"; then
			miss "BROKEN  $test in $package does not run"
			return
		fi
		sound="$sound$package:$test "
		;;
	esac
	if $GO test -count=1 -tags "$tag" -run "$test" "$package" >"$log" 2>&1; then
		miss "MISSED  $tag by $test in $package"
	elif why=$(grep -E -m 1 -- "$reason" "$log"); then
		echo "caught  $tag by $test in $package: $(echo "$why" | sed -E 's/^ *//' | cut -c 1-120)"
	else
		tail -n 20 "$log"
		miss "BROKEN  $test in $package fails with $tag, but not because of it"
	fi
}

export SIGNET_SIM_SEEDS="${SIGNET_SIM_SEEDS:-40}"
plant bug_replay ./test '^TestAnswerIsGoodOnce$' 'a replayed answer was granted'
plant bug_replay ./test/sim '^TestSimulation$' '.* was granted what was never committed'
plant planted_fsync_skipped ./broker/boltstore '^TestSynced$' 'was acknowledged with .* not yet on the disk'
plant bug_will ./broker/mqttd '^TestWillIsChecked(Again)?$' 'will .*: code 0x0, want'
plant bug_type ./protocol/token '^TestTypes$' 'CWT access read as CWT ID: <nil>'
plant bug_transcript ./test/sim '^TestSimulation$' 'the network opened a grant'
plant bug_successor ./test/sim '^TestSimulation$' 'a refresh token of .* has two successors'
plant bug_tries ./test '^TestSecondChallengeByHook$' 'always wrong: .* after .* tries'
plant bug_disabled ./test/sim '^TestSimulation$' 'a login of .* was committed after its disabling'
plant bug_rebind ./test '^TestReenrolment$' 'other key: <nil>, want exists'
plant bug_expiry ./test '^TestChallengeExpires$' 'too late: <nil>, want expired'
plant bug_nonce ./agent '^TestGrantRefused$' 'FAIL: TestGrantRefused/old_nonce'
plant bug_nonce ./test/sim '^TestSimulation$' '.* accepted a grant that no replica made'
plant bug_skew ./test/sim '^TestSimulation$' 'a family of .* was refreshed after its end \(disabling\)'
plant bug_late ./agent '^TestLateMessages$' 'FAIL: TestLateMessages/challenge_comes_twice'
plant bug_late ./test/sim '^TestDoubled$' 'times: refused: denied'
plant bug_audience ./protocol/verify '^TestVerifyRefuses$' 'FAIL: TestVerifyRefuses/audience '
plant bug_relay ./broker/mqttfront '^TestRelay$' "pushed to the device's own connection: true, want false"
plant bug_relay ./test/sim '^TestSimulation$' 'a connection of .* became'
[ "$missed" -eq 0 ] || { echo "$missed missed"; exit 1; }
