use arrow_array::BinaryArray;
use arrow_array::builder::BinaryBuilder;

use crate::config::plan::Port;
use crate::keyed::KeyId;
use crate::keyed::{key_of, timestamp_of};
use crate::plugin::{Fault, FiredTimer, Processed, RejectKind, Rejected, TimeDomain};
use crate::record::Batch;
use crate::step::{Output, StepError};

use super::ProcessStep;
use super::keyed::clock;

/// Timers of one key. A function that needs more keeps a list in its state.
pub(super) const TIMERS_MAX: usize = 100_000;

/// Bytes of the state of one key.
pub(super) const STATE_BYTES_MAX: usize = 64 << 20;

/// A timer whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) time: i64,
    pub(super) key: KeyId,
    pub(super) domain: TimeDomain,
}

/// One call of the function: rows of a batch, or timers.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) rows: Vec<u32>,
    /// Of each row.
    pub(super) groups: Vec<u32>,
    pub(super) fired: Vec<FiredTimer>,
    /// Of each group.
    pub(super) keys: Vec<KeyId>,
}

impl Call {
    pub(super) fn add_group(&mut self, key: KeyId) -> u32 {
        self.keys.push(key);
        self.keys.len() as u32 - 1
    }

    /// The newest time of each group among its rows and the event timers; the least i64 where there is none.
    fn times(&self, batch: &Batch) -> Vec<i64> {
        let mut times = vec![i64::MIN; self.keys.len()];
        let rows =
            self.rows.iter().zip(&self.groups).map(|(&row, &group)| {
                (group, timestamp_of(batch, row as usize).unwrap_or(i64::MIN))
            });
        let timers = self
            .fired
            .iter()
            .filter(|t| t.domain == TimeDomain::Event)
            .map(|t| (t.group, t.time));
        for (group, time) in rows.chain(timers) {
            let newest = &mut times[group as usize];
            *newest = time.max(*newest);
        }
        times
    }

    /// Leaves out what failed; rows and timers are numbered as in `Processed::rejected`.
    fn leave_out(&mut self, rejected: &[Rejected], batch_len: usize) -> bool {
        let failed = |row: u32| rejected.iter().any(|r| r.row == row);
        let before = self.rows.len() + self.fired.len();
        let mut keep = self.rows.iter().map(|&row| !failed(row));
        let kept: Vec<u32> = self
            .groups
            .iter()
            .copied()
            .filter(|_| keep.next().unwrap_or(true))
            .collect();
        self.groups = kept;
        self.rows.retain(|&row| !failed(row));
        let mut number = batch_len as u32;
        self.fired.retain(|_| {
            number += 1;
            !failed(number - 1)
        });
        self.rows.len() + self.fired.len() < before
    }
}

impl ProcessStep {
    /// Calls the function, without what fails, until it works; then its answer holds, all of it.
    pub(super) fn run(
        &mut self,
        batch: &Batch,
        mut call: Call,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        let keys = self.key_column(&call.keys);
        let mut states: Vec<Option<Box<[u8]>>> = call
            .keys
            .iter()
            .map(|&key| self.keys.get_mut(key).state.take())
            .collect();
        let answer = self.attempt(batch, &mut call, &keys, &states, out);
        for (&key, state) in call.keys.iter().zip(&mut states) {
            self.keys.get_mut(key).state = state.take();
        }
        let answer = answer?;
        if let Some(answer) = answer {
            self.commit(batch, &call, &keys, answer, out)?;
        }
        for &key in &call.keys {
            if self.keys.get(key).is_empty() {
                self.drop_key(key);
            }
        }
        Ok(())
    }

    fn key_column(&self, keys: &[KeyId]) -> BinaryArray {
        let mut column = BinaryBuilder::with_capacity(keys.len(), keys.len() * 16);
        for &key in keys {
            column.append_option(self.keys.key(key));
        }
        column.finish()
    }

