// Reads tokens with npm's jose (JWT) and @auth0/cose (CWT), as a backend in
// JavaScript would: node verify.mjs TOKENS.json SECONDS. Prints what was accepted.
import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createLocalJWKSet, jwtVerify, importJWK } from 'jose';
import * as cbor from 'cbor-x';

// Debian 12's Node 18 has these, but not where later ones have them.
globalThis.crypto ??= webcrypto;
globalThis.CryptoKey ??= webcrypto.CryptoKey;
const { Sign1 } = createRequire(import.meta.url)('@auth0/cose');

const [file, seconds] = process.argv.slice(2);
const f = JSON.parse(readFileSync(file, 'utf8'));
const now = new Date(Number(seconds) * 1000);
const jwks = JSON.parse(f.jwks);
const typs = { access: 65001, id: 65002 };
const decoder = new cbor.Decoder({ mapsAsObjects: false });

async function readJWT(text, kind) {
  const wants = kind === 'id' ? { audience: 'default', typ: 'JWT', requiredClaims: ['exp', 'nonce'] } : { audience: f.audience, typ: 'at+jwt', requiredClaims: ['exp', 'cnf'] };
  const { payload } = await jwtVerify(text, createLocalJWKSet(jwks), { ...wants, issuer: f.issuer, algorithms: ['ES256', 'EdDSA', 'RS256'], currentDate: now });
  if (payload.token_use !== kind) throw new Error('another use');
}

// @auth0/cose checks the signature; tag, typ and claims are its caller's to check.
async function readCWT(raw, kind) {
  if (raw[0] !== 0xd2) throw new Error('no COSE_Sign1 under its tag');
  const message = Sign1.decode(raw);
  const kid = Buffer.from(message.unprotectedHeaders.get(4)).toString('hex');
  if (message.protectedHeaders.get(16) !== typs[kind]) throw new Error('another typ');
  const key = (await coseKeys()).get(kid);
  if (!key) throw new Error('unknown key');
  await message.verify(key.key, { algorithms: [key.alg] });
  const claims = decoder.decode(message.payload);
  if (claims.get(4) * 1000 <= now.getTime()) throw new Error('expired');
  if (kind === 'access' && claims.get(3) !== f.audience) throw new Error('another audience');
}

// The pool's keys by the kid that its COSE key set gives them.
let keys;
async function coseKeys() {
  if (keys) return keys;
  keys = new Map();
  const set = decoder.decode(Buffer.from(f.cose_keys, 'hex'));
  for (const [i, k] of set.entries()) {
    keys.set(Buffer.from(k.get(2)).toString('hex'), { alg: k.get(3), key: await importJWK(jwks.keys[i]) });
  }
  return keys;
}

async function accepted(v) {
  try {
    if (v.form === 'jwt') await readJWT(v.token, v.class);
    else await readCWT(Buffer.from(v.token, 'hex'), v.class);
    return true;
  } catch (e) {
    if (process.env.WHY) console.error(v.form, v.name, e.message);
    return false;
  }
}

const out = { valid: [], invalid: [] };
for (const part of ['valid', 'invalid']) {
  for (const v of f[part] ?? []) {
    if (v.class !== 'keys' && v.class !== 'anchor') out[part].push({ form: v.form, name: v.name, accepted: await accepted(v) });
  }
}
console.log(JSON.stringify(out));
