// An issuer, or with the argument `verify` a verifier, by jose.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import * as jose from "jose";

const AUDIENCE = "orders-api";

// The kid of each algorithm: a thumbprint by jose, or a name.
const KIDS = { RS256: "rsa", PS256: "pss", ES256: "p256", ES384: "p384", EdDSA: "ed25519" };

async function generate(alg, kid) {
  // jose has two names for Ed25519, and publishes the newer one.
  const pair = await jose.generateKeyPair(alg === "EdDSA" ? "Ed25519" : alg, { extractable: true });
  const jwk = await jose.exportJWK(pair.publicKey);
  const published = { ...jwk, kid, use: "sig", alg: pair.publicKey.algorithm.name === "Ed25519" ? "Ed25519" : alg };
  return { ...pair, published: { ...published, x5t: "dGh1bWI", "urn:example:note": { since: 2031 } } };
}

const sign = (header, claims, key) => new jose.SignJWT(claims).setProtectedHeader(header).sign(key);

async function serve() {
  const keys = {};
  const strangers = {};
  for (const [alg, kid] of Object.entries(KIDS)) {
    keys[alg] = await generate(alg, kid);
    strangers[alg] = await generate(alg, kid);
  }
  const encryption = await jose.generateKeyPair("RSA-OAEP", { extractable: true });
  const published = Object.values(keys).map((key) => key.published);
  published.push({ ...(await jose.exportJWK(encryption.publicKey)), kid: "enc", use: "enc", alg: "RSA-OAEP" });

  const documents = {};
  const server = createServer((request, response) => {
    const document = documents[request.url];
    response.writeHead(document ? 200 : 404, { "content-type": document?.keys ? "application/jwk-set+json" : "application/json" });
    response.end(JSON.stringify(document ?? { error: "not found" }, null, 2));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  // An issuer with a trailing slash.
  const issuer = `${origin}/`;
  const jwks_uri = `${origin}/.well-known/jwks.json`;
  documents["/.well-known/jwks.json"] = { keys: published };
  documents["/.well-known/openid-configuration"] = {
    issuer,
    jwks_uri,
    authorization_endpoint: `${origin}/authorize`,
    token_endpoint: `${origin}/token`,
    id_token_signing_alg_values_supported: Object.keys(KIDS),
    response_types_supported: ["code"],
    subject_types_supported: ["public"],
  };

  const tokens = await make(issuer, keys, strangers, encryption);
  console.log(JSON.stringify({ issuer, jwks_uri, tokens }));
  process.stdin.resume().on("end", () => process.exit());
}

async function make(issuer, keys, strangers, encryption) {
  const now = Math.floor(Date.now() / 1000);
  const good = { iss: issuer, aud: AUDIENCE, sub: "alice", iat: now, exp: now + 300, jti: "7f0c" };
  const tokens = [];
  const add = (name, alg, token, expect = "accept", more = {}) => tokens.push({ name, alg, token, expect, ...more });
  const alice = { subject: "alice" };
  const header = (alg, more) => ({ alg, kid: KIDS[alg], ...more });
  const without = (...names) => Object.fromEntries(Object.entries(good).filter(([name]) => !names.includes(name)));

  for (const [alg, { privateKey }] of Object.entries(keys)) {
    const token = await sign(header(alg), good, privateKey);
    for (const [name, claims, expect] of [
      ["expired", { ...good, iat: now - 3900, exp: now - 3600 }, "expired"],
      ["wrong audience", { ...good, aud: "billing-api" }, "wrong_audience"],
      ["wrong issuer", { ...good, iss: origin(issuer) }, "wrong_issuer"],
      ["not yet valid", { ...good, nbf: now + 3600, exp: now + 7200 }, "not_yet_valid"],
      ["missing sub", without("sub"), "invalid_claim"],
    ]) {
      add(name, alg, await sign(header(alg), claims, privateKey), expect);
    }
    add("good", alg, token, "accept", alice);
    add("tampered payload", alg, tampered(token, { ...good, sub: "mallory" }), "bad_signature");
    add("another key of the same kid", alg, await sign(header(alg), good, strangers[alg].privateKey), "bad_signature");
  }

  const [alg, key] = ["ES256", keys.ES256.privateKey];
  const es256 = (more, claims = good) => sign(header(alg, more), claims, key);
  add("several audiences", alg, await es256({}, { ...good, aud: ["account", AUDIENCE] }), "accept", alice);
  add("typ of RFC 9068", alg, await es256({ typ: "at+jwt" }), "accept", alice);
  add("typ in full", alg, await es256({ typ: "application/AT+JWT" }), "accept", alice);
  add("typ of another use", alg, await es256({ typ: "logout+jwt" }), "wrong_type");
  add("without a kid", alg, await sign({ alg }, good, key), "accept", alice);
  add("a kid that is not published", alg, await es256({ kid: "gone" }), "unknown_key");
  add("without exp", alg, await es256({}, without("exp")), "invalid_claim");
  add("crit", alg, await es256({ crit: ["b64"], b64: true }), "malformed_token");
  add("with its own key", alg, await es256({ jwk: keys.ES256.published }), "malformed_token");
  const ed25519 = { alg: "Ed25519", kid: KIDS.EdDSA };
  add("named as in RFC 9864", "Ed25519", await sign(ed25519, good, keys.EdDSA.privateKey), "accept", alice);
  const crossed = { alg: "RS256", kid: KIDS.ES256 };
  add("under the kid of ES256", "RS256", await sign(crossed, good, keys.RS256.privateKey), "unknown_key");
  add("none", "none", new jose.UnsecuredJWT(good).encode(), "algorithm_not_allowed");
  const secret = new TextEncoder().encode(await jose.exportSPKI(keys.RS256.publicKey));
  const confused = await sign({ alg: "HS256", kid: KIDS.RS256 }, good, secret);
  add("the RSA key as a secret", "HS256", confused, "algorithm_not_allowed");
  const jwe = new jose.EncryptJWT(good).setProtectedHeader({ alg: "RSA-OAEP", enc: "A256GCM", kid: "enc" });
  add("encrypted", "RSA-OAEP", await jwe.encrypt(encryption.publicKey), "malformed_token");

  // As in common tutorials: no `sub`, one role as a string.
  const shape = { userId: "u-42", role: "admin", permissions: ["orders:read", "orders:write"] };
  const taught = { ...without("sub", "jti"), ...shape };
  for (const [name, changes, expect, subject] of [
    ["as taught", {}, "accept", "u-42"],
    ["as taught, with a number", { userId: 42 }, "accept", "42"],
    ["as taught, with a list of roles", { role: ["user", "admin"] }, "accept", "u-42"],
    ["as taught, a mere user", { role: "user" }, "insufficient_scope"],
    ["as taught, of nobody", { userId: undefined }, "invalid_claim"],
    ["as taught, without iss", { iss: undefined }, "invalid_claim"],
    ["as taught, without aud", { aud: undefined }, "invalid_claim"],
  ]) {
    const token = await sign(header("RS256"), { ...taught, ...changes }, keys.RS256.privateKey);
    add(name, "RS256", token, expect, { subject, tutorial: true });
  }
  return tokens;
}

// The issuer without its trailing slash is another issuer.
const origin = (issuer) => issuer.slice(0, -1);

// The same header and signature around other claims.
function tampered(token, claims) {
  const [header, , signature] = token.split(".");
  return [header, jose.base64url.encode(JSON.stringify(claims)), signature].join(".");
}

// Verifies the token of each line of standard input. Prints its subject, or the error.
async function verify() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { jwks, token, issuer, audience } = JSON.parse(line);
    try {
      const rules = { issuer, audience, typ: "at+jwt", requiredClaims: ["sub", "exp"] };
      const { payload } = await jose.jwtVerify(token, jose.createLocalJWKSet(jwks), rules);
      console.log(JSON.stringify({ sub: payload.sub }));
    } catch (error) {
      console.log(JSON.stringify({ error: String(error) }));
    }
  }
}

await (process.argv[2] === "verify" ? verify() : serve());
