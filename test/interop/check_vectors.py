"""Holds this client against protocol/vectors: python3 check_vectors.py FOLDER"""
import base64
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import signet_token as tok
import signet_wire as wire
from signet_device import Device, Unbelievable

ISSUED = 1790000000  # where the vectors' clock stands


class Check:
    def __init__(self):
        self.done, self.failed = 0, []

    def that(self, ok, what):
        self.done += 1
        if not ok:
            self.failed.append(what)


def unfield(f):
    value = f["value"]
    if f["type"] == "bytes":
        return bytes.fromhex(value)
    if f["type"] == "maps":
        return [{x["key"]: unfield(x) for x in element} for element in value]
    return {x["key"]: unfield(x) for x in value} if f["type"] == "map" else value


def messages(c, f):
    for v in f["valid"]:
        raw, fields = bytes.fromhex(v["hex"]), {x["key"]: unfield(x) for x in v["fields"]}
        try:
            got = wire.read_body(v["what"], raw) if v["what"] not in wire.NUMBERS else wire.read_message(raw)[1]
        except wire.Refused as e:
            c.that(False, f"{v['name']}: {e}")
            continue
        c.that(got == fields, f"{v['name']}: other fields")
        c.that(wire.encode(fields) == raw, f"{v['name']}: encodes to other bytes")
    for v in f["invalid"]:
        raw = bytes.fromhex(v["hex"])
        try:
            wire.read_message(raw) if v["what"] == "message" else wire.read_body(v["what"], raw)
            c.that(False, f"{v['name']}: accepted")
        except wire.Refused as e:
            c.that(e.code == v["code"] and wire.CODES[v["number"]] == e.code, f"{v['name']}: {e}, want {v['code']}")
            if v["what"] == "message":
                c.that((e.call.hex() if e.call else "") == v["call"], f"{v['name']}: another call is refused")


def enrollment(c, f):
    for v in f["valid"]:
        t = wire.EnrollmentToken(v["text"])
        got = (t.id, t.seed, t.pin, t.key_seed, t.key.public_key().public_bytes_raw() if hasattr(t.key.public_key(), "public_bytes_raw") else wire.public_bytes(t.key))
        c.that([x.hex() for x in got] == [v[k] for k in ("id", "seed", "pin", "ed25519_seed", "ed25519_public")], v["text"])
    for v in f["invalid"]:
        try:
            wire.EnrollmentToken(v["text"])
            c.that(False, f"{v['name']}: accepted")
        except ValueError:
            c.that(True, "")


def keys(c, f):
    for v in f["valid"]:
        k = tok.Key(bytes.fromhex(v["cose_key"]))
        got = (k.thumbprint.hex(), k.kid.hex(), k.jwt_kid, tok.ALGS[k.alg], k.cose.hex())
        c.that(got == (v["thumbprint"], v["cwt_kid"], v["jwt_kid"], v["alg"], v["cose_key"]), f"key {v['name']}")
    for v in f["invalid"]:
        try:
            tok.Key(bytes.fromhex(v["cose_key"]))
            c.that(False, f"key with {v['name']}: accepted")
        except (ValueError, KeyError):
            c.that(True, "")


def read_cwt(v, f, find, anchor):
    raw = bytes.fromhex(v["token"])
    if v["class"] == "keys":
        return tok.open_statement(raw, anchor)
    if v["class"] == "anchor":
        return tok.decode(tok.open_sign1(raw, "anchor", lambda kid: anchor))
    claims = tok.open_cwt(raw, v["class"], find)
    if v["class"] == "access" and claims[3] != f["audience"]:
        raise tok.BadToken("audience")
    if claims[4] <= ISSUED:
        raise tok.BadToken("expired")
    return claims


