"""An independent Signet client: enrols, authenticates and refreshes over MQTT/TLS.

    python3 client.py --broker localhost:8883 --ca root.pem --pool demo --name lamp-1 --token sgne_...

Written from docs/protocol.md and the vectors. Needs python3-cryptography and
python3-paho-mqtt. Prints what happened as one JSON object.
"""
import argparse
import hashlib
import json
import os
import queue
import ssl
import sys
import time

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import signet_token as tok
import signet_wire as wire

RESEND = 5  # seconds
GIVE_UP = 30


class Refusal(Exception):
    def __init__(self, problem):
        detail = problem[60001]
        self.code = wire.CODES.get(detail.get(0, 0), "internal")
        self.retry_after, self.tries_left, self.versions = detail.get(1, 0), detail.get(2, 0), detail.get(3)
        super().__init__(f"{self.code}: {problem.get(-1, '')}")


class Link:
    """One MQTT connection with the client's three topics."""

    def __init__(self, host, port, ca, client_id, user=None, password=None, v5=False):
        self.replies, self.events, self.messages, self.ready, self.acks = (queue.Queue() for _ in range(5))
        self.id = client_id
        self.mqtt = mqtt.Client(client_id, protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311, **({} if v5 else {"clean_session": True}))
        self.mqtt.tls_set(ca_certs=ca, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if user:
            self.mqtt.username_pw_set(user, password)
        self.mqtt.on_connect = lambda *a: self.ready.put(getattr(a[3], "value", a[3]))
        self.mqtt.on_subscribe = lambda *a: self.acks.put(a[3])
        self.mqtt.on_message = self._message
        self.mqtt.reconnect_delay_set(3600, 3600)
        self.mqtt.connect(host, port, keepalive=60)
        self.mqtt.loop_start()
        self.code = self.ready.get(timeout=GIVE_UP)
        if self.code == 0:
            self.subscribe(self.topic("rs"))
            self.subscribe(self.topic("ev"))

    def topic(self, leaf):
        return f"signet/v1/{self.id}/{leaf}"

    def subscribe(self, name):
        """Says whether the broker let us."""
        self.mqtt.subscribe(name)
        code = self.acks.get(timeout=GIVE_UP)[0]
        return getattr(code, "value", code) < 0x80

    def _message(self, _client, _data, m):
        where = {self.topic("rs"): self.replies, self.topic("ev"): self.events}.get(m.topic, self.messages)
        where.put(m.payload if where is not self.messages else (m.topic, m.payload))

    def call(self, call_id, raw):
        """Sends the same bytes again until the reply of the same call comes."""
        end = time.monotonic() + GIVE_UP
        while time.monotonic() < end:
            self.mqtt.publish(self.topic("rq"), raw, qos=0)
            again = time.monotonic() + RESEND
            while (left := again - time.monotonic()) > 0:
                try:
                    kind, m = wire.read_message(self.replies.get(timeout=left))
                except queue.Empty:
                    break
                if m[2] == call_id:
                    return kind, m
        raise TimeoutError("no reply")

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


class Device:
    """A device's identity and what it must not forget."""

    def __init__(self, pool, name, private):
        self.pool, self.name, self.private = pool, name, private
        self.pin = self.anchor = self.statement = self.subject = self.session = self.refresh_token = None
        self.issued = 0

    def opening(self, **more):
        self.nonce, self.ephemeral, self.call_id = os.urandom(16), X25519PrivateKey.generate(), os.urandom(16)
        self.issuer, self.said = None, wire.Transcript()
        known = hashlib.sha256(self.statement).digest()[:8] if self.statement else None
        fields = {3: self.pool, 4: self.name, 6: self.nonce, 7: wire.public_bytes(self.ephemeral), 12: known}
        return {k: v for k, v in (fields | more.get("fields", {})).items() if v is not None}

    def enrol(self, link, token=None):
        if token:
            self.pin = token.pin
        fields = self.opening(fields={12: None, 13: tok.key_of(self.private).cose, 14: token.id if token else None})
        return self.converse(link, wire.write_message("enrol", self.call_id, fields), token, first=True)

    def authenticate(self, link, **fields):
        fields = self.opening(fields={8: fields.get("format"), 9: fields.get("audience")})
        return self.converse(link, wire.write_message("start", self.call_id, fields))

    def converse(self, link, raw, token=None, first=False):
        self.said.add(raw)
        for _ in range(16):
            kind, m = link.call(self.call_id, raw)
            if kind == "refusal":
                raise Refusal(m[3])
            if kind == "grant":
                return self.accept(m, first)
            if kind != "challenge":
                raise ValueError(f"unexpected {kind}")
            raw = self.answer(m, token, first)
            self.said.add(raw)
        raise ValueError("too many rounds")

    def answer(self, m, token, first):
        body = wire.read_body("challenge-body", m[4])
        if self.issuer not in (None, body[3]):
            raise ValueError("issuer changed")
        self.issuer = body[3]
        self.said.add(m[4])
        if body[1] != ("enrol" if first else "key"):
            raise ValueError(f"challenge {body[1]}")
        fields = {3: m[3], 4: tok.sign(self.private, self.said.proof_input(body[1]))}
        if body[1] == "enrol" and token:
            fields[6] = token.key.sign(self.said.proof_input("enrol-token"))
        return wire.write_message("answer", self.call_id, fields)

    def refresh(self, link):
        handle = hashlib.sha256(self.refresh_token).digest()
        body = wire.encode(self.opening(fields={13: self.session, 14: handle}))
        self.said.add(body)
        proof = tok.sign(self.private, self.said.proof_input("refresh"))
        kind, m = link.call(self.call_id, wire.write_message("refresh", self.call_id, {3: body, 4: proof}))
        if kind == "refusal":
            raise Refusal(m[3])
        return self.accept(m, False)

    def accept(self, m, first):
        """Believes a grant only after every check of docs/protocol.md, section 8."""
        if 3 not in m:
            raise ValueError("grant is not sealed")
        g = wire.read_body("grant-body", wire.unseal(self.ephemeral, b"signet grant v1", self.said.value, m[3]))
        anchor = tok.Key(g[12] if 12 in g and (first or not self.anchor) else self.anchor)
        if not self.pin or not anchor.thumbprint.startswith(self.pin):
            raise ValueError("not the pinned anchor")
        statement = g.get(11, self.statement)
        s = tok.open_statement(statement, anchor)
        if s["issued"] < self.issued or s["issuer"] != g[8] or self.issuer not in (None, g[8]):
            raise ValueError("key statement is old or another pool's")
        claims = tok.open_cwt(g[2], "id", s["find"])
        if claims[10] != self.nonce or claims[1] != g[8] or claims[2] != g[7]:
            raise ValueError("ID token is not for this call")
        if self.subject not in (None, g[7]):
            raise ValueError("subject changed")
        self.anchor, self.statement, self.subject, self.issued = anchor.cose, statement, g[7], s["issued"]
        self.session, self.refresh_token = g[4], g.get(3, self.refresh_token)
        return {"access": g[1], "life": g[5], "publish": g[9], "subscribe": g[10], "issuer": g[8], "find": s["find"], "made": claims[6]}


def expect(refusal, do):
    try:
        do()
    except Refusal as e:
        if e.code == refusal:
            return
        raise SystemExit(f"refused as {e.code}, want {refusal}")
    raise SystemExit(f"not refused, want {refusal}")


def round_trip(link, topic, payload):
    """Publishes to a topic that the grant allows and receives it back."""
    if not link.subscribe(topic):
        raise SystemExit(f"may not subscribe to {topic}")
    link.mqtt.publish(topic, payload, qos=1)
    if link.messages.get(timeout=GIVE_UP) != (topic, payload):
        raise SystemExit("another message came back")


def run(args):
    host, port = args.broker.rsplit(":", 1)
    connect = lambda client_id, *login, **how: Link(host, int(port), args.ca, client_id, *login, **how)
    private = Ed25519PrivateKey.generate() if args.ed25519 else ec.generate_private_key(ec.SECP256R1())
    device, full = Device(args.pool, args.name, private), f"{args.pool}:{args.name}"
    link = connect("anon-" + os.urandom(16).hex())
    g = device.enrol(link, wire.EnrolmentToken(args.token))
    access = tok.open_cwt(g["access"], "access", g["find"])
    if access[8][3] != tok.key_of(private).thumbprint[:16] or access[3] != args.pool or access[2] != device.subject:
        raise SystemExit("access token is not for this device")
    own = f"devices/{args.pool}/{args.name}/"
    round_trip(link, own + "up", b"on the connection that enrolled")
    if link.subscribe("devices/#") or link.subscribe(f"signet/v1/{full}x/rs"):
        raise SystemExit("subscribed to others' topics")
    device.enrol(link)  # the same key again, no token needed now
    old = device.refresh_token
    g = device.authenticate(link)
    first = device.refresh_token
    g = device.refresh(link)
    rotated = device.refresh_token != first
    device.refresh_token, newest = first, device.refresh_token
    device.refresh(link)  # within the grace: the same successor again
    same = device.refresh_token == newest
    link.close()
    link = connect(full, full, tok.b64(g["access"]), v5=True)
    if link.code != 0:
        raise SystemExit(f"not let in with the token: {link.code}")
    round_trip(link, own + "up", b"as itself")
    jwt = device.authenticate(link, format=1)["access"].decode()
    link.close()
    link = connect(full + "/2", full, jwt)
    round_trip(link, own + "up", b"a second connection, with a JWT")
    stranger = Device(args.pool, args.name, ec.generate_private_key(ec.SECP256R1()))
    stranger.pin = device.pin
    expect("denied", lambda: stranger.authenticate(link))
    unknown = Device(args.pool, args.name + "-unknown", private)
    expect("denied", lambda: unknown.authenticate(link))
    device.refresh_token = os.urandom(32)
    expect("denied", lambda: device.refresh(link))
    device.refresh_token = newest
    expect("denied", lambda: device.refresh(link))  # the family has ended
    device.authenticate(link)
    link.close()
    if connect(full, full, "no token").code == 0:
        raise SystemExit("let in without a token")
    print(json.dumps({"subject": device.subject.hex(), "issuer": g["issuer"], "life": g["life"], "rotated": rotated, "grace": same,
                      "new_session": old != first, "clock_offset": round(g["made"] - time.time()), "jwt": jwt}))
    if not rotated or not same:
        sys.exit(1)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--broker", required=True, help="host:port")
    p.add_argument("--ca", required=True, help="PEM file with the broker's root")
    p.add_argument("--pool", required=True)
    p.add_argument("--name", required=True)
    p.add_argument("--token", required=True, help="enrolment token")
    p.add_argument("--ed25519", action="store_true", help="an Ed25519 key in place of P-256")
    run(p.parse_args())


if __name__ == "__main__":
    main()
