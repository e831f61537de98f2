"""An issuer, and with the argument `verify` a verifier, made of joserfc."""

import json
import sys
import warnings

from joserfc import jwe, jws, jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

import issuer

# joserfc warns of deprecated algorithms. They are tested because they are still in use.
warnings.simplefilter("ignore", SecurityWarning)

ALGORITHMS = [*issuer.KIDS, "Ed25519", "none"]
REGISTRY = jws.JWSRegistry(algorithms=ALGORITHMS)


def generate(alg):
    members = {"kid": issuer.KIDS[alg], "use": "sig"}
    if alg == "EdDSA":
        # Without `alg`, because joserfc would sign under only one of the algorithm's two names.
        return OKPKey.generate_key("Ed25519", members)
    members["alg"] = alg
    if alg.startswith("ES"):
        # This key also states its use.
        return ECKey.generate_key(f"P-{alg[2:]}", {**members, "key_ops": ["sign", "verify"]})
    return RSAKey.generate_key(2048, members)


def sign(header, claims, key):
    return jwt.encode(header, claims, key, registry=REGISTRY)


def serve():
    keys = {alg: generate(alg) for alg in issuer.KIDS}
    strangers = {alg: generate(alg) for alg in issuer.KIDS}
    encryption = RSAKey.generate_key(2048, {"kid": "enc", "use": "enc", "alg": "RSA-OAEP"})
    jwks = KeySet([encryption, *keys.values()]).as_dict(private=False)
    jwks["keys"].append(issuer.UNKNOWN_KEY)
    here = issuer.Issuer("", "/.well-known/openid-configuration", jwks)

    made, add, good = issuer.tokens(here.url, keys, strangers, sign)
    kid = issuer.KIDS["RS256"]
    none = sign({"alg": "none", "kid": kid}, good, OctKey.import_key("unused"))
    add("none", "none", none, "algorithm_not_allowed")
    # joserfc refuses to sign with such a secret.
    confused = issuer.by_hand({"alg": "HS256", "kid": kid}, good, keys["RS256"].as_pem(private=False))
    add("the RSA key as a secret", "HS256", confused, "algorithm_not_allowed")
    header = {"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "enc"}
    encrypted = jwe.encrypt_compact(header, json.dumps(good).encode(), encryption)
    add("encrypted", "RSA-OAEP", encrypted, "malformed_token")
    issuer.serve(here, made)


def verify(jwks, token, issuer, audience):
    keys = KeySet.import_key_set(jwks)
    decoded = jwt.decode(token, keys, algorithms=[key.alg for key in keys])
    rules = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
    )
    rules.validate(decoded.claims)
    assert decoded.header["typ"] == "at+jwt"
    return decoded.claims["sub"]


if sys.argv[1:] == ["verify"]:
    issuer.answer(verify)
else:
    serve()
