#!/usr/bin/env bash
# The five-minute tour, by itself, in a temporary folder. Every line after a "$" is
# a command of the README's quickstart, as it stands there; only the ports are free
# ones, by the environment. Ends with the exit code 0 if every step did what it says.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
PATH=$root/bin:$PATH
devices=${DEVICES:-1000}

bold=$'\e[1m' dim=$'\e[2m' off=$'\e[0m'
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || bold='' dim='' off=''
say()  { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$off"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# run LINE types a line. behind LINE FILE types one that ends in &; its output goes
# to FILE. refused LINE CODE types one that must fail with CODE.
run()     { show "$1"; eval "$1"; }
behind()  { show "$1"; eval "${1% &} >$2 2>$2.err &"; }
refused() { local got=0; show "$1"; eval "$1" || got=$?; [ "$got" = "$2" ] || fail "exit code $got, want $2"; }
step='set up and build'
trap 'status=$?; kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; [ -z "${work:-}" ] || rm -rf "$work"; [ $status = 0 ] || printf "demo: failed at: %s\n" "$step" >&2; exit $status' EXIT
trap 'exit 130' INT TERM

# port prints a free loopback port.
port() { while :; do p=$((20000 + RANDOM % 20000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }; done; }
# until_ok SECONDS COMMAND waits for a command to succeed.
until_ok() {
	local end=$((SECONDS + $1)); shift
	until "$@" >/dev/null 2>&1; do [ $SECONDS -lt "$end" ] || return 1; sleep 0.05; done
}

say '0  Build'
sh test/setup.sh demo
show 'make build'
make --no-print-directory build
go build -o bin/ ./test/demo/doorhook
work=$(mktemp -d)
cd "$work"
export XDG_STATE_HOME=$work/state
hook=$(port)
export SIGNET_LISTEN_MQTT=127.0.0.1:$(port) SIGNET_LISTEN_HTTPS=127.0.0.1:$(port) SIGNET_LISTEN_HEALTH=127.0.0.1:$(port)

say '1  A broker, from nothing'
step='start signetd'
behind 'signetd serve --dev &' signetd.out
broker=$!
until_ok 15 test -s signet-dev/dev.env || { cat signetd.out.err; fail 'signetd does not start'; }
head -6 signetd.out
run 'set -a; . signet-dev/dev.env; set +a'

say '2  A pool, and a token that admits devices'
step='create pool and enrollment token'
run 'signet pool create home'
run 'signet enrollment create --pool home --uses 5 --expires 24h > admit'

say '3  A device enrolls and authenticates, over MQTT and TLS'
step='enroll'
run 'signet-agent enroll --broker $SIGNET_BROKER --ca $SIGNET_CA --pool home --name lamp-1 --token @admit'
behind 'signet-agent run --name lamp-1 &' agent.out
until_ok 10 sh -c 'signet-agent status --name lamp-1 | grep -q online' || fail 'the agent does not come online'
run 'signet-agent status --name lamp-1'
run 'signet-agent token --name lamp-1 > token'
run 'signet token inspect - < token'

say '4  Any MQTT client works: its own topics, nobody else'"'"'s'
step='MQTT password'
run 'signet-agent credentials mqtt --name lamp-1 -o password > password'
step='publish and receive'
behind 'mosquitto_sub --cafile $SIGNET_CA -h localhost -p ${SIGNET_BROKER##*:} -V 5 -i home:lamp-1/sub -u home:lamp-1 -P "$(cat password)" -t "devices/home/lamp-1/#" -C 1 -W 10 &' heard
heard=$!
sleep 0.5
run 'mosquitto_pub --cafile $SIGNET_CA -h localhost -p ${SIGNET_BROKER##*:} -V 5 -i home:lamp-1/pub -u home:lamp-1 -P "$(cat password)" -q 1 -t devices/home/lamp-1/temperature -m 21.5'
wait $heard || fail 'nothing arrived'
[ "$(cat heard)" = 21.5 ] || fail 'something else arrived'
echo "received: $(cat heard)"
step='refusal of a foreign topic'
# mosquitto_pub warns of the refusal and exits with 0
run 'mosquitto_pub --cafile $SIGNET_CA -h localhost -p ${SIGNET_BROKER##*:} -V 5 -i home:lamp-1/pub -u home:lamp-1 -P "$(cat password)" -q 1 -t devices/home/lamp-2/temperature -m 99' 2>foreign || true
grep -i 'not authorized' foreign || fail 'a foreign topic was not refused'

say '5  A backend believes the device, offline, and no forger'
step='offline verification'
run 'curl -sS --cacert $SIGNET_CA $SIGNET_SERVER/pools/home/.well-known/jwks.json > jwks.json'
run 'signet token verify --format jws --key jwks.json --aud home < token'
echo accepted
refused "sed 's/.....\$/AAAAA/' token | signet token verify --format jws --key jwks.json --aud home" 1

say '6  A second challenge, decided by your own webhook'
step='two-challenge flow'
run "signet hook create door --pool home --url http://127.0.0.1:$hook/ > door.secret"
behind 'doorhook -listen 127.0.0.1:'"$hook"' -code 4711 -secret "$(cat door.secret)" &' doorhook.out
run 'signet flow create two-steps --pool home --step key --step hook:door'
run 'signet client create doors --pool home --flow two-steps'
run "printf '#!/bin/sh\nprintf 4711\n' > answer; chmod +x answer"
run 'signet-agent enroll --broker $SIGNET_BROKER --ca $SIGNET_CA --pool home --name lock-1 --token @admit --client doors --answer-command ./answer'
run "printf '#!/bin/sh\nprintf 0000\n' > answer"
refused 'signet-agent enroll --broker $SIGNET_BROKER --ca $SIGNET_CA --pool home --name lock-2 --token @admit --client doors --answer-command ./answer' 3

say '7  The operator acts, the device knows'
step='connections'
run 'signet connection list --pool home'
step='disable'
run 'signet device disable lamp-1 --pool home'
begin=$(date +%s%N)
until_ok 2 sh -c 'signet-agent status --name lamp-1 | grep -q disabled' || fail 'the agent did not notice within 2 s'
echo "the agent knew after $((($(date +%s%N) - begin) / 1000000)) ms"
run 'signet-agent status --name lamp-1'

say "8  A fleet: $devices devices"
step='fleet'
run "signet enrollment create --pool home --uses $devices --expires 1h > fleet"
run 'firmware-sim run --broker $SIGNET_BROKER --ca $SIGNET_CA --pool home --devices '"$devices"' --token @fleet'
awk '/VmRSS/ { printf "broker memory      %.1f MiB resident\n", $2 / 1024 }' "/proc/$broker/status"

step='stop'
kill -TERM $broker
wait $broker || fail "signetd ended badly: $(tail -3 signetd.out.err)"
cd "$root"
say 'Done. Everything was in one temporary folder, which is gone now.'
