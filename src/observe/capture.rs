//! Captures the events of one thread, for tests.
//!
//! A subscriber per test would race: `tracing` caches the interest of a callsite for the process.
//! So one subscriber serves all tests, and each thread reads its own lines.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use serde_json::Value;

static SUBSCRIBER: LazyLock<()> = LazyLock::new(|| {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(|| Lines)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
});

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The events of this crate that `run` emits on this thread.
pub(crate) fn events(run: impl FnOnce()) -> Vec<Value> {
    LazyLock::force(&SUBSCRIBER);
    LINES.take();
    run();
    let text = String::from_utf8(LINES.take()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["target"] == "portcullis")
        .collect()
}
