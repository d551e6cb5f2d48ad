//! A naive join: keeps every row for ever, recomputes all matches each time. Tests compare the step with it.

use super::{Exclusive, JoinBounds, JoinKind, JoinSpec};
use crate::keyed::testing::{Rec, rec};

struct Kept {
    left: bool,
    record: Rec,
    /// Came out alone, or (semi, anti) is decided.
    out: bool,
}

pub(super) struct Model {
    spec: JoinSpec,
    reject: Option<u64>,
    rows: Vec<Kept>,
    watermark: i64,
    pub(super) main: Vec<Rec>,
    pub(super) late: Vec<Rec>,
    /// Rows blamed for failed pairs; values.
    pub(super) rejected: Vec<Rec>,
}

fn ts(record: &Rec) -> i128 {
    i128::from(record.ts.expect("the model gets rows with timestamps"))
}

impl Model {
    pub(super) fn new(spec: JoinSpec, reject: Option<u64>) -> Model {
        Model {
            spec,
            reject,
            rows: Vec::new(),
            watermark: i64::MIN,
            main: Vec::new(),
            late: Vec::new(),
            rejected: Vec::new(),
        }
    }

    fn matches(&self, left: &Rec, right: &Rec) -> bool {
        if left.key != right.key {
            return false;
        }
        match self.spec.bounds {
            JoinBounds::Interval {
                from,
                to,
                exclusive,
            } => {
                let (low, high) = (ts(left) + i128::from(from), ts(left) + i128::from(to));
                let low_ok = if matches!(exclusive, Exclusive::From | Exclusive::Both) {
                    low < ts(right)
                } else {
                    low <= ts(right)
                };
                let high_ok = if matches!(exclusive, Exclusive::To | Exclusive::Both) {
                    ts(right) < high
                } else {
                    ts(right) <= high
                };
                low_ok && high_ok
            }
            JoinBounds::Window { .. } => self.window(left) == self.window(right),
        }
    }

    /// Last millisecond of the row's window.
    fn window(&self, row: &Rec) -> i128 {
        let JoinBounds::Window { size, offset } = self.spec.bounds else {
            unreachable!("windowed joins only")
        };
        let (size, offset) = (i128::from(size), i128::from(offset));
        let mut end = offset;
        while end <= ts(row) {
            end += size * ((ts(row) - end) / size).max(1);
        }
        while end - size > ts(row) {
            end -= size * ((end - size - ts(row)) / size).max(1);
        }
        end - 1
    }

    /// Time after which the row can have no further partner.
    fn last(&self, left: bool, row: &Rec) -> i128 {
        match self.spec.bounds {
            JoinBounds::Interval {
                from,
                to,
                exclusive,
            } => {
                let (from_out, to_out) = (
                    matches!(exclusive, Exclusive::From | Exclusive::Both),
                    matches!(exclusive, Exclusive::To | Exclusive::Both),
                );
                if left {
                    ts(row) + i128::from(to) - i128::from(to_out)
                } else {
                    ts(row) - i128::from(from) - i128::from(from_out)
                }
            }
            JoinBounds::Window { .. } => self.window(row),
        }
    }

    /// Whether nothing at or before `time` is taken any more.
    fn past(&self, time: i128) -> bool {
        match self.watermark {
            i64::MIN => false,
            i64::MAX => true,
            w => {
                time <= i128::from(w) - i128::from(self.spec.allowed_lateness_ms)
                    && i128::from(w) - i128::from(self.spec.allowed_lateness_ms)
                        >= i128::from(i64::MIN)
            }
        }
    }

    fn pair(&mut self, left: Option<&Rec>, right: Option<&Rec>, second: &Rec) {
        let number = |r: Option<&Rec>| {
            r.and_then(|r| r.value.as_ref()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        if self
            .reject
            .is_some_and(|n| (number(left) + number(right)).is_multiple_of(n))
        {
            if self.rejected.last() != Some(second) {
                self.rejected.push(second.clone());
            }
            return;
        }
        let text = |r: Option<&Rec>| {
            r.map_or("-".to_owned(), |r| {
                r.value.clone().expect("rows have values")
            })
        };
        let later = left
            .into_iter()
            .chain(right)
            .filter_map(|r| r.ts)
            .max()
            .expect("one side is there");
        self.main.push(rec(
            second.key.as_ref().expect("rows have keys"),
            format!("{}|{}", text(left), text(right)),
            later,
        ));
    }

    pub(super) fn row(&mut self, left: bool, record: Rec) {
        let late_after = match self.spec.bounds {
            JoinBounds::Interval { .. } => ts(&record),
            JoinBounds::Window { .. } => self.window(&record),
        };
        if self.past(late_after.min(i128::from(i64::MAX))) {
            self.late.push(record);
            return;
        }
        let mut out = false;
        let partners: Vec<usize> = (0..self.rows.len())
            .filter(|&i| {
                let other = &self.rows[i];
                other.left != left
                    && if left {
                        self.matches(&record, &other.record)
                    } else {
                        self.matches(&other.record, &record)
                    }
            })
            .collect();
        for i in partners {
            let other = self.rows[i].record.clone();
            match (self.spec.kind, left) {
                (JoinKind::Semi | JoinKind::Anti, true) => {
                    if self.spec.kind == JoinKind::Semi && !out {
                        self.main.push(record.clone());
                    }
                    out = true;
                }
                (JoinKind::Semi | JoinKind::Anti, false) => {
                    if self.spec.kind == JoinKind::Semi && !self.rows[i].out {
                        self.main.push(other);
                    }
                    assert!(
                        self.spec.kind == JoinKind::Semi
                            || !self.rows[i].out
                            || !self.main.contains(&self.rows[i].record),
                        "spurious anti row"
                    );
                    self.rows[i].out = true;
                }
                (_, true) => {
                    assert!(
                        !self.rows[i].out,
                        "spurious outer row: it matches after it came out alone"
                    );
                    self.pair(Some(&record), Some(&other), &record);
                }
                (_, false) => {
                    assert!(
                        !self.rows[i].out,
                        "spurious outer row: it matches after it came out alone"
                    );
                    self.pair(Some(&other), Some(&record), &record);
                }
            }
        }
        self.rows.push(Kept { left, record, out });
    }

    pub(super) fn boundary(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        let mut alone: Vec<usize> = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            let outer = match self.spec.kind {
                JoinKind::Inner | JoinKind::Semi => false,
                JoinKind::Left | JoinKind::Anti => row.left,
                JoinKind::Right => !row.left,
                JoinKind::Full => true,
            };
            let matched = self.rows.iter().any(|other| {
                other.left != row.left
                    && if row.left {
                        self.matches(&row.record, &other.record)
                    } else {
                        self.matches(&other.record, &row.record)
                    }
            });
            let last = self
                .last(row.left, &row.record)
                .clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            if outer && !row.out && !matched && self.past(last) {
                alone.push(i);
            }
        }
        alone.sort_by_key(|&i| (self.rows[i].record.ts, self.rows[i].record.key.clone(), i));
        for i in alone {
            self.rows[i].out = true;
            let row = self.rows[i].record.clone();
            match (self.spec.kind, self.rows[i].left) {
                (JoinKind::Anti, _) => self.main.push(row),
                (_, true) => self.pair(Some(&row), None, &row),
                (_, false) => self.pair(None, Some(&row), &row),
            }
        }
    }
}
