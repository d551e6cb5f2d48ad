//! Which epoch tasks that read sources should end next. Who asks never waits, and who sleeps is woken: a source that
//! has nothing must not hold a checkpoint up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

/// The epoch wanted. Cheap to clone: all clones share it.
#[derive(Clone, Debug)]
pub struct Epochs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: u64,
    wanted: AtomicU64,
    /// One for each task that may sleep.
    sleepers: Mutex<Vec<Sender<()>>>,
}

impl Epochs {
    /// The last one that ended was this.
    pub fn after(epoch: u64) -> Epochs {
        Epochs(Arc::new(Shared {
            begun: epoch,
            wanted: AtomicU64::new(epoch),
            sleepers: Mutex::default(),
        }))
    }

    /// The last epoch that ended before the tasks began. One may be wanted before a task is at work: it is to be ended by
    /// that task too.
    pub fn begun(&self) -> u64 {
        self.0.begun
    }

    /// The epoch that should end next, or that ended last.
    pub fn wanted(&self) -> u64 {
        self.0.wanted.load(Ordering::Acquire)
    }

    /// Wants the next one, and wakes all who sleep.
    pub fn want_next(&self) -> u64 {
        let wanted = self.0.wanted.fetch_add(1, Ordering::AcqRel) + 1;
        // One that was not told yet of the epoch before hears of both at once; one that is gone needs no word.
        for sleeper in self.0.sleepers.lock().iter() {
            let _ = sleeper.try_send(());
        }
        wanted
    }

    /// For a task that sleeps now and then: speaks whenever another epoch is wanted, maybe once too often.
    pub fn listen(&self) -> Receiver<()> {
        let (wake, woken) = bounded(1);
        self.0.sleepers.lock().push(wake);
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sleeper_is_woken_by_the_next_epoch_however_many_it_slept_through() {
        let epochs = Epochs::after(7);
        let sleepers = [epochs.listen(), epochs.listen()];
        assert!(sleepers.iter().all(Receiver::is_empty));
        assert_eq!((epochs.want_next(), epochs.want_next()), (8, 9));
        for woken in &sleepers {
            assert_eq!((woken.recv(), woken.try_recv().is_err()), (Ok(()), true));
        }
        drop(sleepers);
        assert_eq!((epochs.want_next(), epochs.wanted()), (10, 10));
        assert_eq!(epochs.begun(), 7, "who comes late has three to end");
    }
}
