//! Metrics that a guest registers and records: counters, gauges, histograms, bounded in number.
//!
//! Values of a call count when the call returned ok, like all its effects.

use super::RejectKind;
use super::failure::Wrong;

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Last value.
    Gauge,
    /// Distribution.
    Histogram,
}

/// A metric's value so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name that the guest gave.
    pub name: String,
    /// Kind.
    pub kind: MetricKind,
    /// Counter: the sum. Gauge: the last value. Histogram: the sum of all values.
    pub value: f64,
    /// Values recorded.
    pub count: u64,
    /// Least value (histograms).
    pub min: f64,
    /// Greatest value (histograms).
    pub max: f64,
}

/// All metrics of one step's partition; kept when the instance is replaced.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    metrics: Vec<Metric>,
    pending: Vec<Option<Metric>>,
}

impl Metrics {
    /// `host.metric`.
    pub fn register(
        &mut self,
        name: &str,
        kind: MetricKind,
        names_max: usize,
    ) -> Result<u32, Wrong> {
        if let Some(i) = self.metrics.iter().position(|m| m.name == name) {
            let known = self.metrics[i].kind;
            if known != kind {
                return Err(
                    format!("metric \"{name}\" is a {known:?}, and now a {kind:?}")
                        .to_lowercase()
                        .into(),
                );
            }
            return Ok(i as u32);
        }
        let valid = name.len() <= 100
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if !valid {
            return Err(format!(
                "metric name {:?} is not [a-z][a-z0-9_-]{{0,99}}",
                super::host::cut(name, 100)
            )
            .into());
        }
        if self.metrics.len() >= names_max {
            return Err(Wrong::limit(
                RejectKind::MetricLimit,
                format!("more than {names_max} metrics"),
            ));
        }
        self.metrics.push(empty(name.to_string(), kind));
        self.pending.push(None);
        Ok(self.metrics.len() as u32 - 1)
    }

    /// `host.record-metric`.
    pub fn record(&mut self, id: u32, value: f64) -> Result<(), String> {
        let Some(metric) = self.metrics.get(id as usize) else {
            return Err(format!("record-metric: there is no metric {id}"));
        };
        if !value.is_finite() {
            return Err(format!("record-metric: {value} for \"{}\"", metric.name));
        }
        if metric.kind == MetricKind::Counter && value < 0.0 {
            return Err(format!(
                "record-metric: {value} for the counter \"{}\", which only grows",
                metric.name
            ));
        }
        let pending =
            self.pending[id as usize].get_or_insert_with(|| empty(String::new(), metric.kind));
        pending.count += 1;
        pending.min = pending.min.min(value);
        pending.max = pending.max.max(value);
        match metric.kind {
            MetricKind::Gauge => pending.value = value,
            MetricKind::Counter | MetricKind::Histogram => pending.value += value,
        }
        Ok(())
    }

    /// The call returned ok.
    pub fn commit(&mut self) {
        for (metric, pending) in self.metrics.iter_mut().zip(&mut self.pending) {
            let Some(new) = pending.take() else { continue };
            metric.count += new.count;
            metric.min = metric.min.min(new.min);
            metric.max = metric.max.max(new.max);
            match metric.kind {
                MetricKind::Gauge => metric.value = new.value,
                MetricKind::Counter | MetricKind::Histogram => metric.value += new.value,
            }
        }
    }

    /// The call failed, or the next one begins.
    pub fn discard(&mut self) {
        self.pending.iter_mut().for_each(|p| *p = None);
    }

    pub fn values(&self) -> &[Metric] {
        &self.metrics
    }
}

fn empty(name: String, kind: MetricKind) -> Metric {
    Metric {
        name,
        kind,
        value: 0.0,
        count: 0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_failed_call_do_not_count() {
        let mut m = Metrics::default();
        let id = m.register("seen", MetricKind::Counter, 2).unwrap();
        m.record(id, 2.0).unwrap();
        m.commit();
        m.record(id, 5.0).unwrap();
        m.discard();
        m.commit();
        assert_eq!(m.values()[0].value, 2.0);
    }

    #[test]
    fn names_are_bounded_and_kinds_stay() {
        let mut m = Metrics::default();
        m.register("a", MetricKind::Gauge, 1).unwrap();
        assert_eq!(
            m.register("b", MetricKind::Gauge, 1).unwrap_err().message,
            "more than 1 metrics"
        );
        assert_eq!(
            m.register("a", MetricKind::Counter, 1).unwrap_err().message,
            "metric \"a\" is a gauge, and now a counter"
        );
        assert!(m.record(7, 1.0).is_err());
    }
}
