use crate::keyed::{KeyId, KeyMap, TimeQueue, key_of, timestamp_of};
use crate::plugin::{Process, RejectKind, Rejected, TimeDomain};
use crate::record::Batch;
use crate::spill::Vault;
use crate::state::{Extent, StateBuffer, StateRef};
use crate::step::{Boundary, Output, Progress, Step, StepError};
use crate::time::Watermark;

use super::call::{Call, Due};
use super::keyed::{Keyed, TTL};
use super::timers::{Firing, Rearmed};

/// So many entries of a queue may be of no more use, whatever the number of keys.
const STALE_MIN: usize = 4096;

/// Everything that a job says about a process step.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// State is dropped so long after its last write, milliseconds.
    pub ttl_ms: i64,
    /// The clock that ttl follows.
    pub time: TimeDomain,
    /// `Descriptor::state_version` of the function.
    pub state_version: u32,
}

/// A process step, one task's share of keys.
pub struct ProcessStep {
    pub(super) spec: ProcessSpec,
    pub(super) function: Box<dyn Process>,
    pub(super) keys: KeyMap<Keyed>,
    /// Timers by clock (see `keyed::clock`): one entry a key and clock, plus those passed over.
    pub(super) queues: [TimeQueue; 2],
    pub(super) ttl: TimeQueue,
    pub(super) watermark: Watermark,
    pub(super) now: i64,
    /// Keys written since the boundary, whose time of writing is not known yet.
    pub(super) unstamped: Vec<KeyId>,
    /// Number of the last call: says whether `Keyed::group` holds.
    pub(super) calls: u64,
    /// Number of the boundary: says whether `Keyed::budget` holds.
    pub(super) boundaries: u64,
    pub(super) firing: Option<Firing>,
    /// While timers fire: what the clocks show, and the timers that became due meanwhile.
    pub(super) fire_from: Option<([Option<i64>; 2], Rearmed)>,
    pub(super) state_bytes: usize,
}

impl ProcessStep {
    /// A step around a function.
    pub fn new(spec: ProcessSpec, function: Box<dyn Process>) -> ProcessStep {
        ProcessStep {
            spec,
            function,
            keys: KeyMap::default(),
            queues: Default::default(),
            ttl: TimeQueue::default(),
            watermark: Watermark::NONE,
            now: 0,
            unstamped: Vec::new(),
            calls: 0,
            boundaries: 0,
            firing: None,
            fire_from: None,
            state_bytes: 0,
        }
    }

    /// Stamps what was written since the last boundary, with the time of the clock that ttl follows.
    pub(super) fn stamp(&mut self, now: i64) {
        for key in std::mem::take(&mut self.unstamped) {
            if self.keys.contains(key) && self.keys.get(key).written.is_none() {
                self.keys.get_mut(key).written = Some(now);
                self.keys.touch(key);
                self.schedule_ttl(key);
            }
        }
    }

    /// Time at which the key's state is too old.
    pub(super) fn expiry(&self, key: KeyId) -> Option<i64> {
        self.keys
            .get(key)
            .written
            .map(|w| w.saturating_add(self.spec.ttl_ms))
    }

    /// Sees to it that the key is looked at no later than its expiry.
    pub(super) fn schedule_ttl(&mut self, key: KeyId) {
        let expiry = self.expiry(key);
        let keyed = self.keys.get_mut(key);
        if let (None, Some(expiry)) = (keyed.ttl_scheduled, expiry) {
            keyed.ttl_scheduled = Some(expiry);
            self.ttl.push(expiry, key);
        }
    }

    /// Makes the queues anew where most entries are passed over anyway: keys came and went, timers were replaced.
    fn drop_stale(&mut self) {
        let bound = 2 * self.keys.len() + STALE_MIN;
        let all = self.queues.iter().chain([&self.ttl]);
        if all.map(TimeQueue::len).any(|len| len > bound) {
            self.renew_queues();
        }
    }

    /// Makes the queues anew, of the keys that are here.
    pub(super) fn renew_queues(&mut self) {
        let fresh = |time: fn(&Keyed) -> Option<i64>| {
            let mut queue = TimeQueue::default();
            for key in self.keys.ids() {
                if let Some(time) = time(self.keys.get(key)) {
                    queue.push(time, key);
                }
            }
            queue
        };
        self.queues = [fresh(|k| k.scheduled[0]), fresh(|k| k.scheduled[1])];
        self.ttl = fresh(|k| k.ttl_scheduled);
    }