def tokens(c, f):
    find, anchor = tok.key_set(bytes.fromhex(f["cose_keys"])), tok.Key(bytes.fromhex(f["anchor"]))
    for v in (v for v in f["valid"] if v["form"] == "cwt"):
        claims = read_cwt(v, f, find, anchor)
        parts = wire.decode(bytes.fromhex(v["token"])[1:])
        c.that(wire.encode(["Signature1", parts[0], b"", parts[2]]).hex() == v["signed"], f"{v['name']}: signed bytes")
        if v["class"] == "anchor":
            c.that(set(claims) == {1, 2} and tok.Key(claims[1]).cose.hex() == v["successor"], v["name"])
            continue
        if v["class"] == "keys":
            c.that(claims["issuer"] == f["issuer"] and claims["issued"] == (0, ISSUED * 1000), v["name"])
            continue
        want = {x["key"]: unfield(x) for x in v["fields"] if x["name"] != "cnf"}
        c.that({k: x for k, x in claims.items() if k != 8} == want, v["name"])
        c.that(v["class"] != "id" or claims[10].hex() == f["nonce"], v["name"])
    for v in (v for v in f["invalid"] if v["form"] == "cwt"):
        try:
            read_cwt(v, f, find, anchor)
            c.that(False, f"CWT, {v['name']}: accepted")
        except tok.BadToken as e:
            c.that(e.failure == v["failure"], f"CWT, {v['name']}: {e}, want {v['failure']}")


def private_of(x):
    raw = bytes.fromhex(x["private"])
    if x["alg"] == "EdDSA":
        return Ed25519PrivateKey.from_private_bytes(raw)
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1()) if x["alg"] == "ES256" else raw


def proofs(c, x, s, said):
    key, token = private_of(x), x.get("enrollment_token")
    for p in s.get("proofs", []):
        data, proof, name = said.proof_input(p["purpose"]), bytes.fromhex(p["proof"]), f"{x['name']}: proof {p['purpose']}"
        if p["purpose"] == "answer":  # goes on with what is sealed
            with_secret = wire.Transcript()
            with_secret.value = said.value
            with_secret.add(bytes.fromhex(s["secret"]["sealed"]))
            data = with_secret.proof_input("answer")
        c.that(data.hex() == p["input"], f"{name}: another input")
        if p["purpose"] == "enroll-token":
            c.that(wire.EnrollmentToken(token).key.sign(data) == proof, name)
        elif x["alg"] == "HMAC":
            c.that(hmac.new(key, data, hashlib.sha256).digest() == proof, name)
        else:
            c.that(tok.key_of(key).verify(data, proof), name)


def sealed(c, name, how, aad):
    raw = bytes.fromhex
    private, ephemeral = (X25519PrivateKey.from_private_bytes(raw(how[k])) for k in ("recipient_private", "ephemeral_private"))
    info, recipient = how["info"].encode(), wire.public_bytes(private)
    dh = ephemeral.exchange(private.public_key())
    schedule = wire.key_schedule(dh, wire.public_bytes(ephemeral), recipient, info)
    c.that([v.hex() for v in schedule] == [how["shared_secret"], how["key"], how["nonce"]], f"{name}: key schedule")
    c.that(how["aad"] == aad.hex(), f"{name}: aad")
    c.that(wire.seal(recipient, info, aad, raw(how["plain"]), ephemeral).hex() == how["sealed"], f"{name}: sealed")
    plain = wire.unseal(private, info, aad, raw(how["sealed"]))
    c.that(plain.hex() == how["plain"], f"{name}: opened")
    try:
        wire.unseal(private, info, bytes(32), raw(how["sealed"]))
        c.that(False, f"{name}: opens under another transcript")
    except InvalidTag:
        c.that(True, "")
    return plain


def exchanges(c, f):
    for t in f["transcript"]:
        said = wire.Transcript()
        c.that([said.add(bytes.fromhex(p)).hex() for p in t["parts"]] == t["after"], "transcript")
    for p in f["proof_inputs"]:
        said = wire.Transcript()
        said.value = bytes.fromhex(p["transcript"])
        c.that(said.proof_input(p["purpose"]).hex() == p["input"], f"proof input {p['purpose']}")
    for x in f["exchanges"]:
        said, anchor = wire.Transcript(), tok.Key(bytes.fromhex(x["anchor"]))
        for s in x["steps"]:
            kind, m = wire.read_message(bytes.fromhex(s["hex"]))
            c.that(kind == s["message"] and m[2].hex() == x["call"], f"{x['name']}: {s['message']}")
            proofs(c, x, s, said) if kind != "refresh" else None
            if kind == "grant":
                body = wire.read_body("grant-body", sealed(c, f"{x['name']}: grant", s["grant"], said.value))
                granted(c, x, body, anchor)
                continue
            if s.get("secret"):
                sealed(c, f"{x['name']}: secret", s["secret"], said.value)
            added = m[4] if kind == "challenge" else m[3] if kind == "refresh" else bytes.fromhex(s["hex"])
            c.that(added.hex() == s["transcript_adds"] and said.add(added).hex() == s["transcript"], f"{x['name']}: transcript after {kind}")
            proofs(c, x, s, said) if kind == "refresh" else None


