"""COSE keys, CWTs and the key statement, read as docs/protocol.md says."""
import base64
import hashlib
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signet_wire import decode, encode

ALGS = {-7: "ES256", -8: "EdDSA", -257: "RS256"}
TYPS = {"access": (65001, "application/signet-at+cwt"), "id": (65002, "application/signet-id+cwt"), "keys": (65003, "application/signet-keys+cwt"),
        "anchor": (65004, "application/signet-anchor+cwt"), "mqtt": (65005, "application/signet-mqtt+cwt")}
KNOWN_CLAIMS = range(-65544, -65536)
SMALL_ORDER = {0, 1, 2**255 - 20}


class BadToken(Exception):
    def __init__(self, failure, why=""):
        super().__init__(f"{failure} {why}")
        self.failure = failure


def b64(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Key:
    """A public COSE_Key: P-256, Ed25519 or RSA."""

    def __init__(self, raw):
        self._read(decode(raw) if isinstance(raw, bytes) else raw)
        self.cose = encode(self.members)
        self.thumbprint = hashlib.sha256(self.cose).digest()
        self.kid = self.thumbprint[:4]
        self.jwt_kid = b64(hashlib.sha256(json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()).digest())

    def _read(self, m):
        kty, crv, x = m.get(1), m.get(-1), m.get(-2)
        if any(k < 0 and k not in (-1, -2, -3) for k in m):
            raise ValueError("private or unknown member")
        if kty == 2 and crv == 1:
            y = m.get(-3)
            if not isinstance(x, bytes) or not isinstance(y, bytes) or len(x) != 32 or len(y) != 32:
                raise ValueError("coordinates")
            self.public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
            self.alg, self.members = -7, {1: 2, -1: 1, -2: x, -3: y}
            self.jwk = {"crv": "P-256", "kty": "EC", "x": b64(x), "y": b64(y)}
        elif kty == 1 and crv == 6 and -3 not in m:
            if not isinstance(x, bytes) or len(x) != 32 or int.from_bytes(x, "little") & ~(1 << 255) in SMALL_ORDER:
                raise ValueError("Ed25519 key")
            self.public = Ed25519PublicKey.from_public_bytes(x)
            self.alg, self.members = -8, {1: 1, -1: 6, -2: x}
            self.jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(x)}
        elif kty == 3 and isinstance(crv, bytes) and isinstance(x, bytes) and -3 not in m:
            n, e = int.from_bytes(crv, "big"), int.from_bytes(x, "big")
            if not 2048 <= n.bit_length() <= 4096:
                raise ValueError("RSA modulus")
            self.public = rsa.RSAPublicNumbers(e, n).public_key()
            self.alg, self.members = -257, {1: 3, -1: crv, -2: x}
            self.jwk = {"e": b64(x), "kty": "RSA", "n": b64(crv)}
        else:
            raise ValueError("none of P-256, Ed25519, RSA")
        if m.get(3, self.alg) != self.alg:
            raise ValueError("alg of another key")

    def verify(self, msg, sig):
        try:
            if self.alg == -7:
                if len(sig) != 64:
                    return False
                der = encode_dss_signature(int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:], "big"))
                self.public.verify(der, msg, ec.ECDSA(hashes.SHA256()))
            elif self.alg == -8:
                self.public.verify(sig, msg)
            else:
                self.public.verify(sig, msg, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True


def key_of(private):
    """The COSE_Key of a device's private key."""
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        return Key({1: 1, -1: 6, -2: public.public_bytes(Encoding.Raw, PublicFormat.Raw)})
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return Key({1: 2, -1: 1, -2: point[1:33], -3: point[33:]})


def sign(private, msg):
    if isinstance(private, Ed25519PrivateKey):
        return private.sign(msg)
    r, s = decode_dss_signature(private.sign(msg, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def open_sign1(raw, use, find):
    """Checks a COSE_Sign1 of the given use and gives its payload's bytes."""
    try:
        if raw[:1] != b"\xd2":
            raise ValueError("no tag 18")
        parts = decode(raw[1:])
        protected, unprotected, payload, sig = parts
        if [type(p) for p in parts] != [bytes, dict, bytes, bytes]:
            raise ValueError("not a COSE_Sign1")
        header = decode(protected)
    except (ValueError, TypeError) as e:
        raise BadToken("malformed", e) from None
    if set(unprotected) != {4} or not set(header) <= {1, 16} or 1 not in header:
        raise BadToken("header")
    if header.get(16) not in TYPS[use]:
        raise BadToken("type", header.get(16))
    key = find(unprotected[4])
    if key is None:
        raise BadToken("unknown-key")
    if key.alg != header[1]:
        raise BadToken("algorithm")
    if not key.verify(encode(["Signature1", protected, b"", payload]), sig):
        raise BadToken("signature")
    return payload


def open_cwt(raw, use, find):
    """Gives a CWT's claims; time, audience and issuer are the caller's to check."""
    claims = decode(open_sign1(raw, use, find))
    if any(k < 0 and k not in KNOWN_CLAIMS for k in claims):
        raise BadToken("claims", "unknown critical claim")
    for label in (2, 3, 4) + {"access": (7, 8), "mqtt": (7,)}.get(use, (6,)):
        if label not in claims:
            raise BadToken("claims", label)
    return claims


def key_set(raw):
    keys = [Key(m) for m in (decode(raw) if isinstance(raw, bytes) else raw)]
    by_kid = {k.kid: k for k in keys}
    if len(by_kid) != len(keys):
        raise ValueError("two keys with one kid")
    return by_kid.get


def open_statement(raw, anchor):
    """Gives issuer, find, answer key and age (epoch, then milliseconds) of the pool's word about its keys."""
    s = decode(open_sign1(raw, "keys", lambda kid: anchor))
    return {"issuer": s[1], "find": key_set(s[2]), "answer_key": s.get(3), "issued": (s.get(5, 0), s[4])}


def follow(pin, successions):
    """Gives the anchor that took the pinned one's place in the end, None if it is the pool's still."""
    anchor = None
    for s in successions:
        old = Key(s[1])
        if old.thumbprint.startswith(pin):
            anchor = Key(decode(open_sign1(s[2], "anchor", lambda kid: old))[1])
            pin = anchor.thumbprint
    return anchor
