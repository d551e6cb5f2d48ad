use std::collections::BTreeMap;

use crate::keyed::KeyId;
use crate::plugin::{FiredTimer, RejectKind, Rejected, TimeDomain};
use crate::record::{Batch, Form, Value};
use crate::step::{Boundary, Output, Progress, StepError};
use crate::time::Watermark;

use super::ProcessStep;
use super::call::{Call, Due};
use super::cold::Brought;
use super::keyed::clock;

/// Timers in one call.
const FIRED_MAX: usize = 4096;

/// Calls before the step lets others work.
const CALLS_MAX: usize = 8;

/// Keys dropped for their age before the step lets others work.
const EXPIRED_MAX: usize = 64 * 1024;

/// Timers of one key that may be set and fire at one boundary. A day of seconds fits: clocks jump.
const REARMED_MAX: u32 = 100_000;

/// The same at the end of input, where time has no bound and a periodic timer would never stop.
const REARMED_AT_END_MAX: u32 = 1_000;

/// What is left to do at a boundary.
#[derive(Debug)]
pub(super) struct Firing {
    pub(super) watermark: Watermark,
    /// What the two clocks show; none: nothing is known yet.
    pub(super) clocks: [Option<i64>; 2],
    rearmed_max: u32,
    /// In order, from `next` on.
    pub(super) due: Vec<Due>,
    next: usize,
    pub(super) expired: Option<Vec<(i64, KeyId)>>,
    /// How far what is due among the keys beyond memory was brought back.
    pub(super) brought: Brought,
}

/// Timers that became due while timers fire: (time, key, clock).
pub(super) type Rearmed = BTreeMap<(i64, Option<Box<[u8]>>, TimeDomain), KeyId>;

