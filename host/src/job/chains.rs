//! State on its way from tasks' reports to files: of each step and task a base, and what changed after it.
//!
//! A piece stays here until its file is written, so one that could not be written goes with the next checkpoint, and
//! no chain ever has a gap.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::checkpoint::manifest::StateFile;
use crate::checkpoint::state::Binding;
use crate::checkpoint::{CheckpointStore, StoreError};
use crate::record::NodeIndex;
use crate::runtime::snapshot::StatePiece;
use crate::state::{Extent, StateBuffer};

/// Files written at once. A file is mostly waited for (the disk's sync, the store's answer), so some at a time take as
/// long as one; each holds a connection of a store and a buffer of the disk's.
const WRITERS: usize = 8;

/// State of all tasks.
#[derive(Default)]
pub struct Chains(BTreeMap<(NodeIndex, usize), Chain>);

/// State of one step in one task.
#[derive(Default)]
struct Chain {
    /// Written: a base first.
    files: Vec<StateFile>,
    /// Not written yet: epoch, and what was told at its end. They follow the files.
    waiting: Vec<(u64, StateBuffer)>,
}

impl Chains {
    /// Takes what a task told at the end of an epoch.
    pub fn add(&mut self, epoch: u64, task: usize, pieces: Vec<StatePiece>) {
        for piece in pieces {
            let chain = self.0.entry((piece.step, task)).or_default();
            if piece.extent == Extent::Whole {
                *chain = Chain::default();
            }
            // Nothing is said by no file. (A base of nothing needs none: what follows it is the base then.)
            if !piece.buffer.is_empty() {
                chain.waiting.push((epoch, piece.buffer));
            }
        }
    }

    /// Writes what waits, and answers all files that make up the state now, in order. `step`: names of steps.
    pub fn write<'a>(
        &mut self,
        store: &CheckpointStore,
        job: &str,
        run: &str,
        step: &dyn Fn(NodeIndex) -> &'a str,
    ) -> Result<Vec<StateFile>, StoreError> {
        let waiting = self.0.iter_mut().filter(|(_, c)| !c.waiting.is_empty());
        let waiting: Vec<_> = waiting
            .map(|(&(index, task), chain)| (step(index), task, chain))
            .collect();
        let waiting = Mutex::new(waiting.into_iter());
        let next = || waiting.lock().next();
        let work = || -> Result<(), StoreError> {
            while let Some((step, task, chain)) = next() {
                chain.write(store, job, run, step, task)?;
            }
            Ok(())
        };
        let others = waiting.lock().len().min(WRITERS).saturating_sub(1);
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
            let mine = work();
            others.into_iter().fold(mine, |all, other| {
                let other = other
                    .join()
                    .unwrap_or_else(|e| std::panic::resume_unwind(e));
                all.and(other)
            })
        })?;
        Ok(self.0.values().flat_map(|c| c.files.clone()).collect())
    }
}

impl Chain {
    /// Writes what waits, one file after the other: each names the one before it.
    fn write(
        &mut self,
        store: &CheckpointStore,
        job: &str,
        run: &str,
        step: &str,
        task: usize,
    ) -> Result<(), StoreError> {
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        while let Some((epoch, entries)) = waiting.next() {
            let before = self.files.last();
            let binding = Binding {
                job,
                run,
                step,
                task: u32::try_from(task).expect("tasks are few"),
                epoch,
                builds_on: before.map(StateFile::sum),
            };
            match store.write_state(&entries, &binding, before) {
                Ok(file) => self.files.push(file),
                Err(error) => {
                    self.waiting.push((epoch, entries));
                    self.waiting.extend(waiting);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
