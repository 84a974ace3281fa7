"""Signet's device protocol on the wire: CBOR, messages, transcript, sealing.

Written from docs/protocol.md and the vectors alone, to find out whether they
suffice. Python 3 and python3-cryptography.
"""
import base64
import hashlib
import hmac
import re

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CODES = {0: "internal", 1: "malformed", 2: "version", 3: "critical", 4: "denied", 5: "wrong-answer", 6: "expired",
         7: "replayed", 8: "disabled", 9: "pending", 10: "busy", 11: "too-large", 12: "exists", 13: "tries"}
TYPES = {1: "start", 2: "challenge", 3: "answer", 4: "grant", 5: "refusal", 6: "refresh", 7: "enroll", 8: "event"}
NUMBERS = {name: number for number, name in TYPES.items()}


class Refused(Exception):
    """A message that must be refused; call is None when nobody is answered."""

    def __init__(self, code, why, call=None):
        super().__init__(f"{code}: {why}")
        self.code, self.call = code, call


# CBOR ----------------------------------------------------------------------

def _head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")
    raise ValueError("integer too large")


def encode(v):
    if v is None or v is True or v is False:
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[v]
    if isinstance(v, int):
        return _head(0, v) if v >= 0 else _head(1, -1 - v)
    if isinstance(v, (bytes, bytearray)):
        return _head(2, len(v)) + bytes(v)
    if isinstance(v, str):
        raw = v.encode()
        return _head(3, len(raw)) + raw
    if isinstance(v, (list, tuple)):
        return _head(4, len(v)) + b"".join(map(encode, v))
    if isinstance(v, dict):
        pairs = sorted((encode(k), encode(x)) for k, x in v.items())
        return _head(5, len(pairs)) + b"".join(k + x for k, x in pairs)
    raise TypeError(type(v))


class _Decoder:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, n):
        if n > len(self.data) - self.pos:
            raise ValueError("cut short")
        out = self.data[self.pos:self.pos + n]
        self.pos += n
        return out

    def item(self, depth=1):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7 and info in (20, 21, 22):
            return {20: False, 21: True, 22: None}[info]
        if major > 5 or info > 27:
            raise ValueError("not used in this protocol")
        n = info
        if info > 23:
            size = 1 << (info - 24)
            n = int.from_bytes(self.take(size), "big")
            if n < (24 if size == 1 else 1 << 4 * size):
                raise ValueError("not in shortest form")
        if major in (0, 1):
            if n >= 1 << 63:
                raise ValueError("integer too large")
            return n if major == 0 else -1 - n
        if major == 2:
            return bytes(self.take(n))
        if major == 3:
            return bytes(self.take(n)).decode()
        if depth > 8 or n > 256:
            raise ValueError("too deep or too many members")
        if major == 4:
            return [self.item(depth + 1) for _ in range(n)]
        out, last = {}, b""
        for _ in range(n):
            at = self.pos
            key = self.item(depth + 1)
            raw = self.data[at:self.pos]
            if not isinstance(key, (int, bytes, str)) or isinstance(key, bool) or raw <= last:
                raise ValueError("bad, repeated or misplaced key")
            last, out[key] = raw, self.item(depth + 1)
        return out


def decode(data):
    d = _Decoder(data)
    v = d.item()
    if d.pos != len(data):
        raise ValueError("bytes after the item")
    return v


# Messages --------------------------------------------------------------------

def _bytes(n=None, most=None):
    return lambda v: isinstance(v, bytes) and (n is None or len(v) == n) and (most is None or 0 < len(v) <= most)


def _text(most=None, pattern=None):
    return lambda v: isinstance(v, str) and (most is None or len(v.encode()) <= most) and (pattern is None or re.fullmatch(pattern, v))


def _uint(most=1 << 32):
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v < most


def _texts(v):
    return isinstance(v, list) and all(isinstance(s, str) for s in v)


def _pairs(v):
    return isinstance(v, dict) and len(v) <= 16 and all(
        isinstance(k, str) and 1 <= len(k.encode()) <= 64 and isinstance(x, str) and len(x.encode()) <= 1024 for k, x in v.items())


def _opening(v):
    return isinstance(v, bytes) and len(v) <= 8 << 10 and read_message(v)[0] in ("start", "enroll")


