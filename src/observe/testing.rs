//! Captures the events of one thread, for tests.
//!
//! A subscriber per test would race, because `tracing` caches the interest of a callsite for the
//! whole process. So one subscriber serves all tests, and each thread reads its own events.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use serde_json::Value;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// An event: its values, and the fields of its callsite whether they have a value or not.
pub(crate) struct Captured {
    pub(crate) values: Value,
    pub(crate) fields: Vec<&'static str>,
}

static SUBSCRIBER: LazyLock<()> = LazyLock::new(|| {
    let values = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(|| Lines);
    let subscriber = tracing_subscriber::registry().with(values).with(Fields);
    tracing::subscriber::set_global_default(subscriber).unwrap();
});

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static FIELDS: RefCell<Vec<Vec<&'static str>>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

struct Fields;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: tracing::Subscriber> Layer<S> for Fields {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let fields = event.metadata().fields().iter();
        let fields = fields.map(|field| field.name()).collect();
        FIELDS.with_borrow_mut(|all| all.push(fields));
    }
}

/// The events of this crate that `run` emits on this thread.
pub(crate) fn captured(run: impl FnOnce()) -> Vec<Captured> {
    LazyLock::force(&SUBSCRIBER);
    LINES.take();
    FIELDS.take();
    run();
    let text = String::from_utf8(LINES.take()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let events = lines.zip(FIELDS.take());
    let events = events.map(|(values, fields)| Captured { values, fields });
    events
        .filter(|event| event.values["target"] == "portcullis")
        .collect()
}

/// The values of [`captured`].
pub(crate) fn events(run: impl FnOnce()) -> Vec<Value> {
    let events = captured(run).into_iter();
    events.map(|event| event.values).collect()
}
