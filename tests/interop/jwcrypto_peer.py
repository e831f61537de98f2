"""An issuer made of jwcrypto."""

import json

from jwcrypto.jwk import JWK, JWKSet
from jwcrypto.jws import JWS
from jwcrypto.jwt import JWT

import issuer

ALGORITHMS = [*issuer.KIDS, "Ed25519", "HS256"]


def generate(alg):
    # jwcrypto publishes keys unchanged: these keys have the required members only.
    members = {"kid": issuer.KIDS[alg]}
    if alg == "EdDSA":
        return JWK.generate(kty="OKP", crv="Ed25519", **members)
    if alg.startswith("ES"):
        return JWK.generate(kty="EC", crv=f"P-{alg[2:]}", **members)
    return JWK.generate(kty="RSA", size=2048, alg=alg, use="sig", **members)


def sign(header, claims, key):
    token = JWS(json.dumps(claims))
    token.allowed_algs = ALGORITHMS
    token.add_signature(key, protected=json.dumps(header))
    return token.serialize(compact=True)


def main():
    keys = {alg: generate(alg) for alg in issuer.KIDS}
    strangers = {alg: generate(alg) for alg in issuer.KIDS}
    encryption = JWK.generate(kty="RSA", size=2048, alg="RSA-OAEP", use="enc", kid="enc")
    published = JWKSet()
    for key in [*keys.values(), encryption]:
        published.add(key)
    # An issuer with a path. Its metadata are at the URL of RFC 8414, not of OpenID Connect.
    metadata = "/.well-known/oauth-authorization-server/realms/demo"
    here = issuer.Issuer("/realms/demo", metadata, published.export(private_keys=False, as_dict=True))

    made, add, good = issuer.tokens(here.url, keys, strangers, sign)
    kid = issuer.KIDS["RS256"]
    # jwcrypto refuses to sign this token.
    add("none", "none", issuer.by_hand({"alg": "none", "kid": kid}, good), "algorithm_not_allowed")
    secret = JWK(kty="oct", k=issuer.base64url(keys["RS256"].export_to_pem()))
    confused = sign({"alg": "HS256", "kid": kid}, good, secret)
    add("the RSA key as a secret", "HS256", confused, "algorithm_not_allowed")
    encrypted = JWT(header={"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "enc"}, claims=good)
    encrypted.make_encrypted_token(encryption)
    add("encrypted", "RSA-OAEP", encrypted.serialize(), "malformed_token")
    issuer.serve(here, made)


main()