POOL, NAME = r"[a-z][a-z0-9-]{0,31}", r"[A-Za-z0-9_:-]{1,128}"
REQUEST = {3: (True, _text(pattern=POOL)), 4: (True, _text(pattern=NAME)), 5: (False, _text(64)), 6: (True, _bytes(16)), 7: (False, _bytes(32)),
        8: (False, _uint(2)), 9: (False, _text(255)), 10: (False, _text(1024)), 11: (False, _pairs), 12: (False, _bytes(8)),
        16: (False, _bytes(32)), 17: (False, _uint(2))}
POOL_KEYS = {11: (False, _bytes()), 12: (False, _bytes()),
             14: (False, lambda v: isinstance(v, list) and len(v) <= 16 and all(isinstance(s, dict) and _fits("succession", s) for s in v))}
BODIES = {
    "start": REQUEST,
    "enroll": REQUEST | {13: (True, _bytes(most=1 << 14)), 14: (False, _bytes(8)), 15: (False, _pairs)},
    "challenge": {3: (True, _bytes(most=1536)), 4: (True, _bytes())},
    "answer": {3: (True, _bytes(most=1536)), 4: (False, _bytes()), 5: (False, _bytes()), 6: (False, _bytes()), 7: (True, _opening)},
    "refresh": {3: (True, _bytes()), 4: (True, _bytes(most=1 << 14))},
    "grant": {3: (False, _bytes()), 4: (False, _bytes())},
    "refusal": {3: (True, lambda v: isinstance(v, dict) and _fits("problem", v))},
    "problem": {-1: (False, _text()), -2: (False, _text()), -4: (False, _uint(256)), 60001: (True, lambda v: isinstance(v, dict) and _fits("detail", v))},
    "detail": {0: (True, _uint(256)), 1: (False, _uint()), 2: (False, _uint(256)), 3: (False, lambda v: isinstance(v, list) and all(map(_uint(), v)))},
    "event": {3: (True, _text())},
    "challenge-body": {1: (True, lambda v: _text(64)(v) and v), 2: (True, _bytes(32)), 3: (True, lambda v: _text()(v) and v),
                       4: (False, _pairs), 5: (False, _bytes(32))} | POOL_KEYS,
    "refresh-body": REQUEST | {13: (True, _bytes(16)), 14: (True, _bytes(32))},
    "grant-body": {1: (True, _bytes(most=1 << 14)), 2: (True, _bytes(most=1 << 14)), 3: (False, _bytes(32)), 4: (True, _bytes(16)), 5: (True, _uint()),
                   6: (False, _uint()), 7: (True, _bytes(16)), 8: (True, lambda v: _text()(v) and v), 9: (True, _texts), 10: (True, _texts),
                   13: (False, _bytes()), 15: (False, lambda v: isinstance(v, bool))} | POOL_KEYS,
    "succession": {1: (True, _bytes()), 2: (True, _bytes())},
    "connect-proof": {1: (True, _bytes(most=7 << 10)), 2: (True, _bytes(32)), 3: (True, lambda v: isinstance(v, bytes) and len(v) in (32, 64))},
}


def _check(rule, fields):
    for key, (required, ok) in BODIES[rule].items():
        if key not in fields:
            if required:
                raise ValueError(f"{rule} without key {key}")
        elif not required and fields[key] in (b"", "", [], {}):
            raise ValueError(f"{rule}: key {key} is empty")
        elif not ok(fields[key]):
            raise ValueError(f"{rule}: key {key} does not fit")
    if rule == "answer" and 4 not in fields and 5 not in fields:
        raise ValueError("answer with neither proof nor secret")
    if rule == "answer" and read_message(fields[7])[1][2] != fields[2]:
        raise ValueError("answer repeats another call's opening message")
    if rule in ("start", "enroll", "refresh-body") and fields.get(17) == 1 and 9 in fields:
        raise ValueError("an MQTT password has an audience of its own")
    if rule == "connect-proof" and set(fields) != {1, 2, 3}:
        raise ValueError("connect-proof with other members")
    if rule == "grant" and (3 in fields) == (4 in fields):
        raise ValueError("grant neither or both sealed and open")


def _fits(rule, fields):
    _check(rule, fields)
    return True


