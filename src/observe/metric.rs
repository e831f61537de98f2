//! Counters, gauges and histograms, which do nothing without the feature `metrics`.

use std::sync::Arc;
use std::time::Duration;

/// Whether metrics are compiled in.
pub(super) const ENABLED: bool = cfg!(feature = "metrics");

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(test, feature = "metrics")), allow(dead_code))]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The name of a metric and the names of its labels.
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
pub(super) struct Metric<const N: usize> {
    name: &'static str,
    labels: [&'static str; N],
}

/// The value of a label: a fixed word, or a name that was configured.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
pub(super) enum Label<'a> {
    Fixed(&'static str),
    Shared(&'a Arc<str>),
    Text(&'a str),
}

/// A counter with its labels, bound to the recorder.
#[derive(Clone, Debug)]
pub(super) struct Counter(#[cfg(feature = "metrics")] metrics::Counter);

/// A histogram with its labels, bound to the recorder.
#[derive(Clone, Debug)]
pub(super) struct Histogram(#[cfg(feature = "metrics")] metrics::Histogram);

// === impl Metric ===

impl<const N: usize> Metric<N> {
    pub(super) const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, labels }
    }
}

#[cfg(feature = "metrics")]
impl<const N: usize> Metric<N> {
    pub(super) fn counter(&self, values: [Label<'_>; N]) -> Counter {
        let key = self.key(values);
        Counter(metrics::with_recorder(|recorder| {
            recorder.register_counter(&key, &METADATA)
        }))
    }

    pub(super) fn histogram(&self, values: [Label<'_>; N]) -> Histogram {
        let key = self.key(values);
        Histogram(metrics::with_recorder(|recorder| {
            recorder.register_histogram(&key, &METADATA)
        }))
    }

    pub(super) fn set(&self, values: [Label<'_>; N], value: f64) {
        let key = self.key(values);
        let gauge = metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA));
        gauge.set(value);
    }

    fn key(&self, values: [Label<'_>; N]) -> metrics::Key {
        let labels = self.labels.into_iter().zip(values);
        let labels = labels.map(|(label, value)| metrics::Label::new(label, value));
        metrics::Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self)]
impl<const N: usize> Metric<N> {
    pub(super) fn counter(&self, _: [Label<'_>; N]) -> Counter {
        Counter()
    }

    pub(super) fn histogram(&self, _: [Label<'_>; N]) -> Histogram {
        Histogram()
    }

    pub(super) fn set(&self, _: [Label<'_>; N], _: f64) {}
}

#[cfg(feature = "metrics")]
static METADATA: metrics::Metadata<'static> =
    metrics::Metadata::new("portcullis", metrics::Level::INFO, Some("portcullis"));

// === impl Counter ===

impl Counter {
    pub(super) fn add(&self, times: u64) {
        #[cfg(feature = "metrics")]
        self.0.increment(times);
        let _ = times;
    }
}

// === impl Histogram ===

impl Histogram {
    pub(super) fn record(&self, duration: Duration) {
        #[cfg(feature = "metrics")]
        self.0.record(duration);
        let _ = duration;
    }
}

// === impl Label ===

#[cfg(feature = "metrics")]
impl From<Label<'_>> for metrics::SharedString {
    fn from(label: Label<'_>) -> Self {
        match label {
            Label::Fixed(word) => Self::const_str(word),
            Label::Shared(name) => Self::from_shared(Arc::clone(name)),
            Label::Text(name) => Self::from_owned(name.to_owned()),
        }
    }
}
