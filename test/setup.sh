#!/bin/sh
# Installs with apt-get what is lacking for a task: test (the default), demo, race or bench.
# Says in one line each what and why. Does nothing where nothing is lacking; where
# it may not install it says what to type, and fails.
# Usage: sh test/setup.sh [test|demo|race|bench]
set -eu
export DEBIAN_FRONTEND=noninteractive
lacking=''

# need PACKAGE WHY COMMAND...: PACKAGE is lacking when COMMAND fails.
need() {
	package=$1 why=$2
	shift 2
	"$@" >/dev/null 2>&1 && return
	lacking="$lacking $package"
	echo "setup: $package is lacking: $why"
}
# module NAME tells whether Debian's Python has it; a Python of one's own has other ones.
module() { /usr/bin/python3 -c "import $1"; }
# has PROGRAM...: all are there.
has() { for program; do command -v "$program" || return; done; }
# compiles tells whether a C program can be built and linked.
compiles() { echo 'int main(void) { return 0; }' | cc -x c -o /dev/null -; }

task=${1:-test}
case $task in
test)
	need mosquitto-clients 'MQTT clients that are not ours' has mosquitto_pub mosquitto_sub
	need jq 'it reads the vectors for firmware in C' has jq
	need curl 'a user who types what the manual says' has curl
	need openssl 'a certificate authority that is brought, and a second pair of eyes' has openssl
	need python3 'the second client, written from the manual alone' test -x /usr/bin/python3
	need python3-paho-mqtt 'MQTT for the second client' module paho.mqtt.client
	need python3-cryptography 'signatures for the second client' module cryptography
	need python3-cbor2 'a CBOR library that is not ours' module cbor2
	need python3-jwt 'a JWT library that is not ours' module jwt
	need nodejs 'JOSE and COSE libraries that are not ours' has node
	need npm 'it fetches those libraries, at fixed versions' has npm
	need systemd 'it reads the unit files' has systemd-analyze
	need mandoc 'a reader of manual pages that is not ours' has mandoc
	need zsh 'a shell that completes the agent' has zsh
	need fish 'another one' has fish
	need gcc 'firmware in C, which reads the vectors' compiles
	need libc6-dev 'a C program needs its library' compiles
	need nginx 'a balancer in front of signetd' has nginx
	need libnginx-mod-stream 'nginx passes TLS through by it' test -e /usr/lib/nginx/modules/ngx_stream_module.so
	need haproxy 'another balancer' has haproxy
	need squid 'an HTTP proxy on the way of an agent' has squid
	;;
demo)
	need mosquitto-clients 'MQTT clients that are not ours' has mosquitto_pub mosquitto_sub
	need curl 'it fetches a key set as a backend would' has curl
	;;
race)
	need gcc 'the race detector is linked by a C compiler' compiles
	need libc6-dev 'a C program needs its library, the race detector too' compiles
	;;
bench)
	need mosquitto 'an MQTT server in C to measure ours against' test -x /usr/sbin/mosquitto
	;;
*)
	echo "setup: $task is none of test, demo, race, bench" >&2
	exit 2
	;;
esac

[ -n "$lacking" ] || exit 0
command="apt-get install -y --no-install-recommends$lacking"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "setup: as root: $command" >&2
	exit 1
fi
echo "setup: $command"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of packages
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $lacking; } >"$log" 2>&1; then
	cat "$log" >&2
	echo 'setup: apt-get failed, see above' >&2
	exit 1
fi
