//! A Redis server for tests: a process on a free port that ends with the test and stores nothing.

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A server that is killed on drop.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

const PAUSE: Duration = Duration::from_millis(10);
const PATIENCE: u32 = 1_000;
const PORTS: u32 = 5;

// === impl Server ===

#[allow(dead_code)] // Not all test binaries use all of it.
impl Server {
    /// Starts a server. Returns `None`, with a message on stderr, if no `redis-server` is
    /// installed; `PORTCULLIS_REQUIRE_ALL=1` makes that a failure.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with these settings.
    #[track_caller]
    pub(crate) fn start_with(settings: &[&str]) -> Option<Self> {
        // A free port may be taken before the server binds it.
        for _ in 0..PORTS {
            let port = free_port();
            let child = match spawn(port, settings) {
                Ok(child) => child,
                Err(error) => return skip(&error),
            };
            let mut server = Self { child, port };
            if server.is_ready() {
                return Some(server);
            }
        }
        panic!("redis-server ends at once: does this build know {settings:?}?");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Suspends it: connections stay open, but get no answer.
    pub(crate) fn pause(&self) {
        signal(&self.child, "STOP");
    }

    pub(crate) fn resume(&self) {
        signal(&self.child, "CONT");
    }

    /// Kills it without a shutdown.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process");
        self.child.wait().expect("a process");
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, &[]).expect("redis-server");
        assert!(self.is_ready(), "redis-server ends at once");
    }

    /// The server's answer to one command, as text.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.try_ask(command).expect("an answer")
    }

    /// The number of script calls.
    pub(crate) fn calls(&self) -> u64 {
        let stats = self.ask("INFO commandstats");
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        let calls = line.and_then(|line| line.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }

    fn try_ask(&self, command: &str) -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // Redis answers the first command and then closes the connection.
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Waits until it answers; `false` if it has exited.
    fn is_ready(&mut self) -> bool {
        for _ in 0..PATIENCE {
            if self.child.try_wait().expect("a process").is_some() {
                return false;
            }
            let answer = self.try_ask("PING");
            if answer.is_ok_and(|answer| answer.starts_with("+PONG")) {
                return true;
            }
            thread::sleep(PAUSE);
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn skip(error: &std::io::Error) -> Option<Server> {
    let skipped = format!("SKIPPED, no redis-server (apt install redis-server): {error}");
    let required = env::var_os("PORTCULLIS_REQUIRE_ALL").is_some_and(|all| all == "1");
    assert!(!required, "{skipped}");
    // The print macros would be captured by the test harness.
    let line = format!("{skipped}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr");
    None
}

/// Sends a signal by its name, such as `STOP`.
pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.expect("kill").success());
}

fn spawn(port: u16, settings: &[&str]) -> std::io::Result<Child> {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port])
        .args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--maxmemory-policy",
            "noeviction",
        ])
        .args(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}
