//! The rules of windows once more, as plainly as they can be said: every record is kept, each (key, window) is a
//! list, each boundary looks at all of them. Nothing of the engine is used, so that it can be held against this.

use super::test_support::{Res, gap_of, is_bad_field, is_rejected};
use super::{Emit, Panes, WindowKind, WindowSpec};
use crate::plugin::TimeDomain;

type Key = Option<Vec<u8>>;
/// A record: timestamp, value.
type Kept = (Option<i64>, i64);

/// A (key, window).
#[derive(Clone, Debug)]
struct Group {
    key: Key,
    start: i64,
    end: i64,
    /// (timestamp, value), in order; emptied by a firing that discards.
    records: Vec<Kept>,
    /// Records since the last firing.
    since: u64,
}

/// What came of a batch.
#[derive(Debug, Default, PartialEq)]
pub struct BatchOutcome {
    pub results: Vec<Res>,
    pub late: Vec<i64>,
    pub rejected: Vec<i64>,
}

/// The model.
pub struct Model {
    spec: WindowSpec,
    text: fn(&[i64]) -> String,
    groups: Vec<Group>,
    /// Count windows: all records of each key, and how many of them have fired.
    counted: Vec<(Key, Vec<Kept>, usize)>,
    watermark: i64,
    now: i64,
    ended: bool,
}

impl Model {
    pub fn new(spec: WindowSpec, text: fn(&[i64]) -> String) -> Model {
        Model {
            spec,
            text,
            groups: Vec::new(),
            counted: Vec::new(),
            watermark: i64::MIN,
            now: 0,
            ended: false,
        }
    }

    /// "No record with ts <= this comes any more", in the windows' clock.
    fn passed(&self) -> i64 {
        if self.ended {
            return i64::MAX;
        }
        if self.spec.time == TimeDomain::Event {
            self.watermark
        } else {
            self.now - 1
        }
    }

    fn closes_at(&self, end: i64) -> i64 {
        if self.spec.kind == WindowKind::Global {
            i64::MAX
        } else {
            end - 1
        }
    }

    fn closed(&self, end: i64) -> bool {
        self.passed() >= self.closes_at(end)
    }

    fn gone(&self, end: i64) -> bool {
        let lateness = if self.spec.time == TimeDomain::Event {
            self.spec.allowed_lateness_ms
        } else {
            0
        };
        self.passed() >= self.closes_at(end).saturating_add(lateness)
    }

    fn result(&self, g: &Group) -> Res {
        let values: Vec<i64> = g.records.iter().map(|r| r.1).collect();
        let text = (self.text)(&values);
        if self.spec.kind == WindowKind::Global {
            return (
                g.key.clone(),
                None,
                g.records.iter().filter_map(|r| r.0).max(),
                text,
            );
        }
        (g.key.clone(), Some((g.start, g.end)), Some(g.end - 1), text)
    }

    fn fire(&mut self, at: usize) -> Res {
        let result = self.result(&self.groups[at]);
        self.groups[at].since = 0;
        if self.spec.panes == Panes::Discarding {
            self.groups[at].records.clear();
        }
        result
    }

    fn in_order(&self, mut firing: Vec<usize>) -> Vec<usize> {
        firing.sort_by_key(|at| {
            (
                self.groups[*at].end,
                self.groups[*at].start,
                self.groups[*at].key.clone(),
            )
        });
        firing
    }

    pub fn batch(&mut self, records: &[(Key, Option<i64>, i64)]) -> BatchOutcome {
        let mut outcome = BatchOutcome::default();
        for (key, timestamp, value) in records {
            self.record(key, *timestamp, *value, &mut outcome);
        }
        outcome
    }

