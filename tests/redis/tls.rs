//! A server that is reached over TLS.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis::Quota;
use portcullis::rate_limit::{OnOutage, RedisStore};

use crate::server::{Server, free_port};
use crate::{SECRET, ask, limited};

/// A certificate for this machine and its key, in files that are removed on drop.
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

#[test]
fn tls_needs_a_trusted_certificate() {
    let (ours, others) = (Certificate::new("ours"), Certificate::new("others"));
    let port = free_port().to_string();
    let settings = [
        ["--tls-port", &port],
        ["--tls-cert-file", ours.certificate.to_str().unwrap()],
        ["--tls-key-file", ours.key.to_str().unwrap()],
        ["--tls-ca-cert-file", ours.certificate.to_str().unwrap()],
        ["--tls-auth-clients", "no"],
    ];
    let Some(_server) = Server::start_with(settings.as_flattened()) else {
        return;
    };
    let url = format!("rediss://127.0.0.1:{port}/");
    assert_eq!(status(&url, &ours), "200");
    assert_eq!(status(&url, &others), "503");
    // Plain text is not served.
    assert_eq!(status(&url.replace("rediss", "redis"), &ours), "503");
}

#[test]
fn insecure_tls_is_an_error() {
    let url = "rediss://:hush-hush@127.0.0.1/#insecure";
    let error = RedisStore::new(url, SECRET).unwrap_err().to_string();
    assert!(
        error.contains("#insecure") && !error.contains("hush"),
        "{error}"
    );
}

/// The status of a request in a process that trusts only this certificate.
fn status(url: &str, trusted: &Certificate) -> String {
    // In a separate process, because an environment variable sets the trusted certificates.
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tls::a_client", "--ignored", "--nocapture"])
        .env("TLS_URL", url)
        .env("SSL_CERT_FILE", &trusted.certificate)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let status = output
        .lines()
        .find_map(|line| line.split("status: ").nth(1));
    status.unwrap_or(&output).to_owned()
}

/// Not a test: the program of that process.
#[tokio::test]
#[ignore = "started by the test above"]
async fn a_client() {
    let Ok(url) = env::var("TLS_URL") else {
        return;
    };
    let store = RedisStore::new(&url, SECRET)
        .unwrap()
        .on_outage(OnOutage::Closed);
    let service = limited(&store, Quota::per_hour(1_000_000));
    // A slow connection succeeds in the end; a refused one does not.
    let mut status = ask(&service, "alice").await;
    for _ in 0..100 {
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        status = ask(&service, "alice").await;
    }
    println!("status: {}", status.as_u16());
}

// === impl Certificate ===

impl Certificate {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let file = |what| {
            let file = format!("portcullis-tls-{}-{name}-{what}.pem", std::process::id());
            env::temp_dir().join(file)
        };
        let (certificate, key) = (file("certificate"), file("key"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Self { certificate, key }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.certificate);
        let _ = fs::remove_file(&self.key);
    }
}
