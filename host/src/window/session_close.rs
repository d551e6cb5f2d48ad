//! What a boundary does to sessions: which fire, which go.

use std::cmp::Reverse;

use super::Emit;
use super::core::Core;
use super::session::Sessions;
use super::session_spill::Turn;
use super::time::{Move, StepTime, next_multiple};
use crate::plugin::TimeDomain;
use crate::step::{Boundary, Output, Progress, StepError};

/// A boundary that is being worked on.
#[derive(Debug)]
pub(super) struct Closing {
    to: StepTime,
    /// Nothing is left to do at this boundary after it.
    last: bool,
    /// Sessions that fire, the next one last once they are in order.
    firing: Vec<u32>,
    in_order: bool,
    /// Sessions that go without firing.
    going: Vec<u32>,
}

/// Entries popped one by one; if more are due, the rest is taken out in one pass.
const POPS: usize = 1024;

/// More than so many are put in order in a part of its own, so that others work between it and the plan.
const ORDERED_AT_ONCE: usize = 64 * 1024;

impl Sessions {
    /// Time moves. Answers `More` after each few thousand results.
    pub fn on_boundary(
        &mut self,
        core: &mut Core,
        at: &Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        let is_complete = core.spec.emit == Emit::Complete;
        if is_complete
            && self.closing.is_none()
            && self.boundary_whole(core, at, out)? == Progress::More
        {
            return Ok(Progress::More);
        }
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => {
                let to = core.time.after(&core.spec, at);
                let due = Move::new(core.time, to, &core.spec.trigger).due;
                let open_fires = !is_complete && (due || core.fires_each_boundary());
                let turn = self.next_turn(core, to, open_fires)?;
                let closing = self.plan_boundary(core, turn);
                if closing.firing.len() > ORDERED_AT_ONCE {
                    self.closing = Some(closing);
                    return Ok(Progress::More);
                }
                closing
            }
        };
        if !closing.in_order {
            self.sort(&mut closing.firing);
            closing.firing.reverse();
            closing.in_order = true;
        }
        while let Some(id) = closing.firing.pop() {
            self.fire(core, id)?;
            if core
                .retention
                .is_past(self.all[id as usize].end, closing.to.passed)
            {
                self.remove(core, id);
            }
            if core.results.is_full() {
                core.flush(out)?;
                self.closing = Some(closing);
                return Ok(Progress::More);
            }
        }
        for id in closing.going {
            self.remove(core, id);
        }
        core.flush(out)?;
        core.time = closing.to;
        // More sessions beyond memory may have something to do.
        Ok(if closing.last {
            Progress::Done
        } else {
            Progress::More
        })
    }

    fn plan_boundary(&mut self, core: &Core, turn: Turn) -> Closing {
        let to = turn.to;
        let from = core.time;
        let retention = core.retention;
        let whole = core.spec.emit == Emit::Append && !core.discards();
        let (mut firing, mut going) = (Vec::new(), Vec::new());
        for id in self.due(to.passed) {
            let end = self.all[id as usize].end;
            let closes_now =
                retention.is_closed(end, to.passed) && !retention.is_closed(end, from.passed);
            let fires = self.all[id as usize].count > 0 && retention.is_closed(end, to.passed)
                || whole && closes_now;
            if fires {
                firing.push(id);
            }
            if !retention.is_past(end, to.passed) {
                self.schedule(core, id, to.passed);
            } else if !fires {
                going.push(id);
            }
        }
        if core.tracks_changes() {
            let mut dirty = std::mem::take(&mut self.dirty);
            dirty.retain(|id| {
                let s = &self.all[*id as usize];
                let changed = s.count > 0;
                let fires = turn.open_until.is_some_and(|until| s.end <= until)
                    || retention.is_closed(s.end, to.passed);
                if changed && fires {
                    firing.push(*id);
                    return false;
                }
                changed
            });
            dirty.sort_unstable();
            dirty.dedup();
            self.dirty = dirty;
            firing.sort_unstable();
            firing.dedup();
        }
        Closing {
            to,
            last: turn.last,
            firing,
            in_order: false,
            going,
        }
    }

    /// Sessions whose deadline has come.
    fn due(&mut self, passed: i64) -> Vec<u32> {
        let mut due = Vec::new();
        let is_due =
            |top: Option<&Reverse<(i64, u32)>>| top.is_some_and(|Reverse((at, _))| *at <= passed);
        while is_due(self.deadlines.peek()) && due.len() < POPS {
            if let Some(Reverse((at, id))) = self.deadlines.pop()
                && self.take_deadline(at, id)
            {
                due.push(id);
            }
        }
        if is_due(self.deadlines.peek()) {
            let mut rest = std::mem::take(&mut self.deadlines).into_vec();
            rest.retain(|Reverse((at, id))| {
                if *at > passed {
                    return true;
                }
                if self.take_deadline(*at, *id) {
                    due.push(*id);
                }
                false
            });
            self.deadlines = rest.into();
        }
        due
    }

    /// Processing time at which something is to be done.
    pub fn next_wakeup(&self, core: &Core) -> Option<i64> {
        let closes = match core.spec.time {
            TimeDomain::Processing => {
                let cold = self.cold.as_ref().and_then(|cold| cold.next_due(0));
                let next = self.deadlines.peek().map(|Reverse((at, _))| *at);
                let next = next.into_iter().chain(cold).min();
                next.and_then(|at| at.checked_add(1))
            }
            TimeDomain::Event => None,
        };
        let triggers = if self.changed == 0 {
            None
        } else {
            next_multiple(&core.spec.trigger, core.time.now)
        };
        [closes, triggers].into_iter().flatten().min()
    }
}