    fn record(
        &mut self,
        key: &Key,
        timestamp: Option<i64>,
        value: i64,
        outcome: &mut BatchOutcome,
    ) {
        let kind = self.spec.kind.clone();
        // Late is decided first, unless the function is asked for the gap.
        let late_first = !matches!(
            kind,
            WindowKind::Count { .. } | WindowKind::Session { gap: None }
        );
        if is_bad_field(value) && !late_first {
            return outcome.rejected.push(value);
        }
        if let WindowKind::Count { size, every } = kind {
            return self.count(
                key,
                timestamp,
                value,
                size as usize,
                every as usize,
                outcome,
            );
        }
        let time = if self.spec.time == TimeDomain::Processing {
            Some(self.now)
        } else {
            timestamp
        };
        let windows: Vec<(i64, i64)> = match (kind, time) {
            (WindowKind::Global, _) => vec![(i64::MIN, i64::MAX)],
            (_, None) => return outcome.rejected.push(value),
            (WindowKind::Tumbling { size, offset }, Some(t)) => (t - size + 1..=t)
                .filter(|s| (s - offset).rem_euclid(size) == 0)
                .map(|s| (s, s + size))
                .collect(),
            (
                WindowKind::Sliding {
                    size,
                    every,
                    offset,
                },
                Some(t),
            ) => (t - size + 1..=t)
                .filter(|s| (s - offset).rem_euclid(every) == 0)
                .map(|s| (s, s + size))
                .collect(),
            (WindowKind::Session { gap }, Some(t)) => {
                let gap = gap.unwrap_or_else(|| gap_of(value));
                if gap <= 0 {
                    return outcome.rejected.push(value);
                }
                return self.session(key, t, t + gap, timestamp, value, outcome);
            }
            (WindowKind::Count { .. }, _) => unreachable!("handled above"),
        };
        let alive: Vec<(i64, i64)> = windows
            .into_iter()
            .filter(|(_, end)| !self.gone(*end))
            .collect();
        if alive.is_empty() {
            return outcome.late.push(value);
        }
        if is_rejected(value) || is_bad_field(value) {
            return outcome.rejected.push(value);
        }
        for (start, end) in alive {
            let found = self
                .groups
                .iter()
                .position(|g| g.key == *key && g.start == start && g.end == end);
            let at = found.unwrap_or_else(|| {
                self.groups.push(Group {
                    key: key.clone(),
                    start,
                    end,
                    records: vec![],
                    since: 0,
                });
                self.groups.len() - 1
            });
            self.groups[at].records.push((timestamp, value));
            self.groups[at].since += 1;
        }
        self.fire_full(outcome);
    }

    fn session(
        &mut self,
        key: &Key,
        start: i64,
        end: i64,
        timestamp: Option<i64>,
        value: i64,
        outcome: &mut BatchOutcome,
    ) {
        let mut met: Vec<usize> = (0..self.groups.len())
            .filter(|i| {
                self.groups[*i].key == *key
                    && self.groups[*i].start <= end
                    && self.groups[*i].end >= start
            })
            .collect();
        met.sort_by_key(|i| self.groups[*i].start);
        let mut one = Group {
            key: key.clone(),
            start,
            end,
            records: vec![],
            since: 0,
        };
        for i in &met {
            let g = &self.groups[*i];
            one.start = one.start.min(g.start);
            one.end = one.end.max(g.end);
            one.since += g.since;
            one.records.extend(&g.records);
        }
        if self.gone(one.end) {
            return outcome.late.push(value);
        }
        if is_rejected(value) || is_bad_field(value) {
            return outcome.rejected.push(value);
        }
        one.since += 1;
        one.records.push((timestamp, value));
        let mut i = 0;
        self.groups.retain(|_| {
            i += 1;
            !met.contains(&(i - 1))
        });
        self.groups.push(one);
        self.fire_full(outcome);
    }

