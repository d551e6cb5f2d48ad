//! Who has to give way when a job's state outgrows `[state] memory`, and when it outgrows `[state] max`.
//!
//! `decide` is the rule, over plain numbers. `StateBudget` keeps those numbers for the tasks of a job, each of which
//! acts on its own steps only, between two batches: no task waits for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// `[state] memory` of jobs that say nothing: larger than most states, smaller than most machines.
pub const MEMORY_DEFAULT: u64 = 1 << 30;

/// `[state] key-max` of jobs that say nothing: a long URL, not a document.
pub const KEY_BYTES_DEFAULT: u64 = 64 << 10;

/// `[state] value-max` of jobs that say nothing: a key's state comes into memory as a whole.
pub const VALUE_BYTES_DEFAULT: u64 = 64 << 20;

/// Of `[state] memory` one part in so many is kept free for steps that gave no way yet: those that have more than their share
/// are asked for it when all that is left is this, and hear of it when they next tell what they keep. Beyond the whole,
/// whoever tells gives way.
const FREE_PART: u64 = 16;

/// A step is left at least so much memory, or it could not work on a batch.
const FLOOR: u64 = 16 << 10;

/// What a step in one task keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes on disk.
    pub disk: u64,
}

/// What a step is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Keep,
    /// Move state to disk until so many bytes are left in memory.
    Shed(u64),
    /// The job keeps more than it may, disk included.
    BeyondMax,
}

/// What the step `me` of all that a job has in all tasks is to do.
///
/// Memory is shared by filling: every step may have as much as it has, up to a level that is the same for all and just so
/// high that all fits, with a part that is kept free. Who is above goes down to half of the level, so that it need not do
/// so again at once. Who is not, but finds all memory used up, goes down to half of what it has: those above may be long
/// in coming.
pub fn decide(memory_max: u64, max: Option<u64>, all: &[Use], me: usize) -> Decision {
    let stored: u64 = all.iter().map(|u| u.memory + u.disk).sum();
    if max.is_some_and(|max| stored > max) {
        return Decision::BeyondMax;
    }
    let used: u64 = all.iter().map(|u| u.memory).sum();
    let shared = shared_of(memory_max);
    if used <= shared {
        return Decision::Keep;
    }
    let mut all: Vec<u64> = all.iter().map(|u| u.memory).collect();
    let mine = all[me];
    all.sort_unstable();
    let mut left = shared;
    let mut level = 0;
    for (i, &memory) in all.iter().enumerate() {
        let share = left / (all.len() - i) as u64;
        if memory > share {
            level = share;
            break;
        }
        left -= memory;
        level = memory;
    }
    if mine > level.max(FLOOR) {
        Decision::Shed((level / 2).max(FLOOR))
    } else if used > memory_max && mine > FLOOR {
        Decision::Shed((mine / 2).max(FLOOR))
    } else {
        Decision::Keep
    }
}

/// What of the memory is shared out.
fn shared_of(memory_max: u64) -> u64 {
    memory_max - memory_max / FREE_PART
}

/// A step that is no more keeps nothing.
impl Drop for Ledger {
    fn drop(&mut self) {
        self.tell(0, 0);
    }
}

/// The state of a job, as its tasks told.
#[derive(Debug)]
pub struct StateBudget {
    memory_max: u64,
    max: Option<u64>,
    memory: AtomicU64,
    stored: AtomicU64,
    shares: Mutex<Vec<Arc<Share>>>,
}

#[derive(Debug)]
struct Share {
    memory: AtomicU64,
    disk: AtomicU64,
}

impl StateBudget {
    /// Nothing is kept yet.
    pub fn new(memory_max: u64, max: Option<u64>) -> Arc<StateBudget> {
        Arc::new(StateBudget {
            memory_max,
            max,
            memory: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            shares: Mutex::default(),
        })
    }

    /// A step of a task joins.
    pub fn ledger(self: &Arc<StateBudget>) -> Ledger {
        let share = Arc::new(Share {
            memory: AtomicU64::new(0),
            disk: AtomicU64::new(0),
        });
        let mut shares = self.shares.lock();
        shares.push(Arc::clone(&share));
        Ledger {
            budget: Arc::clone(self),
            number: shares.len() - 1,
            share,
        }
    }

    /// `[state] memory`.
    pub fn memory_max(&self) -> u64 {
        self.memory_max
    }

    /// Bytes in memory, over all steps and tasks.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// What is to be said when a step has to stop the job.
    pub fn refusal(&self, decision: Decision) -> Option<String> {
        match decision {
            Decision::Keep | Decision::Shed(_) => None,
            Decision::BeyondMax => Some(format!(
                "the job's state takes {} bytes, more than [state] max ({}): raise it, or keep less (fewer keys, a shorter window, ttl or bound)",
                self.stored.load(Ordering::Relaxed),
                self.max.unwrap_or_default()
            )),
        }
    }
}