    /// None: nothing was left to call with.
    fn attempt(
        &mut self,
        batch: &Batch,
        call: &mut Call,
        keys: &BinaryArray,
        states: &[Option<Box<[u8]>>],
        out: &mut dyn Output,
    ) -> Result<Option<Processed>, StepError> {
        loop {
            if call.rows.is_empty() && call.fired.is_empty() {
                return Ok(None);
            }
            let mut answer = self.function.process(
                batch,
                &call.rows,
                &call.groups,
                keys,
                states,
                &call.fired,
            )?;
            if answer.rejected.is_empty() {
                if answer.states.len() != states.len() {
                    return Err(broken(format!(
                        "{} states came back for {} groups",
                        answer.states.len(),
                        states.len()
                    )));
                }
                if answer
                    .timers
                    .iter()
                    .any(|op| op.group as usize >= states.len())
                {
                    return Err(broken(
                        "a timer was set for a group that is not there".to_owned(),
                    ));
                }
                answer.rejected = self.beyond_limits(batch, call, &answer);
                if answer.rejected.is_empty() {
                    return Ok(Some(answer));
                }
            }
            let (of_timers, of_rows): (Vec<_>, Vec<_>) = answer
                .rejected
                .iter()
                .cloned()
                .partition(|r| r.row as usize >= batch.len);
            let timers: Vec<_> = of_timers
                .into_iter()
                .filter_map(|r| {
                    call.fired
                        .get(r.row as usize - batch.len)
                        .map(|timer| (timer.group, r))
                })
                .collect();
            if !call.leave_out(&answer.rejected, batch.len) {
                return Err(broken("rows failed that were not given to it".to_owned()));
            }
            if !of_rows.is_empty() {
                out.reject(batch, of_rows)?;
            }
            for (group, rejected) in timers {
                out.reject_result(self.keys.key(call.keys[group as usize]), None, rejected)?;
            }
        }
    }

    /// Rows and timers of the groups whose answer is larger than any may be.
    fn beyond_limits(&self, batch: &Batch, call: &Call, answer: &Processed) -> Vec<Rejected> {
        let mut reasons: Vec<(u32, String)> = Vec::new();
        for (group, state) in (0..).zip(&answer.states) {
            let bytes = state.as_ref().map_or(0, |s| s.len());
            if bytes > STATE_BYTES_MAX {
                reasons.push((group, format!("its state would be {bytes} bytes, more than the {STATE_BYTES_MAX} that a key may have")));
            }
        }
        let mut sets = vec![
            0_usize;
            if answer.timers.len() + 1 > TIMERS_MAX / 2 {
                call.keys.len()
            } else {
                0
            }
        ];
        let busy =
            |group: u32| self.keys.get(call.keys[group as usize]).timers.len() > TIMERS_MAX / 2;
        if !sets.is_empty() || (0..call.keys.len() as u32).any(busy) {
            sets.resize(call.keys.len(), 0);
            for op in answer.timers.iter().filter(|op| op.set) {
                sets[op.group as usize] += 1;
            }
            for (group, &sets) in (0..).zip(&sets) {
                let timers = &self.keys.get(call.keys[group as usize]).timers;
                if timers.len() + sets <= TIMERS_MAX {
                    continue;
                }
                // Near the limit: count exactly.
                let mut all: std::collections::BTreeSet<_> = timers.iter().copied().collect();
                for op in answer.timers.iter().filter(|op| op.group == group) {
                    if op.set {
                        all.insert((op.time, op.domain));
                    } else {
                        all.remove(&(op.time, op.domain));
                    }
                }
                if all.len() > TIMERS_MAX {
                    reasons.push((group, format!("it would have {} timers, more than the {TIMERS_MAX} that a key may have", all.len())));
                }
            }
        }
        let mut rejected = Vec::new();
        for (group, message) in reasons {
            let reject = |row: u32| Rejected {
                row,
                kind: RejectKind::Step,
                message: message.clone(),
                log: Vec::new(),
            };
            rejected.extend(
                call.rows
                    .iter()
                    .zip(&call.groups)
                    .filter(|r| *r.1 == group)
                    .map(|r| reject(*r.0)),
            );
            rejected.extend(
                (batch.len as u32..)
                    .zip(&call.fired)
                    .filter(|f| f.1.group == group)
                    .map(|f| reject(f.0)),
            );
        }
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        rejected
    }

