"""An independent Signet client: enrolls, authenticates and refreshes over MQTT/TLS.

    python3 client.py life --broker localhost:8883 --ca root.pem --pool demo --name lamp-1 --token sgne_...

Written from docs/protocol.md and the vectors. Needs python3-cryptography and
python3-paho-mqtt. Each scenario prints what happened as one JSON object, after
lines {"step": ...} that ask for an operator's doing and wait for a line of input.
"""
import argparse
import json
import os
import sys
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import signet_token as tok
import signet_wire as wire
from signet_device import GIVE_UP, Device, Link, Refusal


def want(ok, what):
    if not ok:
        raise SystemExit(what)


def expect(refusal, do):
    """Gives the refusal that do must meet."""
    try:
        do()
    except Refusal as e:
        want(e.code == refusal, f"refused as {e.code}, want {refusal}")
        return e
    raise SystemExit(f"not refused, want {refusal}")


def operator(step):
    """Has the operator do something."""
    print(json.dumps({"step": step}), flush=True)
    sys.stdin.readline()


def round_trip(link, topic, payload):
    """Publishes to a topic that the grant allows and receives it back."""
    want(link.subscribe(topic), f"may not subscribe to {topic}")
    link.mqtt.publish(topic, payload, qos=1)
    want(link.messages.get(timeout=GIVE_UP) == (topic, payload), "another message came back")


class World:
    def __init__(self, args):
        self.args, self.own = args, f"devices/{args.pool}/{args.name}/"
        self.full = f"{args.pool}:{args.name}"
        self.token = wire.EnrollmentToken(args.token)

    def connect(self, client_id, *login, web=False, **how):
        host, port = (self.args.web if web else self.args.broker).rsplit(":", 1)
        return Link(host, int(port), self.args.ca, client_id, *login, web=web, **how)

    def itself(self, device, **how):
        """Connects with an MQTT password. Python's ssl gives no exporter value (RFC 9266): no connection becomes the device's by
        itself, and no connect proof can be made."""
        link = self.stranger(**how)
        password = device.authenticate(link, want=1)
        link.close()
        link = self.connect(self.full, self.full, tok.b64(password["access"]), **how)
        want(link.code == 0, f"not let in with the password: {link.code}")
        link.password = password
        return link

    def stranger(self, **how):
        return self.connect("anon-" + os.urandom(16).hex(), **how)

    def key(self):
        return Ed25519PrivateKey.generate() if self.args.ed25519 else ec.generate_private_key(ec.SECP256R1())

    def device(self, name=None, private=None, **more):
        d = Device(self.args.pool, name or self.args.name, private or self.key(), **more)
        d.pin = self.token.pin
        return d


def life(w):
    """Enroll, authenticate, refresh, use: the whole life of a device."""
    device = w.device()
    private = device.private
    link = w.stranger()
    g = device.enroll(link, w.token)
    access = tok.open_cwt(g["access"], "access", g["find"])
    want(access[8][3] == tok.key_of(private).thumbprint[:16] and access[3] == w.args.pool and access[2] == device.subject, "access token is not for this device")
    want(not link.subscribe(w.own + "up"), "a connection that was not named became the device's")
    link.close()
    link = w.itself(device)
    round_trip(link, w.own + "up", b"with an MQTT password")
    want(not link.subscribe("devices/#") and not link.subscribe(f"signet/v1/{w.full}x/rs"), "subscribed to others' topics")
    device.enroll(link)  # the same key again, no token needed now
    old = device.refresh_token
    g = device.authenticate(link)
    first = device.refresh_token
    g = device.refresh(link)
    rotated = device.refresh_token != first
    device.refresh_token, newest = first, device.refresh_token
    device.refresh(link)  # within the grace: the same successor again
    same = device.refresh_token == newest
    link.close()
    link = w.itself(device, v5=True)
    round_trip(link, w.own + "up", b"as itself")
    password = tok.open_cwt(link.password["access"], "mqtt", link.password["find"])
    want(8 not in password and password[3] == g["issuer"] + "/mqtt" and link.password["life"] == 600, "not an MQTT password")
    jwt = device.authenticate(link, format=1)["access"].decode()
    password = device.authenticate(link, format=1, want=1)["access"].decode()
    newest = device.refresh_token
    for bearer in (jwt, tok.b64(g["access"])):
        want(w.connect(w.full + "/2", w.full, bearer).code != 0, "let in with an access token alone")
    link.close()
    link = w.connect(w.full + "/2", w.full, password)
    round_trip(link, w.own + "up", b"a second connection, with a JWT")
    thief = w.device()
    expect("denied", lambda: thief.authenticate(link))
    unknown = w.device(w.args.name + "-unknown", private)
    expect("denied", lambda: unknown.authenticate(link))
    device.refresh_token = os.urandom(32)
    other = w.stranger()  # on its own connection the end may overtake the refusal
    expect("denied", lambda: device.refresh(other))
    other.close()
    device.refresh_token = newest
    link.ended.get(timeout=GIVE_UP)  # the family has ended, and its connections with it
    link.close()
    link = w.stranger()
    expect("denied", lambda: device.refresh(link))
    device.authenticate(link)
    link.close()
    want(w.connect(w.full, w.full, "no token").code != 0, "let in without a token")
    want(rotated and same, f"rotated {rotated}, same successor {same}")
    return {"issuer": g["issuer"], "clock_offset": round(g["made"] - time.time()), "jwt": jwt}


