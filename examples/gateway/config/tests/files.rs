//! Files that a configuration names.

use super::{Folder, ROUTE};

/// A throw-away certificate.
pub(super) const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBdDCCARugAwIBAgIUElwYnUnCqqOsnsxEca6btCkpjNIwCgYIKoZIzj0EAwIw\n\
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjEwNDMwMzhaGA8yMTI2MTAyODA0MzAz\n\
OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHzw\n\
y5rOMX9hDPgxYZEzWmssbgrfCnfHiryKnKx8oCqkVcsm+nHethIvqFShp6HxTuYM\n\
bW4l1r5pLk6jhBzvYCmjUzBRMB0GA1UdDgQWBBREWXrfyLOSR9BGYljnMuU2AXPi\n\
OjAfBgNVHSMEGDAWgBREWXrfyLOSR9BGYljnMuU2AXPiOjAPBgNVHRMBAf8EBTAD\n\
AQH/MAoGCCqGSM49BAMCA0cAMEQCIENe9tAl8tYXUJB7F8iOCiM2z3W/pMbp2X0M\n\
eF+HojGPAiAbGkZH8G3TIsUKP9EfAQaMM0BleHP8Jk4r9CKGMYiwVQ==\n\
-----END CERTIFICATE-----\n\
";

#[test]
fn missing_file_names_line_and_file() {
    let folder = Folder::new().with("empty.pem", "").with("text.pem", "text");
    folder.refuses(
        "[tls]\ncert = \"text.pem\"\nkey = \"lost.key\"\n",
        "gateway.toml:2: `tls.cert`: FOLDER/text.pem: contains no certificate in PEM\n\
         gateway.toml:3: `tls.key`: cannot read FOLDER/lost.key: No such file or directory (os error 2)",
    );
    folder.refuses(
        "[tls]\ncert = \"empty.pem\"\n",
        "gateway.toml:1: `tls.key` is required\ngateway.toml:2: `tls.cert`: FOLDER/empty.pem is empty",
    );
}

#[test]
fn certificates_are_relative_to_configuration() {
    let folder = Folder::new().with("own.pem", CERTIFICATE).with(
        "own.key",
        "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n",
    );
    let text = ROUTE.replace("http:", "https:");
    let text =
        format!("{text}upstream_ca = \"own.pem\"\n[tls]\ncert = \"own.pem\"\nkey = \"own.key\"\n");
    let configuration = folder.read(&text).unwrap();
    let tls = configuration.tls.as_ref().unwrap();
    assert_eq!(tls.key.path, folder.0.join("own.key"));
    let upstream_ca = configuration.routes[0].upstream_ca.as_ref().unwrap();
    assert_eq!(upstream_ca.content, CERTIFICATE.as_bytes());
    for shown in [configuration.to_string(), format!("{configuration:?}")] {
        assert!(!shown.contains("BEGIN"), "{shown}");
    }
    let again = folder.read(&configuration.to_string()).unwrap();
    assert_eq!(again.to_string(), configuration.to_string());
    folder.refuses(
        &format!("{ROUTE}upstream_ca = \"own.pem\"\n"),
        "gateway.toml:7: `routes[0].upstream_ca` applies to https only: change `upstream`, or remove this key",
    );
    folder.refuses(
        &format!("{text}client_ca = \"own.key\"\n"),
        "gateway.toml:11: `tls.client_ca`: FOLDER/own.key: contains no certificate in PEM",
    );
    folder.refuses(
        "[[issuers]]\nissuer = \"a\"\naudiences = [\"a\"]\nca = \"own.pem\"\nsecret = \"01234567890123456789012345678901\"\n",
        "gateway.toml:4: `issuers[0].ca` has no effect: these keys are not fetched",
    );
    let with_clients = folder
        .read(&format!("{text}client_ca = \"own.pem\"\n"))
        .unwrap();
    let client_ca = with_clients.tls.as_ref().unwrap().client_ca.as_ref();
    assert_eq!(client_ca.unwrap().content, CERTIFICATE.as_bytes());
    assert!(with_clients.to_string().contains("\nclient_ca = \""));
    let issuer = "[[issuers]]\nissuer = \"https://a/\"\naudiences = [\"a\"]\nca = \"own.pem\"\n";
    assert!(folder.read(issuer).unwrap().issuers[0].ca.is_some());
}