impl ProcessStep {
    /// Moves the clocks, and collects what is due.
    pub(super) fn start_firing(&mut self, at: Boundary<'_>) -> Firing {
        self.boundaries += 1;
        self.now = at.now;
        let watermark = self
            .watermark
            .max(if at.end { Watermark::END } else { at.watermark });
        let event = (watermark != Watermark::NONE).then_some(watermark.0);
        match self.spec.time {
            TimeDomain::Processing => self.stamp(at.now),
            TimeDomain::Event => event.into_iter().for_each(|w| self.stamp(w)),
        }
        let clocks = [event, Some(if at.end { i64::MAX } else { at.now })];
        let mut due = Vec::new();
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            if let Some(time) = clocks[clock(domain)] {
                self.keys.note_time(clock(domain), time);
                let all = self.queues[clock(domain)].pop_until(time);
                due.reserve(all.len());
                for (time, key) in all {
                    // Others were passed over: deleted, or an earlier one came in between.
                    if self.keys.contains(key)
                        && self.keys.get(key).scheduled[clock(domain)] == Some(time)
                    {
                        due.push(Due { time, key, domain });
                    }
                }
            }
        }
        let keys = &self.keys;
        due.sort_by(|a, b| {
            a.time
                .cmp(&b.time)
                .then_with(|| keys.key(a.key).cmp(&keys.key(b.key)))
                .then(a.domain.cmp(&b.domain))
        });
        let rearmed_max = if at.end {
            REARMED_AT_END_MAX
        } else {
            REARMED_MAX
        };
        self.fire_from = Some((clocks, Rearmed::new()));
        Firing {
            watermark,
            clocks,
            rearmed_max,
            due,
            next: 0,
            expired: None,
            brought: Brought::start(self.keys.cold()),
        }
    }

    /// Whether timers are firing: what is set behind its clock joins them.
    pub(super) fn firing_now(&self) -> bool {
        self.fire_from.is_some()
    }

    /// Puts a key's least timer where it will be found.
    pub(super) fn enqueue(&mut self, due: Due) {
        if let Some((clocks, rearmed)) = &mut self.fire_from
            && due.is_due(*clocks)
        {
            rearmed.insert(
                (due.time, self.keys.key(due.key).map(Box::from), due.domain),
                due.key,
            );
            return;
        }
        self.queues[clock(due.domain)].push(due.time, due.key);
    }

    /// The next timer in order, still in its place; `from_due`: where it is. None, too, where timers of keys beyond memory
    /// may come before it.
    fn peek(&self, firing: &Firing) -> Option<(Due, bool)> {
        let next = self.peek_any(firing)?;
        let Due { time, key, .. } = next.0;
        let bytes = || self.keys.contains(key).then(|| self.keys.key(key));
        firing
            .brought
            .covers(time, || bytes().flatten())
            .then_some(next)
    }

    fn peek_any(&self, firing: &Firing) -> Option<(Due, bool)> {
        let rearmed = self
            .fire_from
            .as_ref()
            .and_then(|(_, rearmed)| rearmed.first_key_value());
        let first = firing.due.get(firing.next);
        let Some(((time, key_bytes, domain), &key)) = rearmed else {
            return first.map(|&due| (due, true));
        };
        let again = Due {
            time: *time,
            key,
            domain: *domain,
        };
        let Some(&first) = first else {
            return Some((again, false));
        };
        let bytes = if self.keys.contains(first.key) {
            self.keys.key(first.key)
        } else {
            None
        };
        let order = first
            .time
            .cmp(time)
            .then_with(|| bytes.cmp(&key_bytes.as_deref()))
            .then(first.domain.cmp(domain));
        Some(if order.is_le() {
            (first, true)
        } else {
            (again, false)
        })
    }

    /// Fires what is due, a few calls of it; then drops what is too old.
    pub(super) fn fire(
        &mut self,
        firing: &mut Firing,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        for _ in 0..CALLS_MAX {
            let call = self.next_call(firing, out)?;
            if call.keys.is_empty() {
                if firing.brought == Brought::All && self.peek(firing).is_none() {
                    self.fire_from = None;
                    return self.expire(firing);
                }
                continue;
            }
            let mut nothing = Batch::of(0, Value::new(Form::Null));
            self.function.prepare(&mut nothing)?;
            let keys = call.keys.clone();
            self.run(&nothing, call, out)?;
            for key in keys {
                if self.keys.contains(key) {
                    self.schedule(key, TimeDomain::Event);
                    self.schedule(key, TimeDomain::Processing);
                }
            }
        }
        Ok(Progress::More)
    }

    /// Takes timers in order, up to the second of one key.
    fn next_call(&mut self, firing: &mut Firing, out: &mut dyn Output) -> Result<Call, StepError> {
        self.calls += 1;
        let mut call = Call::default();
        while call.fired.len() < FIRED_MAX {
            let Some((due, from_due)) = self.peek(firing) else {
                if firing.brought == Brought::All {
                    break;
                }
                self.bring_due(firing)?;
                continue;
            };
            let Due { time, key, domain } = due;
            let here = self.keys.contains(key)
                && self.keys.get(key).scheduled[clock(domain)] == Some(time);
            // One that was deleted ends no call: a key that was beyond memory meanwhile knows nothing of it.
            let keyed = || self.keys.get(key);
            let set = here && keyed().timers.binary_search(&(time, domain)).is_ok();
            if set && keyed().group.0 == self.calls {
                break;
            }
            if from_due {
                firing.next += 1;
            } else if let Some((_, rearmed)) = &mut self.fire_from {
                rearmed.pop_first();
            }
            if !here {
                continue;
            }
            // Only a timer that is still set shows that a key's state is too old.
            if set
                && self.spec.time == domain
                && self.expiry(key).is_some_and(|expiry| expiry < time)
            {
                self.drop_key(key);
                continue;
            }
            let (boundaries, rearmed_max) = (self.boundaries, firing.rearmed_max);
            let keyed = self.keys.get_mut(key);
            keyed.scheduled[clock(domain)] = None;
            if keyed.budget.0 != boundaries {
                keyed.budget = (
                    boundaries,
                    rearmed_max.saturating_add(keyed.timers.len() as u32),
                );
            }
            if !keyed.change_timer(time, domain, false) {
                // It was deleted; a later one may be there.
                self.schedule(key, domain);
                continue;
            }
            self.keys.touch(key);
            let keyed = self.keys.get_mut(key);
            if keyed.budget.1 == 0 {
                let message = format!(
                    "a timer at {time} was not fired: timers of this key were set and fired {rearmed_max} times at one boundary"
                );
                let rejected = Rejected {
                    row: 0,
                    kind: RejectKind::Step,
                    message,
                    log: Vec::new(),
                };
                out.reject_result(self.keys.key(key), None, rejected)?;
                if self.keys.get(key).is_empty() {
                    self.drop_key(key);
                } else {
                    self.schedule(key, domain);
                }
                continue;
            }
            keyed.budget.1 -= 1;
            let group = call.add_group(key);
            self.keys.get_mut(key).group = (self.calls, group);
            call.fired.push(FiredTimer {
                group,
                domain,
                time,
            });
        }
        Ok(call)
    }

    /// Drops the key if its state is too old.
    pub(super) fn expire_key(&mut self, key: KeyId, time: i64) {
        match self.expiry(key) {
            Some(expiry) if expiry <= time => self.drop_key(key),
            _ => self.schedule_ttl(key),
        }
    }

    /// Drops keys whose state is too old.
    fn expire(&mut self, firing: &mut Firing) -> Result<Progress, StepError> {
        let domain = self.spec.time;
        let Some(time) = firing.clocks[clock(domain)] else {
            return Ok(Progress::Done);
        };
        let expired = firing
            .expired
            .get_or_insert_with(|| self.ttl.pop_until(time));
        let some = expired.split_off(expired.len().saturating_sub(EXPIRED_MAX));
        let done = expired.is_empty();
        for (at, key) in some {
            if !self.keys.contains(key) || self.keys.get(key).ttl_scheduled != Some(at) {
                continue;
            }
            self.keys.get_mut(key).ttl_scheduled = None;
            self.expire_key(key, time);
        }
        if !done {
            return Ok(Progress::More);
        }
        self.expire_cold(time)
    }
}
