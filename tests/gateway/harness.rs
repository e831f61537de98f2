//! Runs a gateway with a test's configuration, an issuer and clients.

use std::fs;
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::TestIssuer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::{Ended, Running};

/// A temporary folder that is removed on drop.
pub(crate) struct Folder(pub(crate) PathBuf);

/// A running gateway.
pub(crate) struct Gateway {
    process: Option<Running>,
    pub(crate) folder: Folder,
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) scheme: String,
    lines: Arc<Mutex<Vec<String>>>,
}

pub(crate) const AUDIENCE: &str = "orders-api";

const PATIENCE: Duration = Duration::from_secs(20);

// === impl Folder ===

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-gateway-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        // Replaced atomically, as mounted configuration volumes are.
        let aside = self.0.join(format!("{name}.new"));
        fs::write(&aside, content).unwrap();
        fs::rename(aside, self.0.join(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

// === impl Gateway ===

impl Gateway {
    pub(crate) async fn start(configuration: &str) -> Self {
        Self::start_in(Folder::new(), configuration).await
    }

    pub(crate) async fn start_in(folder: Folder, configuration: &str) -> Self {
        Self::start_with(folder, configuration, &[]).await
    }

    pub(crate) async fn start_with(
        folder: Folder,
        configuration: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let file = write(&folder, configuration);
        let file = file.to_str().unwrap().to_owned();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        Self::run(folder, move || {
            Running::start_with("gateway", &["--config", &file], &variables)
        })
        .await
    }

    /// Limits the number of open files.
    pub(crate) async fn start_limited(configuration: &str, files: u32) -> Self {
        let folder = Folder::new();
        let file = write(&folder, configuration);
        let file = file.to_str().unwrap().to_owned();
        Self::run(folder, move || {
            Running::start_limited("gateway", &["--config", &file], files)
        })
        .await
    }

    async fn run(folder: Folder, start: impl FnOnce() -> Running + Send + 'static) -> Self {
        let process = tokio::task::spawn_blocking(|| {
            let mut process = start();
            let output = process.output();
            (process, output)
        });
        let (process, output) = process.await.unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines() {
                written.lock().unwrap().push(line.unwrap());
            }
        });
        let mut gateway = Self {
            process: Some(process),
            folder,
            address: ([0, 0, 0, 0], 0).into(),
            admin: None,
            scheme: String::new(),
            lines,
        };
        gateway
            .wait_for_line(|line| line.contains("\"started\""))
            .await;
        for line in gateway.lines() {
            if let Some(place) = line.strip_prefix("listening on ") {
                let (scheme, address) = place.split_once("://").unwrap();
                gateway.scheme = scheme.to_owned();
                gateway.address = address.parse().unwrap();
            }
            if let Some(address) = line.strip_prefix("admin on http://") {
                gateway.admin = Some(address.parse().unwrap());
            }
        }
        gateway
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin.unwrap())
    }

    /// Its output, which stays readable after it has ended.
    pub(crate) fn watch(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.lines)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line of output.
    pub(crate) async fn wait_for_line(&self, is_it: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                if let Some(line) = self.lines().into_iter().find(|line| is_it(line)) {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("no such line in {:#?}", self.lines()),
        }
    }

    /// The access-log line of the request with this id.
    pub(crate) async fn logged(&self, id: &str) -> Value {
        let id = format!("\"request_id\":\"{id}\"");
        let line = self.wait_for_line(|line| line.contains(&id)).await;
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn reconfigure(&self, configuration: &str) {
        write(&self.folder, configuration);
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().unwrap().signal(name);
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let id = self.process.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    pub(crate) async fn ended(mut self) -> Ended {
        let process = self.process.take().unwrap();
        tokio::task::spawn_blocking(|| process.end()).await.unwrap()
    }

    /// Sends raw bytes and reads the response up to its `content-length`.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(request).await.unwrap();
        let mut text = Vec::new();
        let answer = async {
            while !is_whole(&text) {
                match connection.read_buf(&mut text).await {
                    Ok(read) if read > 0 => {}
                    _ => break,
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn is_whole(text: &[u8]) -> bool {
    let Some(end) = text.windows(4).position(|end| end == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&text[..end]);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| text.len() - end - 4 >= length.parse::<usize>().unwrap())
}

fn write(folder: &Folder, configuration: &str) -> PathBuf {
    let listen = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
    folder.write("gateway.toml", format!("{listen}{configuration}"));
    folder.0.join("gateway.toml")
}

/// The issuer as a configuration section.
pub(crate) fn section(issuer: &TestIssuer) -> String {
    format!(
        "[[issuers]]\nissuer = \"{}\"\njwks_uri = \"{}\"\naudiences = [\"{AUDIENCE}\"]\n",
        issuer.issuer(),
        issuer.jwks_uri(),
    )
}

pub(crate) async fn issuer() -> TestIssuer {
    TestIssuer::start().await.unwrap().with_audience(AUDIENCE)
}

/// A client that follows no redirects.
pub(crate) fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    client.build().unwrap()
}

/// Status and `code` of a response.
pub(crate) async fn outcome(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default();
    (status, code.to_owned())
}
