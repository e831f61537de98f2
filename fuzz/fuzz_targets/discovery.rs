//! An issuer's metadata, and the URL of the next request.
#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::jwks::fuzzing::Metadata;
use serde_json::value::RawValue;
use url::{Host, Url};

const ISSUERS: [&str; 3] = [
    "https://id.example.com",
    "https://10.0.0.1/realm",
    "http://127.0.0.1:3000",
];

static READERS: LazyLock<[Metadata; 3]> = LazyLock::new(|| ISSUERS.map(Metadata::of));

fuzz_target!(|data: &[u8]| {
    for (issuer, reader) in ISSUERS.iter().zip(&*READERS) {
        let Some(uri) = reader.jwks_uri(data) else {
            continue;
        };
        // Unused members may be invalid.
        let document = String::from_utf8_lossy(data);
        let document: BTreeMap<String, &RawValue> = serde_json::from_str(&document).unwrap();
        let text = |name| serde_json::from_str::<String>(document[name].get()).unwrap();
        assert_eq!(text("issuer"), *issuer, "metadata of another issuer");
        // The HTTP client parses the URL with this parser.
        let Ok(target) = Url::parse(&uri) else {
            continue; // no request
        };
        let named = Url::parse(&text("jwks_uri")).unwrap();
        assert_eq!(target.origin(), named.origin(), "{uri}");
        assert!(
            target.username().is_empty() && target.password().is_none(),
            "{uri}"
        );
        let place = place(&target);
        match target.scheme() {
            "https" => {}
            "http" => assert!(
                place == Place::Loopback && issuer.contains("127.0.0.1"),
                "{uri}"
            ),
            other => panic!("{other}: {uri}"),
        }
        let is_remote = issuer.contains("id.example.com");
        assert!(
            place == Place::Elsewhere || !is_remote,
            "{issuer} leads to {uri}"
        );
    }
});

#[derive(PartialEq, Eq)]
enum Place {
    Loopback,
    Local,
    Elsewhere,
}

fn place(url: &Url) -> Place {
    let address = match url.host().unwrap() {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let is_here = name == "localhost" || name.ends_with(".localhost");
            return if is_here {
                Place::Loopback
            } else {
                Place::Elsewhere
            };
        }
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => address.to_canonical(),
    };
    let is_local = match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    if address.is_loopback() {
        Place::Loopback
    } else if is_local {
        Place::Local
    } else {
        Place::Elsewhere
    }
}
