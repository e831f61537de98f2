use portcullis::{JwksCache, JwksSource, TestIssuer};
use rustls::{ClientConfig, RootCertStore};

/// Panics if rustls has more than one provider to choose from, and none is installed.
fn ring_works() {
    let _ = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
}

fn portcullis_works() {
    let issuer = TestIssuer::offline();
    let keys = JwksSource::keys(issuer.issuer(), issuer.key_set().unwrap());
    JwksCache::new([keys]).unwrap();
    let _ = issuer.token("alice").into_identity();
}

#[test]
fn ring_last() {
    portcullis_works();
    ring_works();
}