def web(w):
    """The same over WebSocket, 3.1.1 and 5."""
    link = w.stranger(web=True)
    device = w.device()
    device.enroll(link, w.token)
    link.close()
    link = w.itself(device, web=True)
    round_trip(link, w.own + "up", b"over WebSocket")
    link.close()
    link = w.itself(device, web=True, v5=True)
    device.refresh(link)
    link.close()
    return {}


def doubled(w):
    """A network that delivers every request twice: each call ends well at once.
    Both copies of an answer are worked on at the same time, so that replayed may come before the grant."""
    link, device = w.stranger(copies=2), w.device()
    device.enroll(link, w.token)
    for _ in range(5):
        device.authenticate(link)
        before = device.refresh_token
        device.refresh(link)
        want(device.refresh_token != before, "not rotated")
    link.close()
    return {}


def psk(w):
    """A shared key that the operator registered: no enrollment, the first grant brings the anchor."""
    link = w.stranger()
    device = w.device(private=bytes.fromhex(w.args.psk), client="shared")
    g = device.authenticate(link)
    want(device.anchor and tok.open_cwt(g["access"], "access", g["find"])[2] == device.subject, "another's token")
    link.close()
    link = w.itself(device)
    round_trip(link, w.own + "up", b"with a shared key")
    device.authenticate(link)  # now with the statement named, which does not come again
    before = device.refresh_token
    device.refresh(link)
    want(device.refresh_token != before, "not rotated")
    other = w.device(private=os.urandom(32), client="shared")
    expect("denied", lambda: other.authenticate(link))
    link.close()
    return {}


def hook(w):
    """A second challenge, which a webhook asks; a wrong answer or two before the right one."""
    answers = []
    solve = lambda kind, params: (asked.append((kind, params)), answers.pop(0))[1]
    asked = []
    device = w.device(client="doors", solve=solve)
    link = w.stranger()
    answers[:] = [b"4711"]
    device.enroll(link, w.token)
    answers[:] = [b"0000", b"1111", b"4711"]
    device.authenticate(link, metadata={"firmware": "1.2"})
    want(device.refusals == [2, 1], f"tries left: {device.refusals}")
    answers[:] = [b"0000", b"1111", b"2222", b"4711"]
    e = expect("tries", lambda: device.authenticate(link))
    want(0 < e.retry_after <= 30, f"to wait {e.retry_after} s")
    want(answers == [b"4711"], f"left unasked: {answers}")
    want(all(kind == "door" and params["question"] for kind, params in asked), f"asked {asked}")
    link.close()
    return {"asked": len(asked)}


def raw_call(link, fields, kind="start"):
    """Sends a message as it stands and gives what comes back, None for silence."""
    try:
        return link.call(fields[2], wire.encode({0: 1, 1: wire.NUMBERS[kind]} | fields), give_up=2)
    except TimeoutError:
        return None


