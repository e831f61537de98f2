"""What the Python peers have in common: which tokens to make, the documents to serve, and when to end."""

import base64
import hmac
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AUDIENCE = "orders-api"

# The kid of each key, as identity providers write them: dates, paths, thumbprints.
KIDS = {
    "RS256": "2031-01/rsa",
    "PS256": "pss+1=",
    "ES256": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    "ES384": "p384",
    "EdDSA": "ed 25519",
}

# An unknown key type.
UNKNOWN_KEY = {"kty": "LWE", "kid": "next-century", "use": "sig", "alg": "LWE-7", "pub": "AAEC"}


class Issuer:
    """An HTTP server on loopback with the two documents. `path` is the issuer's, `metadata` where its metadata are."""

    def __init__(self, path, metadata, jwks):
        documents = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                document = documents.get(self.path)
                body = json.dumps(document or {"error": "not found"}).encode()
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Cache-Control", "public, max-age=300")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        origin = f"http://127.0.0.1:{server.server_port}"
        self.url = origin + path
        self.jwks_uri = f"{origin}{path.rstrip('/')}/keys"
        documents[metadata] = {
            "issuer": self.url,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/token",
            "jwks_uri": self.jwks_uri,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(KIDS),
            "claims_parameter_supported": False,
            "mtls_endpoint_aliases": {"token_endpoint": f"{origin}/mtls/token"},
        }
        documents[self.jwks_uri.removeprefix(origin)] = jwks
        threading.Thread(target=server.serve_forever, daemon=True).start()


def serve(issuer, tokens):
    """Says where the issuer is and what its tokens are worth, in one line, and stays until standard input closes."""
    print(json.dumps({"issuer": issuer.url, "jwks_uri": issuer.jwks_uri, "tokens": tokens}), flush=True)
    sys.stdin.read()


def answer(verify):
    """Verifies the token of each line of standard input, and answers with its subject or with why not."""
    for line in sys.stdin:
        question = json.loads(line)
        try:
            print(json.dumps({"sub": verify(**question)}), flush=True)
        except Exception as error:
            print(json.dumps({"error": repr(error)}), flush=True)


def tokens(issuer, keys, strangers, sign):
    """What every library can make. `sign(header, claims, key)` is the library's; so are the keys, by algorithm."""
    now = int(time.time())
    good = {"iss": issuer, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, "jti": "7f0c"}
    made = []

    def add(name, alg, token, expect="accept", **more):
        made.append({"name": name, "alg": alg, "token": token, "expect": expect, **more})

    def header(alg, **more):
        return {"alg": alg, "kid": KIDS[alg], **more}

    def without(*names):
        return {name: value for name, value in good.items() if name not in names}

    for alg, key in keys.items():
        token = sign(header(alg), good, key)
        for name, claims, expect in [
            ("expired", {**good, "iat": now - 3900, "exp": now - 3600}, "expired"),
            ("wrong audience", {**good, "aud": "billing-api"}, "wrong_audience"),
            ("wrong issuer", {**good, "iss": "https://elsewhere.example.com/"}, "wrong_issuer"),
            ("not yet valid", {**good, "nbf": now + 3600, "exp": now + 7200}, "not_yet_valid"),
            ("missing sub", without("sub"), "invalid_claim"),
        ]:
            add(name, alg, sign(header(alg), claims, key), expect)
        add("good", alg, token, subject="alice")
        add("tampered payload", alg, tampered(token, {**good, "sub": "mallory"}), "bad_signature")
        add("another key of the same kid", alg, sign(header(alg), good, strangers[alg]), "bad_signature")

    alg, key = "ES256", keys["ES256"]
    more = {"azp": "web", "nbf": now, "realm_access": {"roles": ["a"]}, "name": "Zo\u00eb \U0001f511", "amr": ["pwd"]}
    for name, claims in [
        ("several audiences", {**good, "aud": ["account", AUDIENCE]}),
        ("times with fractions", {**good, "iat": time.time(), "exp": time.time() + 300.25}),
        ("claims of a large provider", {**good, **more}),
    ]:
        add(name, alg, sign(header(alg), claims, key), subject="alice")
    add("typ of RFC 9068", alg, sign(header(alg, typ="at+jwt"), good, key), subject="alice")
    add("typ of another use", alg, sign(header(alg, typ="logout+jwt"), good, key), "wrong_type")
    add("without a kid", alg, sign({"alg": alg}, good, key), subject="alice")
    add("a kid that is not published", alg, sign({"alg": alg, "kid": "gone"}, good, key), "unknown_key")
    add("without exp", alg, sign(header(alg), without("exp"), key), "invalid_claim")
    ed25519 = {"alg": "Ed25519", "kid": KIDS["EdDSA"]}
    add("named as in RFC 9864", "Ed25519", sign(ed25519, good, keys["EdDSA"]), subject="alice")
    crossed = {"alg": "RS256", "kid": KIDS["ES256"]}
    add("under the kid of ES256", "RS256", sign(crossed, good, keys["RS256"]), "unknown_key")
    crit = header(alg, crit=["b64"], b64=True)
    add("crit", alg, sign(crit, good, key), "malformed_token")

    # As in common tutorials: no `sub`, one role as a string.
    taught = {**without("sub", "jti"), "userId": "u-42", "role": "admin", "permissions": ["orders:read", "orders:write"]}
    for name, claims, expect, subject in [
        ("as taught", taught, "accept", "u-42"),
        ("as taught, with a number", {**taught, "userId": 42}, "accept", "42"),
        ("as taught, with a list of roles", {**taught, "role": ["user", "admin"]}, "accept", "u-42"),
        ("as taught, a mere user", {**taught, "role": "user"}, "insufficient_scope", None),
        ("as taught, of nobody", {k: v for k, v in taught.items() if k != "userId"}, "invalid_claim", None),
        ("as taught, without iss", {k: v for k, v in taught.items() if k != "iss"}, "invalid_claim", None),
        ("as taught, without aud", {k: v for k, v in taught.items() if k != "aud"}, "invalid_claim", None),
    ]:
        token = sign(header("RS256"), claims, keys["RS256"])
        add(name, "RS256", token, expect, subject=subject, tutorial=True)
    return made, add, good


def tampered(token, claims):
    """The same header and signature around other claims."""
    header, _, signature = token.split(".")
    return ".".join([header, base64url(json.dumps(claims).encode()), signature])


def by_hand(header, claims, secret=None):
    """A token that a library refuses to make: with HS256 and any secret, or without a signature."""
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.digest(secret, signed.encode(), "sha256") if secret else b""
    return f"{signed}.{base64url(signature)}"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
