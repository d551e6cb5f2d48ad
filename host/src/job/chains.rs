//! State on its way from tasks' reports to files: of each step and task a base, and what changed after it.
//!
//! A piece stays here until its file is written, so one that could not be written goes with the next checkpoint, and
//! no chain ever has a gap.

use std::collections::BTreeMap;

use crate::checkpoint::manifest::StateFile;
use crate::checkpoint::state::Binding;
use crate::checkpoint::{CheckpointStore, StoreError};
use crate::record::NodeIndex;
use crate::runtime::snapshot::StatePiece;
use crate::state::{Extent, StateBuffer};

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
        for (&(index, task), chain) in &mut self.0 {
            let mut waiting = std::mem::take(&mut chain.waiting).into_iter();
            while let Some((epoch, entries)) = waiting.next() {
                let before = chain.files.last();
                let binding = Binding {
                    job,
                    run,
                    step: step(index),
                    task: u32::try_from(task).expect("tasks are few"),
                    epoch,
                    builds_on: before.map(StateFile::sum),
                };
                match store.write_state(&entries, &binding, before) {
                    Ok(file) => chain.files.push(file),
                    Err(error) => {
                        chain.waiting.push((epoch, entries));
                        chain.waiting.extend(waiting);
                        return Err(error);
                    }
                }
            }
        }
        Ok(self.0.values().flat_map(|c| c.files.clone()).collect())
    }
}