/// A step's place in the budget.
#[derive(Debug)]
pub struct Ledger {
    budget: Arc<StateBudget>,
    number: usize,
    share: Arc<Share>,
}

impl Ledger {
    /// The step keeps so much now: what is it to do? Cheap while the job is within its bounds.
    pub fn tell(&self, memory: u64, disk: u64) -> Decision {
        let relaxed = Ordering::Relaxed;
        let more = memory.wrapping_sub(self.share.memory.swap(memory, relaxed));
        let more_disk = disk.wrapping_sub(self.share.disk.swap(disk, relaxed));
        let budget = &self.budget;
        let used = budget.memory.fetch_add(more, relaxed).wrapping_add(more);
        let more_stored = more.wrapping_add(more_disk);
        let stored = budget.stored.fetch_add(more_stored, relaxed);
        let stored = stored.wrapping_add(more_stored);
        if used <= shared_of(budget.memory_max) && budget.max.is_none_or(|max| stored <= max) {
            return Decision::Keep;
        }
        let shares = budget.shares.lock();
        let all: Vec<Use> = shares.iter().map(|share| share.get()).collect();
        decide(budget.memory_max, budget.max, &all, self.number)
    }

    /// The budget.
    pub fn budget(&self) -> &StateBudget {
        &self.budget
    }
}

impl Share {
    fn get(&self) -> Use {
        Use {
            memory: self.memory.load(Ordering::Relaxed),
            disk: self.disk.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn of(memory_kib: u64) -> Use {
        Use {
            memory: memory_kib * KIB,
            disk: 0,
        }
    }

    /// A memory of which so much is shared out.
    fn sharing(kib: u64) -> u64 {
        (kib * KIB * FREE_PART).div_ceil(FREE_PART - 1)
    }

    /// What each is told, where so much is shared out.
    fn all(kib: u64, uses: &[Use]) -> Vec<Decision> {
        (0..uses.len())
            .map(|me| decide(sharing(kib), None, uses, me))
            .collect()
    }

    #[test]
    fn within_the_budget_everyone_keeps_everything() {
        let uses = [of(600), of(400)];
        assert_eq!(all(1000, &uses), [Decision::Keep, Decision::Keep]);
    }

    #[test]
    fn the_largest_give_way_to_the_level_at_which_all_fits() {
        let uses = [of(100), of(480), of(480)];
        let shed = Decision::Shed(225 * KIB);
        assert_eq!(all(1000, &uses), [Decision::Keep, shed, shed]);
    }

    #[test]
    fn who_finds_all_memory_used_up_gives_way_though_others_have_more() {
        let (one, two) = (of(640), of(400));
        let shed = |kib| Decision::Shed(kib * KIB);
        assert_eq!(all(1000, &[one, two]), [shed(300), Decision::Keep]);
        let one = of(900);
        assert_eq!(all(1000, &[one, two]), [shed(300), shed(200)]);
    }

    #[test]
    fn a_step_is_left_what_it_needs_for_a_batch() {
        assert_eq!(all(1, &[of(10), of(16)]), [Decision::Keep; 2]);
    }

    #[test]
    fn the_cap_counts_memory_and_disk() {
        let mut one = of(10);
        one.disk = 91 * KIB;
        assert_eq!(
            decide(KIB << 10, Some(100 * KIB), &[one], 0),
            Decision::BeyondMax
        );
        one.disk = 90 * KIB;
        assert_eq!(
            decide(KIB << 10, Some(100 * KIB), &[one], 0),
            Decision::Keep
        );
    }

    proptest::proptest! {
        /// If everyone does what it is told, and has more than the floor, all fits.
        #[test]
        fn all_fits_afterwards(
            memory in 256u64..4096,
            kib in proptest::collection::vec(0u64..2048, 1..8),
        ) {
            let uses: Vec<Use> = kib.iter().map(|k| of(*k)).collect();
            let after: u64 = all(memory, &uses).iter().zip(&uses).map(|(d, u)| match d {
                Decision::Shed(to) => *to,
                _ => u.memory,
            }).sum();
            proptest::prop_assert!(after <= memory * KIB, "{after} of {}", memory * KIB);
        }
    }

    #[test]
    fn ledgers_hear_of_each_other() {
        let budget = StateBudget::new(sharing(1000), None);
        let (one, two) = (budget.ledger(), budget.ledger());
        assert_eq!(one.tell(600 * KIB, 0), Decision::Keep);
        assert_eq!(two.tell(300 * KIB, 0), Decision::Keep);
        assert_eq!(two.tell(600 * KIB, 0), Decision::Shed(250 * KIB));
        assert_eq!(two.tell(250 * KIB, 400 * KIB), Decision::Keep);
        assert_eq!(budget.memory(), 850 * KIB);
    }
}
