//! Files that a configuration names.

use super::{Folder, ROUTE};

/// Of nobody, for nothing.
const CERTIFICATE: &str = "\
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
fn a_lost_file_names_the_line_and_the_file() {
    let folder = Folder::new().with("empty.pem", "").with("text.pem", "text");
    folder.refuses(
        "[tls]\ncert = \"text.pem\"\nkey = \"lost.key\"\n",
        "gateway.toml:2: `tls.cert`: FOLDER/text.pem: there is no certificate in PEM in it\n\
         gateway.toml:3: `tls.key`: FOLDER/lost.key cannot be read: No such file or directory (os error 2)",
    );
    folder.refuses(
        "[tls]\ncert = \"empty.pem\"\n",
        "gateway.toml:1: `tls.key` is required\ngateway.toml:2: `tls.cert`: FOLDER/empty.pem is empty",
    );
}

#[test]
fn certificates_are_read_from_beside_the_configuration() {
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
        "gateway.toml:7: `routes[0].upstream_ca` is for https alone: change `upstream`, or remove it",
    );
    folder.refuses(
        &format!("{text}client_ca = \"own.key\"\n"),
        "gateway.toml:11: `tls.client_ca`: FOLDER/own.key: there is no certificate in PEM in it",
    );
    folder.refuses(
        "[[issuers]]\nissuer = \"a\"\naudiences = [\"a\"]\nca = \"own.pem\"\nsecret = \"01234567890123456789012345678901\"\n",
        "gateway.toml:4: `issuers[0].ca` trusts nobody: these keys are not fetched",
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
