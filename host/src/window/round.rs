//! One call of `add`: rows, the groups that they go to, and how rejected rows leave it again.

use super::core::Core;
use crate::plugin::{Added, Rejected};
use crate::record::{Batch, Blobs};
use crate::step::StepError;

/// Rows and groups of a call. Groups are numbered within it; `members[g]` is the caller's name for group g.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Rows of the batch; a row may come several times, for several groups.
    pub rows: Vec<u32>,
    /// Group of each.
    pub groups: Vec<u32>,
    /// The caller's number of each group.
    pub members: Vec<u32>,
}

impl Round {
    /// Empties it, keeps its buffers.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.groups.clear();
        self.members.clear();
    }

    /// Takes out rows, and groups that have none left.
    pub fn remove(&mut self, rejected: &RowSet) {
        let old = std::mem::take(self);
        let mut number = vec![u32::MAX; old.members.len()];
        for (row, group) in old.rows.into_iter().zip(old.groups) {
            if rejected.has(row) {
                continue;
            }
            let new = &mut number[group as usize];
            if *new == u32::MAX {
                *new = self.members.len() as u32;
                self.members.push(old.members[group as usize]);
            }
            self.rows.push(row);
            self.groups.push(*new);
        }
    }
}

/// A set of rows of a batch.
#[derive(Debug)]
pub(super) struct RowSet(Vec<bool>);

impl RowSet {
    /// Those that were rejected.
    pub fn of(batch: &Batch, rejected: &[Rejected]) -> RowSet {
        let mut set = RowSet(vec![false; batch.len]);
        for r in rejected {
            if let Some(has) = set.0.get_mut(r.row as usize) {
                *has = true;
            }
        }
        set
    }

    /// Whether the row is in it.
    #[inline]
    pub fn has(&self, row: u32) -> bool {
        self.0[row as usize]
    }
}

/// What a call of `add` came to.
pub(super) enum Tried {
    /// New accumulators, in the order of `Round::members`.
    Added(Blobs),
    /// Nothing happened: repeat without these.
    Rejected(Vec<Rejected>),
}

impl Core {
    /// Calls `add` once for the round.
    pub fn try_round(
        &mut self,
        batch: &Batch,
        round: &Round,
        accs: &Blobs,
    ) -> Result<Tried, StepError> {
        match self.add(batch, &round.rows, &round.groups, accs)? {
            Added::Accumulators(accs) => Ok(Tried::Added(accs)),
            Added::Rejected(rejected) => {
                let rows = RowSet::of(batch, &rejected);
                if !round.rows.iter().any(|row| rows.has(*row)) {
                    let what = "add rejected records that it was not given".to_owned();
                    return Err(StepError::Failed(what));
                }
                Ok(Tried::Rejected(rejected))
            }
        }
    }
}
