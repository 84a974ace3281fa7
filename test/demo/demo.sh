#!/usr/bin/env bash
# The five-minute tour, by itself: every line after a "$" is a command that you can
# type too. Ends with the exit code 0 if every step did what it says.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
PATH=$root/bin:$PATH
devices=${DEVICES:-1000}

bold=$'\e[1m' dim=$'\e[2m' off=$'\e[0m'
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || bold='' dim='' off=''
say()  { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$off"; }
run()  { show "$*"; "$@"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
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
run make --no-print-directory build
work=$(mktemp -d)

say '1  A broker, from nothing'
step='start signetd'
mqtt=$(port) https=$(port) health=$(port) web=$(port)
show "signetd serve --dev --data $work/data --listen-mqtt 127.0.0.1:$mqtt --listen-https 127.0.0.1:$https --listen-health 127.0.0.1:$health &"
signetd serve --dev --data "$work/data" --listen-mqtt "127.0.0.1:$mqtt" --listen-https "127.0.0.1:$https" --listen-health "127.0.0.1:$health" >"$work/signetd.out" 2>"$work/signetd.err" &
broker=$!
until_ok 15 test -s "$work/data/dev.env" || { cat "$work/signetd.err"; fail 'signetd does not start'; }
set -a; . "$work/data/dev.env"; set +a
show "set -a; . $work/data/dev.env; set +a"
url=$SIGNET_BROKER ca=$SIGNET_CA
head -3 "$work/signetd.out"

say '2  A pool, and a token that admits devices'
step='create pool and enrolment token'
run signet pool create home
show 'signet enrollment create --pool home --uses 5 --expires 24h -o json > token.json'
signet enrollment create --pool home --uses 5 --expires 24h -o json >"$work/token.json"
admit=$(grep -oE 'sgne_[A-Za-z0-9_-]+' "$work/token.json" | head -1)
[ -n "$admit" ] || fail 'no enrolment token'

say '3  A device enrols and authenticates, over MQTT and TLS'
step='enrol'
run signet-agent enroll --broker "$url" --ca "$ca" --pool home --name lamp-1 --token "$admit" --state "$work/lamp-1"
show "signet-agent run --state $work/lamp-1 &"
signet-agent run --state "$work/lamp-1" >"$work/agent.out" 2>"$work/agent.err" &
until_ok 10 sh -c "signet-agent status --state $work/lamp-1 | grep -q online" || fail 'the agent does not come online'
run signet-agent status --state "$work/lamp-1"
step='inspect token'
show "signet-agent token --state $work/lamp-1 > token"
signet-agent token --state "$work/lamp-1" >"$work/token"
show 'signet token inspect - < token'
signet token inspect - <"$work/token"

say '4  Any MQTT client works: its own topics, nobody else'"'"'s'
step='publish and receive'
user=home:lamp-1
mosq=(--cafile "$ca" -h localhost -p "$mqtt" -u "$user" -P "$(cat "$work/token")" -V mqttv5)
show "mosquitto_sub -u $user -P TOKEN -t 'devices/home/lamp-1/#' -C 1 &"
mosquitto_sub "${mosq[@]}" -i "$user/sub" -t 'devices/home/lamp-1/#' -C 1 -W 10 >"$work/heard" &
heard=$!
sleep 0.5
show "mosquitto_pub -u $user -P TOKEN -t devices/home/lamp-1/temperature -m 21.5"
mosquitto_pub "${mosq[@]}" -i "$user/pub" -q 1 -t devices/home/lamp-1/temperature -m 21.5
wait $heard || fail 'nothing arrived'
[ "$(cat "$work/heard")" = 21.5 ] || fail 'something else arrived'
echo "received: $(cat "$work/heard")"
step='refusal of a foreign topic'
show "mosquitto_pub -u $user -P TOKEN -t devices/home/lamp-2/temperature -m 99"
if mosquitto_pub "${mosq[@]}" -i "$user/pub" -q 1 -t devices/home/lamp-2/temperature -m 99 2>"$work/refused"; then
	grep -qi 'not authorized' "$work/refused" || fail 'a foreign topic was not refused'
fi
echo "refused: $(head -1 "$work/refused")"

say '5  A backend believes the device, offline, and no forger'
step='offline verification'
show "curl --cacert root.pem $SIGNET_SERVER/pools/home/.well-known/jwks.json > jwks.json"
curl -sS --cacert "$ca" "$SIGNET_SERVER/pools/home/.well-known/jwks.json" >"$work/jwks.json"
show 'signet token verify --format jws --key jwks.json --aud home < token'
signet token verify --format jws --key "$work/jwks.json" --aud home <"$work/token"
show "sed 's/.....$/AAAAA/' token | signet token verify --format jws --key jwks.json --aud home"
if sed 's/.....$/AAAAA/' "$work/token" | signet token verify --format jws --key "$work/jwks.json" --aud home; then
	fail 'a forged token was accepted'
fi

say '6  A second challenge, decided by your own webhook'
step='two-challenge flow'
show "signet hook create door --pool home --url http://127.0.0.1:$web/ -o json"
secret=$(signet hook create door --pool home --url "http://127.0.0.1:$web/" -o json | grep -oE 'whsec_[A-Za-z0-9+/=]+' | head -1)
go build -o "$work/doorhook" ./test/demo/doorhook
show "go run ./test/demo/doorhook -listen 127.0.0.1:$web -secret whsec_... -code 4711 &"
"$work/doorhook" -listen "127.0.0.1:$web" -secret "$secret" -code 4711 2>/dev/null &
run signet flow create two-steps --pool home --step key --step hook:door
run signet client create doors --pool home --flow two-steps
printf '#!/bin/sh\nprintf 4711\n' >"$work/answer" && chmod +x "$work/answer"
run signet-agent enroll --broker "$url" --ca "$ca" --pool home --name lock-1 --token "$admit" --client doors --answer-command "$work/answer" --state "$work/lock-1"
printf '#!/bin/sh\nprintf 0000\n' >"$work/answer"
echo '... and with the wrong code:'
if signet-agent enroll --broker "$url" --ca "$ca" --pool home --name lock-2 --token "$admit" --client doors --answer-command "$work/answer" --state "$work/lock-2"; then
	fail 'a wrong answer was accepted'
fi

say '7  The operator acts, the device knows'
step='disable'
run signet device disable lamp-1 --pool home
begin=$(date +%s%N)
until_ok 2 sh -c "signet-agent status --state $work/lamp-1 | grep -q disabled" || fail 'the agent did not notice within 2 s'
echo "the agent knew after $((($(date +%s%N) - begin) / 1000000)) ms"
run signet-agent status --state "$work/lamp-1"

say "8  A fleet: $devices devices"
step='fleet'
fleet=$(signet enrollment create --pool home --uses "$devices" --expires 1h -o json | grep -oE 'sgne_[A-Za-z0-9_-]+' | head -1)
show "firmware-sim run --broker $url --ca root.pem --pool home --devices $devices --token TOKEN"
firmware-sim run --broker "$url" --ca "$ca" --pool home --devices "$devices" --token "$fleet" --report "$work/report.json"
awk '/VmRSS/ { printf "broker memory      %.1f MiB resident\n", $2 / 1024 }' "/proc/$broker/status"

step='stop'
kill -TERM $broker
wait $broker || fail "signetd ended badly: $(tail -3 "$work/signetd.err")"
say 'Done. Everything was in one temporary folder, which is gone now.'
