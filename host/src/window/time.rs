//! Where time stands for a window step, and what a boundary moves: which windows close, which are past,
//! whether a trigger is due.

use super::{Trigger, WindowKind, WindowSpec};
use crate::plugin::TimeDomain;
use crate::step::Boundary;
use crate::time::Watermark;

/// Time as of the boundary before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepTime {
    /// The watermark.
    pub watermark: i64,
    /// Processing time; 0 until the first boundary (or `resume`) tells.
    pub now: i64,
    /// No record of the windows' own clock with a timestamp up to here will come: the watermark, or now - 1.
    pub passed: i64,
}

impl StepTime {
    /// Before everything.
    pub fn start(spec: &WindowSpec) -> StepTime {
        StepTime::at(spec, Watermark::NONE.0, 0, false)
    }

    fn at(spec: &WindowSpec, watermark: i64, now: i64, end: bool) -> StepTime {
        let passed = match spec.time {
            _ if end => Watermark::END.0,
            TimeDomain::Event => watermark,
            TimeDomain::Processing => now.saturating_sub(1),
        };
        StepTime {
            watermark,
            now,
            passed,
        }
    }

    /// Time after a boundary: neither clock moves back.
    pub fn after(self, spec: &WindowSpec, at: &Boundary<'_>) -> StepTime {
        StepTime::at(
            spec,
            self.watermark.max(at.watermark.0),
            self.now.max(at.now),
            at.end,
        )
    }
}

/// A boundary's move of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// Before.
    pub from: StepTime,
    /// Whether a trigger by time is due.
    pub due: bool,
}

impl Move {
    /// What this boundary does to time.
    pub fn new(from: StepTime, to: StepTime, trigger: &Trigger) -> Move {
        let passed_multiple = |period: Option<i64>, from: i64, to: i64| {
            period.is_some_and(|p| to.div_euclid(p.max(1)) > from.div_euclid(p.max(1)))
        };
        // A multiple m of event time is reached by W = m - 1, one of processing time by now = m. The first watermark
        // counts from 1970, as the clock does: else every job would fire when it first hears of time.
        let reached = to.watermark.saturating_add(1);
        let started = if from.watermark == Watermark::NONE.0 {
            reached.min(0)
        } else {
            from.watermark.saturating_add(1)
        };
        let event = passed_multiple(trigger.every_event_ms, started, reached);
        let due = event || passed_multiple(trigger.every_ms, from.now, to.now);
        Move { from, due }
    }
}

/// When windows end and for how long they are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// Kept so long past their end.
    lateness: i64,
    /// Windows for all time close at the end of it only.
    endless: bool,
}

impl Retention {
    /// That of a job's windows.
    pub fn of(spec: &WindowSpec) -> Retention {
        let endless = matches!(spec.kind, WindowKind::Global | WindowKind::Count { .. });
        let late_exists = spec.time == TimeDomain::Event && !endless;
        Retention {
            lateness: if late_exists {
                spec.allowed_lateness_ms.max(0)
            } else {
                0
            },
            endless,
        }
    }

    /// Whether a window with this end is closed.
    #[inline]
    pub fn is_closed(self, end: i64, passed: i64) -> bool {
        passed >= self.close_at(end)
    }

    /// Whether it is past: its records are late, its state can go.
    #[inline]
    pub fn is_past(self, end: i64, passed: i64) -> bool {
        passed >= self.past_at(end)
    }

    /// `passed` from which it is closed.
    #[inline]
    pub fn close_at(self, end: i64) -> i64 {
        if self.endless {
            i64::MAX
        } else {
            end.saturating_sub(1)
        }
    }

    /// `passed` from which it is past.
    #[inline]
    pub fn past_at(self, end: i64) -> i64 {
        self.close_at(end).saturating_add(self.lateness)
    }

    /// Whether closed windows are kept.
    pub fn keeps_closed(self) -> bool {
        self.lateness > 0
    }
}

/// Processing time of the next multiple of the trigger's period, if it has one.
pub(super) fn next_multiple(trigger: &Trigger, now: i64) -> Option<i64> {
    let period = trigger.every_ms?.max(1);
    now.div_euclid(period).checked_add(1)?.checked_mul(period)
}