    pub(super) fn drop_key(&mut self, key: KeyId) {
        let keyed = self.keys.remove(key);
        self.state_bytes -= keyed.state.map_or(0, |s| s.len());
    }
}

impl Step for ProcessStep {
    fn on_batch(
        &mut self,
        _: usize,
        mut batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        batch.windows = None;
        let mut bad = self.function.prepare(&mut batch)?;
        bad.sort_by_key(|r| r.row);
        let mut rows: Vec<u32> = Vec::with_capacity(batch.len);
        let mut next_bad = bad.iter().map(|r| r.row).peekable();
        let mut timeless = Vec::new();
        for row in 0..batch.len as u32 {
            if next_bad.next_if_eq(&row).is_some() {
                while next_bad.next_if_eq(&row).is_some() {}
            } else if self.spec.time == TimeDomain::Event
                && timestamp_of(&batch, row as usize).is_none()
            {
                let message =
                    "process in event time needs records with a timestamp, this one has none"
                        .to_owned();
                timeless.push(Rejected {
                    row,
                    kind: RejectKind::Step,
                    message,
                    log: Vec::new(),
                });
            } else {
                rows.push(row);
            }
        }
        bad.extend(timeless);
        bad.sort_by_key(|r| r.row);
        if !bad.is_empty() {
            out.reject(&batch, bad)?;
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.calls += 1;
        let keys = rows.iter().map(|&row| key_of(&batch, row as usize));
        self.fetch(keys, |_| true)?;
        let mut call = Call::default();
        for &row in &rows {
            let key = self
                .keys
                .find_or_insert(key_of(&batch, row as usize), Keyed::default);
            let (number, group) = self.keys.get(key).group;
            let group = if number == self.calls {
                group
            } else {
                call.add_group(key)
            };
            self.keys.get_mut(key).group = (self.calls, group);
            call.groups.push(group);
        }
        call.rows = rows;
        self.run(&batch, call, out)
    }

    fn on_boundary(
        &mut self,
        at: Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        let mut firing = match self.firing.take() {
            Some(firing) => firing,
            None => self.start_firing(at),
        };
        let progress = self.fire(&mut firing, out)?;
        match progress {
            Progress::More => self.firing = Some(firing),
            Progress::Done => {
                self.watermark = firing.watermark;
                self.drop_stale();
            }
        }
        Ok(progress)
    }

    fn next_wakeup(&self) -> Option<i64> {
        let ttl = if self.spec.time == TimeDomain::Processing {
            [self.ttl.least(), self.keys.next_due(TTL)]
        } else {
            [None; 2]
        };
        let timers = [self.queues[1].least(), self.keys.next_due(1)];
        timers.into_iter().chain(ttl).flatten().min()
    }

    fn snapshot(&mut self, extent: Extent, into: &mut StateBuffer) -> Result<Extent, StepError> {
        if self.spec.time == TimeDomain::Processing {
            self.stamp(self.now);
        }
        self.snapshot_keys(extent, into)
    }

    fn restore(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        self.restore_key(entry)
    }

    fn resume(&mut self, at: Boundary<'_>) {
        self.watermark = at.watermark;
        self.now = at.now;
    }

    fn function_stats(&self) -> Option<crate::plugin::FunctionStats> {
        Some(self.function.stats())
    }

    fn state_bytes(&self) -> usize {
        let queues: usize = self.queues.iter().map(TimeQueue::bytes).sum();
        self.state_bytes + self.keys.bytes() + queues + self.ttl.bytes()
    }

    fn growth(&self) -> usize {
        self.keys.growth()
    }

    fn take_vault(&mut self, vault: Vault) {
        self.keys.set_vault(vault);
    }

    fn shed(&mut self, bytes_max: usize) -> Result<(), StepError> {
        self.shed_keys(bytes_max)
    }

    fn disk_bytes(&self) -> u64 {
        self.keys.disk_bytes()
    }
}

impl Due {
    /// Whether the clock of this timer has reached it.
    pub(super) fn is_due(&self, clocks: [Option<i64>; 2]) -> bool {
        clocks[super::keyed::clock(self.domain)].is_some_and(|clock| self.time <= clock)
    }
}
