//! CPU permits: how many tasks of a process compute at once.
//!
//! A task holds one while it works on a batch, never while it waits for records or for room in a
//! channel. Within a plugin's call it gives way after each slice of CPU time (`Pace`), so that no guest
//! keeps a core from others, however long it computes. This is the seam at which fair shares among tenants
//! are decided later; today it is first come, first served.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use parking_lot::{Condvar, Mutex};

/// A bounded number of permits. Cheap to clone: all clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A permit became free.
    freed: Condvar,
    /// A permit was taken.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Who waits for one.
    waiting: usize,
    /// Who gave way, and waits for another to have had its turn.
    giving_way: usize,
    /// Permits taken so far.
    turns: u64,
}

impl Permits {
    /// As many as given, at least one.
    pub fn new(permits: usize) -> Permits {
        let shared = Shared::default();
        shared.state.lock().free = permits.max(1);
        Permits {
            shared: Arc::new(shared),
        }
    }

    /// As many as the machine has cores.
    pub fn per_core() -> Permits {
        Permits::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// How many nobody has.
    pub fn free(&self) -> usize {
        self.shared.state.lock().free
    }

    /// Waits for a permit; it is given back when dropped.
    pub fn acquire(&self) -> Permit {
        self.take();
        Permit { of: self.clone() }
    }

    fn take(&self) {
        let mut state = self.shared.state.lock();
        state.waiting += 1;
        while state.free == 0 {
            self.shared.freed.wait(&mut state);
        }
        state.waiting -= 1;
        state.free -= 1;
        state.turns += 1;
        if state.giving_way > 0 {
            self.shared.taken.notify_all();
        }
    }

    fn give_back(&self) {
        self.shared.state.lock().free += 1;
        self.shared.freed.notify_one();
    }

    /// Of a holder: lets one that waits have its turn, and waits for the next permit. Nothing where nobody
    /// waits.
    fn give_way(&self) {
        let mut state = self.shared.state.lock();
        if state.waiting == 0 {
            return;
        }
        state.free += 1;
        state.giving_way += 1;
        self.shared.freed.notify_one();
        // Who merely let go and asked again would be faster than the one just woken.
        let before = state.turns;
        while state.turns == before {
            self.shared.taken.wait(&mut state);
        }
        state.giving_way -= 1;
        drop(state);
        self.take();
    }
}

/// The right to compute.
#[derive(Debug)]
pub struct Permit {
    of: Permits,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.give_back();
    }
}

/// What a task does, in the middle of a batch, so that others are not held up by it.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Of which the task holds one.
    pub permits: Permits,
    /// Disconnected when the job is to stop.
    pub stop: Receiver<Infallible>,
}

impl Pace {
    /// Lets others compute, if any wait.
    pub fn give_way(&self) {
        self.permits.give_way();
    }

    /// Waits so long without its permit, or until the job is to stop.
    pub fn pause(&self, time: Duration) {
        self.permits.give_back();
        let _ = self.stop.recv_timeout(time);
        self.permits.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_when_its_holder_drops_it() {
        let permits = Permits::new(1);
        drop(permits.acquire());
        let held = permits.acquire();
        assert_eq!(permits.free(), 0);
        drop(held);
        assert_eq!(permits.free(), 1);
    }

    #[test]
    fn who_gives_way_has_the_permit_again_after_one_other_turn() {
        let permits = Permits::new(1);
        let held = permits.acquire();
        // Nobody waits: nothing happens.
        permits.give_way();
        let turns = |permits: &Permits| permits.shared.state.lock().turns;
        let before = turns(&permits);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| drop(permits.acquire()));
            while permits.shared.state.lock().waiting == 0 {
                std::thread::yield_now();
            }
            permits.give_way();
            assert_eq!(turns(&permits), before + 2);
            other.join().expect("no panic");
        });
        drop(held);
        assert_eq!(permits.free(), 1);
    }

    #[test]
    fn a_pause_leaves_the_permit_to_others_and_ends_with_the_job() {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let permits = Permits::new(1);
        let pace = Pace {
            permits: permits.clone(),
            stop: stopped,
        };
        let held = permits.acquire();
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| pace.pause(Duration::from_secs(3_600)));
            // Only a pause frees it.
            drop(permits.acquire());
            drop(stop);
            pausing.join().expect("no panic");
        });
        drop(held);
        assert_eq!(permits.free(), 1);
    }
}
