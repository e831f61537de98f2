//! One signing key: the pair, and the name its public half goes by.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jose_jwk::{EcCurves, Key};

use super::error::IssueError;
use super::jwk::{self, PublicJwk};
use crate::algorithm::Algorithm;

/// A key that signs with one algorithm. The pair stays parsed: the library checks an RSA key whenever it parses one,
/// which takes four times as long as a signature.
pub(crate) struct SigningKey {
    algorithm: Algorithm,
    public: Arc<PublicJwk>,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

// === impl SigningKey ===

impl SigningKey {
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, IssueError> {
        let pair = Pair::generate(algorithm)?;
        let public = Arc::new(PublicJwk::new(pair.public_key()?, algorithm)?);
        Ok(Self {
            algorithm,
            public,
            pair,
        })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn kid(&self) -> &str {
        &self.public.kid
    }

    pub(super) fn public(&self) -> &Arc<PublicJwk> {
        &self.public
    }

    /// The compact serialization (RFC 7515 section 7.1) over a header and a payload that are taken as they are.
    pub(crate) fn sign(&self, header: &[u8], payload: &[u8]) -> Result<String, IssueError> {
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.pair.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

// === impl Pair ===

impl Pair {
    fn generate(algorithm: Algorithm) -> Result<Self, IssueError> {
        let pair = match algorithm {
            Algorithm::RS256 => Self::rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::RS384 => Self::rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::RS512 => Self::rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::PS256 => Self::rsa(&signature::RSA_PSS_SHA256),
            Algorithm::PS384 => Self::rsa(&signature::RSA_PSS_SHA384),
            Algorithm::PS512 => Self::rsa(&signature::RSA_PSS_SHA512),
            Algorithm::ES256 => {
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::Ecdsa)
            }
            Algorithm::ES384 => {
                EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).map(Self::Ecdsa)
            }
            Algorithm::EdDSA => Ed25519KeyPair::generate().map(Self::Ed25519),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                return Err(IssueError::Symmetric { algorithm });
            }
        };
        pair.map_err(|_| IssueError::Crypto)
    }

    fn rsa(encoding: &'static dyn RsaEncoding) -> Result<Self, aws_lc_rs::error::Unspecified> {
        RsaKeyPair::generate(KeySize::Rsa2048).map(|pair| Self::Rsa(pair, encoding))
    }

    fn public_key(&self) -> Result<Key, IssueError> {
        match self {
            Self::Rsa(pair, _) => {
                let RsaPublicKeyComponents { n, e } = pair.public_key().into();
                Ok(jwk::rsa(n, e))
            }
            Self::Ecdsa(pair) => {
                let p384 = pair.algorithm() == &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
                let curve = if p384 { EcCurves::P384 } else { EcCurves::P256 };
                jwk::ec(curve, pair.public_key().as_ref()).ok_or(IssueError::Crypto)
            }
            Self::Ed25519(pair) => Ok(jwk::ed25519(pair.public_key().as_ref())),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IssueError> {
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .map(|()| signature)
            }
            Self::Ecdsa(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Self::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()),
        };
        signature.map_err(|_| IssueError::Crypto)
    }
}
