//! What tests of all stateful steps need: chains of snapshots.

use super::{Extent, Malformed, StateBuffer, StateEntry, StateRef, replay};
use crate::step::{Step, entries_of};

/// A chain for each of so many tasks.
pub(crate) fn chains(tasks: usize) -> Vec<Chained> {
    (0..tasks).map(|_| Chained::default()).collect()
}

/// Snapshots of one step, each building on those before.
#[derive(Default)]
pub(crate) struct Chained(Vec<StateBuffer>);

impl Chained {
    /// One more: of what changed, where there is one to build on.
    pub(crate) fn take(&mut self, step: &mut dyn Step) {
        let wanted = if self.0.is_empty() {
            Extent::Whole
        } else {
            Extent::Changes
        };
        let mut buffer = StateBuffer::default();
        if step.snapshot(wanted, &mut buffer).expect("it works") == Extent::Whole {
            self.0.clear();
        }
        self.0.push(buffer);
    }

    /// What they leave, in order.
    pub(crate) fn entries(&self) -> Vec<StateEntry> {
        let chain: Vec<&[u8]> = self.0.iter().map(StateBuffer::bytes).collect();
        let mut entries = Vec::new();
        let mut each = |entry: StateRef<'_>| {
            entries.push(entry.into());
            Ok(())
        };
        replay::<Malformed>(&chain, &mut each).expect("steps write whole entries");
        entries.sort();
        entries
    }

    /// Takes a last one; checks that all together give what one of everything gives, and answers that.
    pub(crate) fn finish(&mut self, step: &mut dyn Step) -> Vec<StateEntry> {
        self.take(step);
        let entries = self.entries();
        assert_eq!(entries, entries_of(step), "base and changes, and the whole");
        // That was a snapshot: what comes builds on it.
        let mut buffer = StateBuffer::default();
        step.snapshot(Extent::Whole, &mut buffer).expect("it works");
        self.0 = vec![buffer];
        entries
    }
}
