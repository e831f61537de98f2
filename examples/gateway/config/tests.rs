//! Tests of the reader: accepted values, rejected values, and error messages.

mod access;
mod arbitrary;
mod callers;
mod environment;
mod files;
mod issuers;
mod lines;
mod print;
mod routes;
mod secrets;
mod sections;
mod warnings;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::files::Files;
use super::model::{Configuration, Place};
use super::problems::Invalid;
use super::read::parse;

/// Three lines: snippets for an issuer start in line 4.
const ISSUER: &str = r#"[[issuers]]
issuer = "https://id.example.com/"
audiences = ["orders-api"]
"#;

/// Six lines: snippets for a route start in line 7.
const ROUTE: &str = r#"[[issuers]]
issuer = "https://id.example.com/"
audiences = ["orders-api"]
[[routes]]
path = "/orders"
upstream = "http://127.0.0.1:3002"
"#;

/// A folder that is removed on drop.
struct Folder(PathBuf);

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Configuration, Invalid> {
    read_beside(Path::new("gateway.toml"), text, variables)
}

fn read_beside(
    file: &Path,
    text: &str,
    variables: &[(&str, &str)],
) -> Result<Configuration, Invalid> {
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    parse(text, &"gateway.toml".into(), Files::beside(file), variables)
}

#[track_caller]
fn accepts(text: &str) -> Configuration {
    read(text, &[]).unwrap_or_else(|invalid| panic!("{invalid}\n{text}"))
}

#[track_caller]
fn refuses(text: &str, expected: &str) {
    let Err(invalid) = read(text, &[]) else {
        panic!("accepted:\n{text}")
    };
    assert_eq!(invalid.to_string(), expected, "of:\n{text}");
}

// === impl Folder ===

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-configuration-{}-{next}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.0.join(name), content).unwrap();
        self
    }

    /// Reads a configuration as if it were a file in this folder.
    fn read(&self, text: &str) -> Result<Configuration, Invalid> {
        read_beside(&self.0.join("gateway.toml"), text, &[])
    }

    #[track_caller]
    fn refuses(&self, text: &str, expected: &str) {
        let invalid = self.read(text).err().map(|invalid| invalid.to_string());
        let folder = self.0.to_str().unwrap();
        assert_eq!(
            invalid.as_deref(),
            Some(&*expected.replace("FOLDER", folder)),
            "of:\n{text}"
        );
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn empty_file_has_all_defaults() {
    let configuration = accepts("");
    assert_eq!(configuration.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(configuration.admin_listen, None);
    assert_eq!(configuration.request_timeout.as_secs(), 30);
    assert_eq!(configuration.max_body, 2 * 1024 * 1024);
    assert!(configuration.token_sources.cookie.is_none());
    assert!(configuration.identity_headers.is_empty());
    assert!(configuration.failed_auth_limit.is_none());
}

#[test]
fn sample_is_a_valid_configuration() {
    let configuration = accepts(include_str!("../gateway.toml"));
    let [orders, admin, public] = configuration.routes.as_slice() else {
        panic!("{:?}", configuration.routes)
    };
    let line = include_str!("../gateway.toml")
        .lines()
        .position(|line| line == "[[routes]]");
    let Place::Line { line: place, .. } = orders.place else {
        panic!("{:?}", orders.place)
    };
    assert_eq!(Some(place), line.map(|line| line + 1));
    for (route, rules) in [
        (
            orders,
            Some("POST scope:orders:write; otherwise scope:orders:read"),
        ),
        (
            admin,
            Some("any(role:admin, all(scope:orders:admin, permission:user:write))"),
        ),
        (public, None),
    ] {
        let own = route.access.rules().map(|rules| rules.to_string());
        assert_eq!(own.as_deref(), rules, "{}", route.path);
    }
    assert_eq!(orders.timeout.as_secs(), 10);
    assert_eq!(admin.timeout.as_secs(), 30);
}

/// Every line that starts with `#!` in the sample is rejected as unsupported if it is used.
#[test]
fn sample_lines_marked_unsupported_are_rejected() {
    let sample = include_str!("../gateway.toml");
    let mut refused = 0;
    let blocks: Vec<usize> = sample
        .lines()
        .scan(false, |inside, line| {
            let starts = line.starts_with("#!") && !*inside;
            *inside = line.starts_with("#!");
            Some(starts)
        })
        .enumerate()
        .filter_map(|(at, starts)| starts.then_some(at))
        .collect();
    for start in blocks {
        let mut lines: Vec<String> = sample.lines().map(str::to_owned).collect();
        for line in lines.iter_mut().skip(start) {
            let Some(rest) = line.strip_prefix("#! ") else {
                break;
            };
            *line = rest.to_owned();
        }
        // The last value of a key applies, so the line above is removed.
        let key = lines[start].split('=').next().unwrap().trim().to_owned();
        if let Some(above) = lines
            .get_mut(start - 1)
            .filter(|line| line.starts_with(&key))
        {
            *above = String::new();
        }
        let text = lines.join("\n");
        let invalid = read(&text, &[]).unwrap_err().to_string();
        assert!(
            invalid.contains("is not supported yet"),
            "{}: {invalid}",
            lines[start]
        );
        refused += 1;
    }
    assert_eq!(refused, 5);
}