def granted(c, x, body, anchor):
    if 12 in body and "enrollment_token" in x:
        c.that(tok.Key(body[12]).thumbprint.startswith(wire.EnrollmentToken(x["enrollment_token"]).pin), f"{x['name']}: pin")
    if 11 in body:
        s = tok.open_statement(body[11], anchor)
        c.that(tok.open_cwt(body[2], "id", s["find"])[10].hex() == x["nonce"], f"{x['name']}: ID token")


def grants(c, f):
    raw = bytes.fromhex
    for v in f["grants"]:
        d = Device("demo", "lamp-1", None)
        d.pin, d.nonce, d.call_id, d.issuer = raw(v.get("stored_pin", f["pin"])), raw(f["nonce"]), raw(f["call"]), f["issuer"]
        d.ephemeral, d.said = X25519PrivateKey.from_private_bytes(raw(f["ephemeral_private"])), wire.Transcript()
        d.said.value = raw(f["transcript"])
        d.anchor, d.statement, d.subject = (raw(v[k]) if k in v else None for k in ("stored_anchor", "stored_statement", "stored_subject"))
        if d.statement:
            d.issued = tok.open_statement(d.statement, tok.Key(d.anchor))["issued"]
        kind, m = wire.read_message(raw(v["hex"]))
        try:
            c.that(kind == "grant" and m[2] == d.call_id, v["name"])
            d.accept(m, False)
            failure = ""
        except Unbelievable as e:
            failure = e.failure
        c.that(failure == v["failure"], f"grant, {v['name']}: {failure}, want {v['failure']}")


def connect(c, f):
    for v in f["connects"]:
        raw, name = bytes.fromhex, f"connect, {v['name']}"
        said, key = wire.Transcript(), private_of(v)
        for part in (raw(v["channel"]), v["client_id"].encode(), raw(v["access"])):
            said.add(part)
        c.that(said.value.hex() == v["transcript"], f"{name}: transcript")
        data, proof = said.proof_input("connect"), raw(v["proof"])
        c.that(data.hex() == v["input"], f"{name}: input")
        good = hmac.new(key, data, hashlib.sha256).digest() == proof if v["alg"] == "HMAC" else tok.key_of(key).verify(data, proof)
        c.that(good, f"{name}: proof")
        c.that(wire.encode({1: raw(v["access"]), 2: raw(v["channel"]), 3: proof}).hex() == v["password"], f"{name}: password")
    for v in f["ace"]:  # RFC 9431, sections 2.2.4.2 and 6.1
        name, key, token = f"ace, {v['name']}", private_of(v), raw(v["access"])
        for over, proof in (("exported", "proof"), ("input", "second_proof")):
            data, proof = raw(v[over]), raw(v[proof])
            good = hmac.new(key, data, hashlib.sha256).digest() == proof if v["alg"] == "HMAC" else tok.key_of(key).verify(data, proof)
            c.that(good, f"{name}: proof over {over}")
        shown = len(token).to_bytes(2, "big") + token
        c.that((shown + raw(v["proof"])).hex() == v["connect"] and shown.hex() == v["again"], f"{name}: data")
        c.that(v["user_name"] == "ace" + base64.urlsafe_b64encode(token).decode().rstrip("="), f"{name}: user name")
        c.that(v["input"] == v["server_nonce"] + v["client_nonce"] and v["response"] == v["client_nonce"] + v["second_proof"], f"{name}: response")


def main():
    folder, c = pathlib.Path(sys.argv[1]), Check()
    for name, check in (("messages", messages), ("enrollment", enrollment), ("keys", keys), ("tokens", tokens), ("exchanges", exchanges),
                        ("grants", grants), ("connect", connect)):
        before = c.done
        check(c, json.loads((folder / f"{name}.json").read_text()))
        print(f"{name}: {c.done - before} checks")
    for f in c.failed:
        print("FAILED", f)
    sys.exit(1 if c.failed else 0)


if __name__ == "__main__":
    main()