    /// `records = n`, right after a record.
    fn fire_full(&mut self, outcome: &mut BatchOutcome) {
        let Some(n) = self.spec.trigger.records else {
            return;
        };
        let full: Vec<usize> = (0..self.groups.len())
            .filter(|i| self.groups[*i].since >= n && !self.closed(self.groups[*i].end))
            .collect();
        if full.is_empty() {
            return;
        }
        let firing = if self.spec.emit == Emit::Complete {
            (0..self.groups.len()).collect()
        } else {
            full
        };
        for at in self.in_order(firing) {
            let result = self.fire(at);
            outcome.results.push(result);
        }
    }

    fn count(
        &mut self,
        key: &Key,
        timestamp: Option<i64>,
        value: i64,
        size: usize,
        every: usize,
        outcome: &mut BatchOutcome,
    ) {
        if is_rejected(value) {
            return outcome.rejected.push(value);
        }
        let at = self
            .counted
            .iter()
            .position(|c| c.0 == *key)
            .unwrap_or_else(|| {
                self.counted.push((key.clone(), vec![], 0));
                self.counted.len() - 1
            });
        self.counted[at].1.push((timestamp, value));
        let (_, all, _) = &self.counted[at];
        if all.len() % every == 0 {
            let last = all[all.len().saturating_sub(size)..].to_vec();
            outcome.results.push(self.counted_result(key, &last));
            self.counted[at].2 = self.counted[at].1.len();
        }
    }

    fn counted_result(&self, key: &Key, records: &[Kept]) -> Res {
        let values: Vec<i64> = records.iter().map(|r| r.1).collect();
        (
            key.clone(),
            None,
            records.iter().filter_map(|r| r.0).max(),
            (self.text)(&values),
        )
    }

    pub fn boundary(&mut self, watermark: i64, now: i64, end: bool) -> Vec<Res> {
        let before = (self.watermark, self.now);
        let was_closed: Vec<bool> = self.groups.iter().map(|g| self.closed(g.end)).collect();
        (self.watermark, self.now, self.ended) = (watermark, now, end);
        let multiple = |p: Option<i64>, from: i64, to: i64| {
            p.is_some_and(|p| (from + 1..=to).any(|m| m % p == 0))
        };
        let from = if before.0 == i64::MIN {
            0.min(watermark.saturating_add(1))
        } else {
            before.0 + 1
        };
        let spec = self.spec.clone();
        // The end of time is past many multiples.
        let event = if watermark == i64::MAX {
            spec.trigger.every_event_ms.is_some()
        } else {
            multiple(spec.trigger.every_event_ms, from, watermark + 1)
        };
        let due = event || multiple(spec.trigger.every_ms, before.1, now);
        let open_fires = due || (spec.emit != Emit::Append && spec.trigger.is_none());
        let any_closes =
            (0..self.groups.len()).any(|i| !was_closed[i] && self.closed(self.groups[i].end));
        let any_changed = self.groups.iter().any(|g| g.since > 0);
        let all = spec.emit == Emit::Complete && any_changed && (open_fires || any_closes);
        let firing = (0..self.groups.len()).filter(|&i| {
            let g = &self.groups[i];
            let closed = self.closed(g.end);
            let closes = closed && !was_closed[i];
            all || match spec.emit {
                Emit::Append if closes => spec.panes == Panes::Accumulating || g.since > 0,
                Emit::Append => g.since > 0 && (closed || due),
                Emit::Update => g.since > 0 && (closed || open_fires),
                Emit::Complete => g.since > 0 && closed && !closes,
            }
        });
        let firing = self.in_order(firing.collect());
        let mut results: Vec<Res> = firing.into_iter().map(|at| self.fire(at)).collect();
        let keep: Vec<bool> = self.groups.iter().map(|g| !self.gone(g.end)).collect();
        let mut keep = keep.into_iter();
        self.groups.retain(|_| keep.next().unwrap());
        if self.ended {
            let mut counted = std::mem::take(&mut self.counted);
            counted.sort();
            let rest = counted.iter().filter(|(_, all, fired)| all.len() > *fired);
            results.extend(rest.map(|(key, all, fired)| self.counted_result(key, &all[*fired..])));
        }
        results
    }
}
