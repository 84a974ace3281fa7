"""Reads tokens with python3-jwt (JWT) and python3-cbor2 with python3-cryptography
(CWT), as a backend in Python would: python3 verify.py TOKENS.json SECONDS. Prints
what was accepted."""
import json
import sys

import cbor2
import jwt

import signet_token as tok

TYPS = {"access": 65001, "id": 65002}


def read_jwt(text, use, f, now):
    header = jwt.get_unverified_header(text)
    if header.get("typ") != {"access": "at+jwt", "id": "JWT"}[use]:
        raise ValueError("another typ")
    key = next(jwt.PyJWK(k) for k in json.loads(f["jwks"])["keys"] if k["kid"] == header["kid"])
    algorithm = next(k["alg"] for k in json.loads(f["jwks"])["keys"] if k["kid"] == header["kid"])
    claims = jwt.decode(text, key.key, algorithms=[algorithm], audience="default" if use == "id" else f["audience"], issuer=f["issuer"],
                        options={"require": ["exp", "nonce" if use == "id" else "cnf"], "verify_exp": False, "verify_iat": False})
    if claims["exp"] <= now or claims["token_use"] != use:
        raise ValueError("expired, or for another use")


def read_cwt(raw, use, f, now):
    """cbor2 reads the structure, cryptography the signature."""
    message = cbor2.loads(raw)
    if not isinstance(message, cbor2.CBORTag) or message.tag != 18 or cbor2.dumps(message, canonical=True) != raw:
        raise ValueError("no COSE_Sign1 under its tag")
    protected, unprotected, payload, sig = message.value
    header = cbor2.loads(protected)
    if set(header) != {1, 16} or set(unprotected) != {4} or header[16] != TYPS[use]:
        raise ValueError("header")
    members = next(k for k in cbor2.loads(bytes.fromhex(f["cose_keys"])) if k[2] == unprotected[4])
    if members[3] != header[1]:
        raise ValueError("alg")
    if not tok.Key(members).verify(cbor2.dumps(["Signature1", protected, b"", payload]), sig):
        raise ValueError("signature")
    claims = cbor2.loads(payload)
    if any(label < tok.KNOWN_CLAIMS.start for label in claims):
        raise ValueError("critical claim")
    if claims[4] <= now or use == "access" and claims[3] != f["audience"]:
        raise ValueError("claims")


def accepted(v, f, now):
    try:
        if v["form"] == "jwt":
            read_jwt(v["token"], v["class"], f, now)
        else:
            read_cwt(bytes.fromhex(v["token"]), v["class"], f, now)
    except Exception:  # a library's refusal has many names
        return False
    return True


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        f = json.load(file)
    out = {part: [{"form": v["form"], "name": v["name"], "accepted": accepted(v, f, int(sys.argv[2]))} for v in f.get(part) or [] if v["class"] not in ("keys", "anchor")]
           for part in ("valid", "invalid")}
    print(json.dumps(out))


if __name__ == "__main__":
    main()