def read_body(rule, data):
    """Decodes a map inside a message."""
    if rule == "connect-proof" and len(data) > 7 << 10:
        raise Refused("too-large", len(data))
    try:
        fields = decode(data)
        _check(rule, fields)
    except (ValueError, AttributeError, TypeError) as e:
        raise Refused("malformed", e) from None
    return fields


def read_message(data):
    """Decodes a message: its type's name and its fields."""
    if len(data) > 16 << 10:
        raise Refused("too-large", len(data))
    try:
        m = decode(data)
        if not isinstance(m, dict):
            raise ValueError("not a map")
    except ValueError as e:
        raise Refused("malformed", e) from None
    call = m.get(2)
    if not isinstance(call, bytes) or len(call) != 16:
        raise Refused("malformed", "no call id")
    if not all(_uint(1 << 63)(m.get(key, 0)) for key in (0, 1)):
        raise Refused("malformed", "version or type is no number")
    if m.get(0) != 1:
        raise Refused("version", m.get(0), call)
    kind = TYPES.get(m.get(1))
    if kind is None:
        raise Refused("malformed", "unknown type", call)
    if kind not in ("enroll", "answer") and len(data) > 8 << 10:
        raise Refused("too-large", len(data), call)
    if any(not isinstance(k, int) or k < 0 for k in m):
        raise Refused("critical", "unknown critical key", call)
    try:
        _check(kind, m)
    except (ValueError, Refused) as e:
        raise Refused("malformed", e, call) from None
    return kind, m


def write_message(kind, call, fields):
    return encode({0: 1, 1: NUMBERS[kind], 2: call} | {k: v for k, v in fields.items() if v is not None})


# Transcript, proofs, enrollment token -----------------------------------------

class Transcript:
    def __init__(self):
        self.value = hashlib.sha256(b"signet-v1").digest()

    def add(self, data):
        self.value = hashlib.sha256(self.value + len(data).to_bytes(4, "big") + data).digest()
        return self.value

    def proof_input(self, purpose):
        return encode(["signet-proof-v1", purpose, self.value])


def _hkdf_extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def _hkdf_expand(prk, info, n):
    out, block, i = b"", b"", 1
    while len(out) < n:
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out, i = out + block, i + 1
    return out[:n]


class EnrollmentToken:
    def __init__(self, text):
        m = re.fullmatch(r"sgne_([A-Za-z0-9_-]{59})", text.strip())
        if not m:
            raise ValueError("not an enrollment token, or cut short")
        raw = base64.urlsafe_b64decode(m[1] + "=")
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") != m[1]:
            raise ValueError("stray bits at the end")
        self.id, self.seed, self.pin = raw[:8], raw[8:28], raw[28:]
        self.key_seed = _hkdf_expand(_hkdf_extract(b"", self.seed), b"signet enrollment token v1", 32)
        self.key = Ed25519PrivateKey.from_private_bytes(self.key_seed)


# HPKE, RFC 9180 base mode ------------------------------------------------------

_KEM, _SUITE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x01"


def _extract(suite, salt, label, ikm):
    return _hkdf_extract(salt, b"HPKE-v1" + suite + label + ikm)


def _expand(suite, prk, label, info, n):
    return _hkdf_expand(prk, n.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, n)


def public_bytes(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_schedule(dh, enc, recipient, info):
    shared = _expand(_KEM, _extract(_KEM, b"", b"eae_prk", dh), b"shared_secret", enc + recipient, 32)
    context = b"\x00" + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    secret = _extract(_SUITE, shared, b"secret", b"")
    return shared, _expand(_SUITE, secret, b"key", context, 16), _expand(_SUITE, secret, b"base_nonce", context, 12)


def seal(recipient, info, aad, plain, ephemeral=None):
    ephemeral = ephemeral or X25519PrivateKey.generate()
    enc = public_bytes(ephemeral)
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    _, key, nonce = key_schedule(dh, enc, recipient, info)
    return enc + AESGCM(key).encrypt(nonce, plain, aad)


def unseal(private, info, aad, sealed):
    enc = sealed[:32]
    dh = private.exchange(X25519PublicKey.from_public_bytes(enc))
    _, key, nonce = key_schedule(dh, enc, public_bytes(private), info)
    return AESGCM(key).decrypt(nonce, sealed[32:], aad)