def refusals(w):
    """Every refusal that a client can bring about by itself."""
    link, device = w.stranger(), w.device()
    met = {}

    def meet(code, reply):
        kind, m = reply
        want(kind == "refusal", f"{kind}, want the refusal {code}")
        e = Refusal(m[3])
        want(e.code == code, f"refused as {e.code}, want {code}")
        met[code] = met.get(code, 0) + 1
        return e

    fresh = lambda **more: {2: os.urandom(16)} | device.opening(**more)
    want(meet("version", raw_call(link, fresh() | {0: 2})).versions == [1], "versions supported")
    meet("critical", raw_call(link, fresh() | {-1: 1}))
    meet("malformed", raw_call(link, fresh() | {6: b"short"}))
    meet("malformed", raw_call(link, fresh() | {1: 99}))
    meet("too-large", raw_call(link, fresh() | {100: bytes(9000)}))
    want(raw_call(link, fresh() | {99: "later"})[0] == "challenge", "an unknown optional field was not passed over")
    meet("denied", raw_call(link, fresh() | {3: "nowhere"}))
    silent = fresh()
    link.mqtt.publish(link.topic("rq"), wire.encode({0: 1, 1: 1} | silent)[:-1], qos=0)
    link.mqtt.publish(link.topic("rq"), wire.encode({0: 1, 1: 1} | silent | {2: b"short"}), qos=0)
    want(raw_call(link, fresh())[0] == "challenge" and link.replies.empty(), "an answer to bytes that are no message")

    device.enroll(link, w.token)
    expect("denied", lambda: device.authenticate(link, scope="all"))
    expect("denied", lambda: device.authenticate(link, audience="others"))
    device.client = "no-such-client"
    expect("denied", lambda: device.authenticate(link))
    device.client = None
    other = w.device()
    expect("exists", lambda: other.enroll(link, w.token))
    met["exists"] = 1
    replay(device, link, meet)
    open_grant(device, link, meet)
    link.close()
    return {"met": met}


def replay(device, link, meet):
    """An opening message twice, one of the two challenges answered twice."""
    fields = device.opening()
    raw = wire.write_message("start", device.call_id, fields)
    challenges = [link.call(device.call_id, raw)[1] for _ in range(2)]
    want(challenges[0][4] != challenges[1][4], "one nonce twice")
    device.opened = raw
    device.said.add(raw)
    device.said.add(challenges[0][4])
    answer = device.answer(challenges[0], None, False)
    mixed = wire.encode(wire.decode(answer) | {3: challenges[1][3]})
    meet("denied", link.call(device.call_id, mixed))  # the proof is bound to the challenge
    device.said.add(answer)
    kind, m = link.call(device.call_id, answer)
    want(kind == "grant", f"{kind}, want the grant")
    device.accept(m, False)
    meet("replayed", link.call(device.call_id, answer))


def open_grant(device, link, meet):
    """TLS ends in signetd here, but only a device that names its connection rightly may ask for an open grant."""
    for name in ({}, {16: os.urandom(32)}):
        fields = device.opening() | name
        del fields[7]
        meet("denied", link.call(device.call_id, wire.write_message("start", device.call_id, fields)))


def operated(w):
    """What an operator does to a device: approve, disable, enable, end its sessions."""
    link, device = w.stranger(), w.device()
    expect("pending", lambda: device.enroll(link, w.token))
    expect("pending", lambda: device.authenticate(link))
    operator("approve")
    device.authenticate(link)
    link.close()
    link = w.itself(device, v5=True)
    password = tok.b64(link.password["access"])
    operator("disable")
    kind, m = wire.read_message(link.events.get(timeout=GIVE_UP))
    want(kind == "event" and m[2] == bytes(16) and m[3] == "disabled", f"told {m}")
    code = link.ended.get(timeout=GIVE_UP)
    want(code in (0x98, 7), f"ended with {code}")  # paho 1.6 reads no reason that comes without properties: 7, lost
    want(w.connect(w.full, w.full, password).code != 0, "a disabled device was let in")
    link = w.stranger()
    expect("disabled", lambda: device.authenticate(link))
    expect("disabled", lambda: device.refresh(link))
    operator("enable")
    device.authenticate(link)
    link.close()
    want(w.connect(w.full, w.full, password).code != 0, "a password from before was taken")
    link = w.itself(device, v5=True)
    time.sleep(1.1)  # times are whole seconds
    operator("revoke")
    _, m = wire.read_message(link.events.get(timeout=GIVE_UP))
    want(m[3] == "reauthenticate", f"told {m}")
    link.ended.get(timeout=GIVE_UP)
    link = w.stranger()
    expect("denied", lambda: device.refresh(link))
    device.authenticate(link)
    link.close()
    return {}


def main():
    scenarios = {f.__name__: f for f in (life, web, doubled, psk, hook, refusals, operated)}
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("scenario", choices=scenarios)
    p.add_argument("--broker", required=True, help="host:port")
    p.add_argument("--web", help="host:port of HTTPS, for MQTT over WebSocket")
    p.add_argument("--ca", required=True, help="PEM file with the broker's root")
    p.add_argument("--pool", required=True)
    p.add_argument("--name", required=True)
    p.add_argument("--token", required=True, help="enrollment token")
    p.add_argument("--ed25519", action="store_true", help="an Ed25519 key in place of P-256")
    p.add_argument("--psk", help="shared key in hex")
    args = p.parse_args()
    print(json.dumps(scenarios[args.scenario](World(args)) | {"done": args.scenario}))


if __name__ == "__main__":
    main()
