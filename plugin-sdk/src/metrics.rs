//! Counters, gauges and histograms. Summed here, sent once a call: an import costs some 70 ns.

use std::cell::RefCell;

use crate::contract::MetricKind;
use crate::host;

/// Only grows: `static CANCELLED: Counter = Counter::new("cancelled")`, then `CANCELLED.add(1.0)`.
pub struct Counter {
    name: &'static str,
}

/// Has the value set last.
pub struct Gauge {
    name: &'static str,
}

/// Collects a distribution.
pub struct Histogram {
    name: &'static str,
}

struct Pending {
    name: &'static str,
    kind: MetricKind,
    id: Option<u32>,
    values: Vec<f64>,
}

thread_local! {
    // A plugin has few metrics, so a list is the fastest map.
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

fn with(name: &'static str, kind: MetricKind, f: impl FnOnce(&mut Vec<f64>)) {
    PENDING.with_borrow_mut(|all| {
        let same = |p: &Pending| std::ptr::eq(p.name, name) || p.name == name;
        let at = all.iter().position(same).unwrap_or_else(|| {
            all.push(Pending {
                name,
                kind,
                id: None,
                values: Vec::new(),
            });
            all.len() - 1
        });
        f(&mut all[at].values);
    });
}

impl Counter {
    /// A counter of the job, by name.
    pub const fn new(name: &'static str) -> Counter {
        Counter { name }
    }

    /// Adds `n`.
    pub fn add(&self, n: f64) {
        with(self.name, MetricKind::Counter, |values| {
            match values.first_mut() {
                Some(sum) => *sum += n,
                None => values.push(n),
            }
        });
    }
}

impl Gauge {
    /// A gauge of the job, by name.
    pub const fn new(name: &'static str) -> Gauge {
        Gauge { name }
    }

    /// Sets it.
    pub fn set(&self, value: f64) {
        with(self.name, MetricKind::Gauge, |values| {
            values.clear();
            values.push(value);
        });
    }
}

impl Histogram {
    /// A histogram of the job, by name.
    pub const fn new(name: &'static str) -> Histogram {
        Histogram { name }
    }

    /// Observes a value.
    pub fn observe(&self, value: f64) {
        with(self.name, MetricKind::Histogram, |values| {
            values.push(value)
        });
    }
}

/// Sends what this call gathered.
pub(crate) fn send() {
    PENDING.with_borrow_mut(|all| {
        for metric in all.iter_mut().filter(|m| !m.values.is_empty()) {
            let id = *metric
                .id
                .get_or_insert_with(|| host::metric(metric.name, metric.kind));
            for value in metric.values.drain(..) {
                host::record_metric(id, value);
            }
        }
    });
}

/// Drops what was gathered, and the numbers that the last host gave.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn reset() {
    PENDING.with_borrow_mut(Vec::clear);
}