    fn commit(
        &mut self,
        batch: &Batch,
        call: &Call,
        keys: &BinaryArray,
        answer: Processed,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        let firing = self.firing_now();
        let mut timer_set = vec![
            false;
            if answer.timers.is_empty() {
                0
            } else {
                call.keys.len()
            }
        ];
        for op in &answer.timers {
            let key = call.keys[op.group as usize];
            if self
                .keys
                .get_mut(key)
                .change_timer(op.time, op.domain, op.set)
            {
                self.keys.touch(key);
                timer_set[op.group as usize] |= op.set;
            }
        }
        for op in &answer.timers {
            self.schedule(call.keys[op.group as usize], op.domain);
        }
        let times = if self.spec.time == TimeDomain::Event {
            call.times(batch)
        } else {
            Vec::new()
        };
        for (group, state) in answer.states.into_iter().enumerate() {
            let key = call.keys[group];
            let keyed = self.keys.get_mut(key);
            let changed = keyed.state != state;
            let written =
                changed || (state.is_none() && timer_set.get(group).is_some_and(|set| *set));
            if changed {
                self.state_bytes += state.as_ref().map_or(0, |s| s.len());
                self.state_bytes -= keyed.state.as_ref().map_or(0, |s| s.len());
                keyed.state = state;
            }
            if written {
                let at = match self.spec.time {
                    TimeDomain::Event => {
                        let at = times[group].max(self.watermark.0);
                        (at > i64::MIN).then(|| keyed.written.map_or(at, |before| before.max(at)))
                    }
                    TimeDomain::Processing => firing.then_some(self.now),
                };
                keyed.written = at;
                self.keys.touch(key);
                if at.is_none() {
                    self.unstamped.push(key);
                }
                self.schedule_ttl(key);
            }
        }
        for (port, (mut batch_out, sources)) in answer.ports.into_iter().enumerate() {
            if batch_out.len == 0 {
                continue;
            }
            self.describe(&mut batch_out, &sources, batch, call, keys);
            let port = if port == 0 {
                Port::Main
            } else {
                Port::Named(port as u16 - 1)
            };
            out.emit(port, batch_out)?;
        }
        Ok(())
    }

    /// Sets keys and timestamps where the function left that to us.
    fn describe(
        &self,
        result: &mut Batch,
        sources: &[u32],
        batch: &Batch,
        call: &Call,
        keys: &BinaryArray,
    ) {
        let timer = |source: u32| &call.fired[source as usize - call.rows.len()];
        if result.keys.is_none() {
            let key = |&source: &u32| match call.rows.get(source as usize) {
                Some(&row) => key_of(batch, row as usize),
                None => {
                    let group = timer(source).group as usize;
                    arrow_array::Array::is_valid(keys, group).then(|| keys.value(group))
                }
            };
            result.keys = Some(sources.iter().map(key).collect());
        }
        if result.timestamps.is_none() {
            let time = |&source: &u32| match call.rows.get(source as usize) {
                Some(&row) => timestamp_of(batch, row as usize),
                None => Some(timer(source).time),
            };
            result.timestamps = Some(sources.iter().map(time).collect());
        }
    }

    /// Sees to it that the key's least timer of a clock is in a queue.
    pub(super) fn schedule(&mut self, key: KeyId, domain: TimeDomain) {
        let keyed = self.keys.get_mut(key);
        let Some(least) = keyed.least(domain) else {
            return;
        };
        let scheduled = &mut keyed.scheduled[clock(domain)];
        if scheduled.is_some_and(|time| time <= least) {
            return;
        }
        *scheduled = Some(least);
        self.enqueue(Due {
            time: least,
            key,
            domain,
        });
    }
}

/// The function broke the contract in a way that its caller should have caught.
fn broken(message: String) -> StepError {
    let message = format!("process.process: {message}");
    StepError::Fault(Fault {
        message,
        kind: RejectKind::BadOutput,
        log: Vec::new(),
    })
}
