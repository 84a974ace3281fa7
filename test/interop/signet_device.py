"""A device: its connection, its identity, and the calls that it makes.

Written from docs/protocol.md and the vectors alone, to find out whether they
suffice. Needs python3-cryptography and python3-paho-mqtt.
"""
import hashlib
import hmac
import os
import queue
import ssl
import time

import paho.mqtt.client as mqtt
from cryptography.exceptions import InvalidTag
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


class Unbelievable(Exception):
    """A grant that somebody else may have made, and the check that says so."""

    def __init__(self, failure, why):
        super().__init__(f"{failure}: {why}")
        self.failure = failure


class Link:
    """One MQTT connection with the client's three topics, over TLS or WebSocket."""

    def __init__(self, host, port, ca, client_id, user=None, password=None, v5=False, web=False, copies=1):
        self.replies, self.events, self.messages, self.ready, self.acks, self.ended = (queue.Queue() for _ in range(6))
        self.id, self.copies = client_id, copies  # copies of each request, as a network makes them
        self.mqtt = mqtt.Client(client_id, protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311, transport="websockets" if web else "tcp",
                                **({} if v5 else {"clean_session": True}))
        if web:
            self.mqtt.ws_set_options(path="/mqtt")
        self.mqtt.tls_set(ca_certs=ca, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if user:
            self.mqtt.username_pw_set(user, password)
        self.mqtt.on_connect = lambda *a: self.ready.put(getattr(a[3], "value", a[3]))
        self.mqtt.on_subscribe = lambda *a: self.acks.put(a[3])
        self.mqtt.on_message = self._message
        self.mqtt.on_disconnect = lambda *a: self.ended.put(getattr(a[2], "value", a[2]))
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

    def call(self, call_id, raw, give_up=GIVE_UP, late=lambda kind, m: False):
        """Sends the same bytes again until a reply of the same call comes that is not late."""
        end = time.monotonic() + give_up
        while time.monotonic() < end:
            for _ in range(self.copies):
                self.mqtt.publish(self.topic("rq"), raw, qos=0)
            again = time.monotonic() + RESEND
            while (left := again - time.monotonic()) > 0:
                try:
                    kind, m = wire.read_message(self.replies.get(timeout=min(left, give_up)))
                except queue.Empty:
                    break
                if m[2] == call_id and not late(kind, m):
                    return kind, m
        raise TimeoutError("no reply")

    def listen(self, call_id, seconds):
        """Gives what else comes for the call, without asking again."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                kind, m = wire.read_message(self.replies.get(timeout=left))
            except queue.Empty:
                break
            if m[2] == call_id:
                yield kind, m

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


class Device:
    """A device's identity and what it must not forget. private is a key or, as
    bytes, a shared key; solve answers custom challenges, by kind and parameters."""

    def __init__(self, pool, name, private, client=None, solve=None):
        self.pool, self.name, self.private, self.client, self.solve = pool, name, private, client, solve
        self.pin = self.token_pin = self.anchor = self.statement = self.subject = self.session = self.refresh_token = None
        self.issued, self.refusals = (0, 0), []

    @property
    def kind(self):
        return "psk" if isinstance(self.private, bytes) else "key"

    def prove_secret(self, sealed):
        """Proves that the device itself gave an answer: the transcript goes on with what is sealed."""
        value = self.said.value
        self.said.add(sealed)
        proof = self.prove("answer")
        self.said.value = value
        return proof

    def prove(self, purpose):
        data = self.said.proof_input(purpose)
        return hmac.new(self.private, data, hashlib.sha256).digest() if self.kind == "psk" else tok.sign(self.private, data)

    def opening(self, **more):
        self.nonce, self.ephemeral, self.call_id = os.urandom(16), X25519PrivateKey.generate(), os.urandom(16)
        self.issuer, self.said = None, wire.Transcript()
        known = hashlib.sha256(self.statement).digest()[:8] if self.statement else None
        fields = {3: self.pool, 4: self.name, 5: self.client, 6: self.nonce, 7: wire.public_bytes(self.ephemeral), 12: known}
        return {k: v for k, v in (fields | more.get("fields", {})).items() if v is not None}

    def enroll(self, link, token=None, attributes=None):
        self.pin, self.token_pin = self.pin or token and token.pin, token and token.pin
        fields = self.opening(fields={12: None, 13: tok.key_of(self.private).cose, 14: token.id if token else None, 15: attributes})
        return self.converse(link, wire.write_message("enroll", self.call_id, fields), token, first=True)

    def authenticate(self, link, **ask):
        fields = self.opening(fields={8: ask.get("format"), 17: ask.get("want"), 9: ask.get("audience"), 10: ask.get("scope"), 11: ask.get("metadata")})
        return self.converse(link, wire.write_message("start", self.call_id, fields))

    def converse(self, link, raw, token=None, first=False):
        self.opened = raw
        self.said.add(raw)
        asked, heard, proofs = None, set(), 0

        def late(kind, m):
            """What came before in this call, or answers an opening message that came twice."""
            nonlocal proofs
            before = len(heard)
            heard.add(wire.encode(m))
            if len(heard) == before:
                return True
            if kind == "challenge" and wire.read_body("challenge-body", m[4])[1] in ("key", "psk", "enroll"):
                proofs += 1
                return 1 < proofs < 5
            return False

        for _ in range(16):
            kind, m = link.call(self.call_id, raw, late=late)
            if kind == "refusal":
                refusal = Refusal(m[3])
                if refusal.code == "replayed":  # it may have overtaken the grant
                    for kind, m in link.listen(self.call_id, 2):
                        if kind == "grant":
                            return self.accept(m, first)
                if refusal.code != "wrong-answer" or not refusal.tries_left or not asked:
                    raise refusal
                self.refusals.append(refusal.tries_left)
                self.said.value = before  # what was refused does not count
            elif kind == "grant":
                return self.accept(m, first)
            elif kind == "challenge":
                asked = m
                self.said.add(m[4])
                before = self.said.value
            else:
                raise ValueError(f"unexpected {kind}")
            raw = self.answer(asked, token, first)
            self.said.add(raw)
        raise ValueError("too many rounds")

    def answer(self, m, token, first):
        """Answers a challenge with which the transcript ends."""
        body = wire.read_body("challenge-body", m[4])
        if self.issuer not in (None, body[3]):
            raise ValueError("issuer changed")
        self.issuer = body[3]
        if body[1] not in ("key", "psk", "enroll"):
            secret = self.secret(body, first)
            return wire.write_message("answer", self.call_id, {3: m[3], 4: self.prove_secret(secret), 5: secret, 7: self.opened})
        if body[1] == "enroll" and not first or body[1] != "enroll" and body[1] != self.kind:
            raise ValueError(f"challenge {body[1]}")
        fields = {3: m[3], 4: self.prove(body[1]), 7: self.opened}
        if body[1] == "enroll" and token:
            fields[6] = token.key.sign(self.said.proof_input("enroll-token"))
        return wire.write_message("answer", self.call_id, fields)

    def secret(self, body, first):
        """The answer to a custom challenge, sealed to the pool's own key."""
        if body.get(5) != self.believe(body, body[3], first)[3]["answer_key"]:
            raise ValueError("somebody else's answer key")
        return wire.seal(body[5], b"signet answer v1", self.said.value, self.solve(body[1], body.get(4, {})))

    def refresh(self, link):
        handle = hashlib.sha256(self.refresh_token).digest()
        body = wire.encode(self.opening(fields={13: self.session, 14: handle}))
        self.said.add(body)
        kind, m = link.call(self.call_id, wire.write_message("refresh", self.call_id, {3: body, 4: self.prove("refresh")}))
        if kind == "refusal":
            raise Refusal(m[3])
        return self.accept(m, False)

    def believe(self, body, issuer, first):
        """The anchor, its pin, and the key statement to use, from what a grant or challenge brings."""
        raw, pin = self.anchor or body.get(12), self.pin
        try:
            anchor = tok.follow(pin, body.get(14, []))
            if anchor:
                pin = anchor.thumbprint[:16]
            elif raw is None:
                raise Unbelievable("anchor", "none")
            else:
                anchor = tok.Key(raw)
        except (tok.BadToken, ValueError, TypeError, AttributeError, KeyError) as e:
            raise Unbelievable("anchor", e) from None
        if not pin or not anchor.thumbprint.startswith(pin):
            raise Unbelievable("anchor", "not the pinned one")
        if first and self.token_pin and not self.leads(self.token_pin, body, anchor):
            raise Unbelievable("anchor", "not the token's")
        statement = body.get(11, self.statement)
        if statement is None:
            raise Unbelievable("statement", "none")
        try:
            s = tok.open_statement(statement, anchor)
        except (tok.BadToken, ValueError, TypeError, KeyError) as e:
            raise Unbelievable("statement", e) from None
        if s["issued"] < self.issued or s["issuer"] != issuer or self.issuer not in (None, issuer):
            raise Unbelievable("statement", "old or another issuer's")
        return anchor, pin, statement, s

    @staticmethod
    def leads(pin, body, anchor):
        """Whether the anchor that begins with pin has become this one."""
        last = tok.follow(pin, body.get(14, []))
        return last.thumbprint == anchor.thumbprint if last else anchor.thumbprint.startswith(pin)

    def accept(self, m, first):
        """Believes a grant only after every check of docs/protocol.md, section 8."""
        g = self.unseal(m)
        anchor, pin, statement, s = self.believe(g, g[8], first)
        try:
            claims = tok.open_cwt(g[2], "id", s["find"])
        except (tok.BadToken, ValueError) as e:
            raise Unbelievable("id-token", e) from None
        if claims.get(10) != self.nonce or claims.get(1) != g[8] or claims[2] != g[7] or not first and self.subject not in (None, g[7]):
            raise Unbelievable("id-token", "not for this call or device")
        self.anchor, self.pin, self.statement, self.subject, self.issued = anchor.cose, pin, statement, g[7], s["issued"]
        self.session, self.refresh_token = g[4], g.get(3, self.refresh_token)
        return {"access": g[1], "life": g[5], "publish": g[9], "subscribe": g[10], "issuer": g[8], "find": s["find"], "made": claims[6]}

    def unseal(self, m):
        if 3 not in m:
            raise Unbelievable("sealing", "open")
        try:
            plain = wire.unseal(self.ephemeral, b"signet grant v1", self.said.value, m[3])
        except (InvalidTag, ValueError) as e:
            raise Unbelievable("sealing", e) from None
        try:
            return wire.read_body("grant-body", plain)
        except wire.Refused as e:
            raise Unbelievable("body", e) from None
