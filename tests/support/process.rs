//! Runs examples as processes that never outlive the test.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

/// A process that is killed on drop.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<ChildStderr>,
}

/// The exit code and output of a process.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    #[allow(dead_code)]
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Longer than any example needs, even on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Runs an example until it exits.
#[allow(dead_code)]
#[track_caller]
pub(crate) fn run(example: &str, arguments: &[&str]) -> Ended {
    Running::start(example, arguments).end()
}

// === impl Running ===

impl Running {
    #[track_caller]
    pub(crate) fn start(example: &str, arguments: &[&str]) -> Self {
        Self::start_with(example, arguments, &[])
    }

    /// Like [`start`](Self::start), with additional environment variables.
    #[track_caller]
    pub(crate) fn start_with(
        example: &str,
        arguments: &[&str],
        variables: &[(String, String)],
    ) -> Self {
        Self::spawn(Command::new(built(example)).args(arguments), variables)
    }

    /// Limits the number of open files.
    #[allow(dead_code)] // Not all test binaries use it.
    #[track_caller]
    pub(crate) fn start_limited(example: &str, arguments: &[&str], files: u32) -> Self {
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limited]).arg(built(example));
        Self::spawn(command.args(arguments), &[])
    }

    #[track_caller]
    fn spawn(command: &mut Command, variables: &[(String, String)]) -> Self {
        let mut child = command
            .envs(variables.iter().cloned())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        Self {
            stdout: child.stdout.take().map(BufReader::new),
            stderr: child.stderr.take(),
            child,
        }
    }

    #[allow(dead_code)]
    /// The next line of output; `None` at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stdout.as_mut()?.read_line(&mut line).expect("text");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Takes its output, so that the caller can read it continuously.
    #[allow(dead_code)] // Not all test binaries use it.
    pub(crate) fn output(&mut self) -> BufReader<ChildStdout> {
        self.stdout.take().expect("an output that nobody took")
    }

    #[allow(dead_code)]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits until it exits.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        // Read concurrently, or a process with much output would block.
        let stdout = self.stdout.take().map(read);
        let stderr = self.stderr.take().map(read);
        let mut waited = Duration::ZERO;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a process") {
                break status;
            }
            assert!(waited < PATIENCE, "the example does not end");
            thread::sleep(PAUSE);
            waited += PAUSE;
        };
        let text = |reader: Option<JoinHandle<String>>| reader.map(|it| it.join().expect("text"));
        Ended {
            code: status.code(),
            stdout: text(stdout).unwrap_or_default(),
            stderr: text(stderr).unwrap_or_default(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("text");
        text
    })
}

/// The path of the example's program. Cargo builds it with the tests; it is rebuilt here if only
/// this test was requested.
fn built(example: &str) -> PathBuf {
    static ONE_BUILD: Mutex<()> = Mutex::new(());
    let _guard = ONE_BUILD.lock().unwrap_or_else(PoisonError::into_inner);

    let test = env::current_exe().expect("this program");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>");
    let name = format!("{example}{}", env::consts::EXE_SUFFIX);
    let program = profile.join("examples").join(name);
    let sources = newest(Path::new("src")).max(newest(Path::new("examples")));
    if changed(&program) < sources {
        build(example, profile.file_name());
    }
    program
}

fn build(example: &str, profile: Option<&OsStr>) {
    let profile = match profile.and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--profile",
            profile,
            "--example",
            example,
        ])
        .status();
    assert!(built.expect("cargo").success(), "{example} does not build");
}

/// The modification time of the newest file below `folder`.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).expect("a folder");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let times = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => newest(&entry.path()),
        _ => changed(&entry.path()),
    });
    times.max().flatten()
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}
