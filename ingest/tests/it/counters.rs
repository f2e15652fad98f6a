//! The metrics' counters of this process, of all tests that run in it: they only grow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

/// By name and the values of the labels.
pub type Counts = BTreeMap<String, u64>;

type Known = Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>;

struct Counters(Known);

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let name = key
            .labels()
            .fold(key.name().to_owned(), |name, label| name + " " + label.value());
        Counter::from_arc(self.0.lock().entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Counted from the first call on.
pub fn read() -> Counts {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let known = Known::default();
        metrics::set_global_recorder(Counters(known.clone())).expect("the only recorder");
        known
    });
    let known = known.lock();
    let counts = known
        .iter()
        .map(|(name, n)| (name.clone(), n.load(Ordering::Relaxed)));
    counts.collect()
}
