use smallvec::SmallVec;

use crate::plugin::TimeDomain;

/// What is kept of a key.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    pub(super) state: Option<Box<[u8]>>,
    /// Time of the last write, in the clock of ttl. None: the next boundary stamps it.
    pub(super) written: Option<i64>,
    /// In order of time, event before processing.
    pub(super) timers: SmallVec<[(i64, TimeDomain); 1]>,
    /// Least timer of each clock, as the queues have it. A queue entry that differs is passed over.
    pub(super) scheduled: [Option<i64>; 2],
    /// When to look whether the state is too old.
    pub(super) ttl_scheduled: Option<i64>,
    /// Group in the call of this number.
    pub(super) group: (u64, u32),
    /// Timers that may still fire at the boundary of this number.
    pub(super) budget: (u64, u32),
}

/// Position of a clock in `Keyed::scheduled`.
pub(super) fn clock(domain: TimeDomain) -> usize {
    match domain {
        TimeDomain::Event => 0,
        TimeDomain::Processing => 1,
    }
}

/// Position of ttl among the clocks by which keys are wanted back.
pub(super) const TTL: usize = 2;

impl Keyed {
    /// Whether there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.state.is_none() && self.timers.is_empty()
    }

    /// Sets or deletes; answers whether that changed anything.
    pub(super) fn change_timer(&mut self, time: i64, domain: TimeDomain, set: bool) -> bool {
        match (self.timers.binary_search(&(time, domain)), set) {
            (Err(at), true) => {
                self.timers.insert(at, (time, domain));
                true
            }
            (Ok(at), false) => {
                self.timers.remove(at);
                true
            }
            _ => false,
        }
    }

    /// The least timer of a clock.
    pub(super) fn least(&self, domain: TimeDomain) -> Option<i64> {
        self.timers.iter().find(|t| t.1 == domain).map(|t| t.0)
    }
}
