//! What a step is to the runtime: a state machine driven by batches and boundaries.
//!
//! A task hands a step all records of a boundary, then the boundary itself (watermarks, processing
//! time), and asks again while the step has more to put out. Steps use no clock, file, channel or
//! thread; what they keep, they can hand out, whole or as changes, and take back (`snapshot`, `restore`).

use crate::config::plan::Port;
use crate::plugin::{Fault, Rejected};
use crate::record::{Batch, Windows};
use crate::spill::{SpillError, Vault};
use crate::state::{Extent, Malformed, StateBuffer, StateEntry, StateRef, replay};
use crate::time::Watermark;

/// Key groups of a job: keyed state is dealt to tasks, and stored, by these. Must stay stable.
pub const KEY_GROUPS: u16 = 128;

/// The key group of a key: xxh3-64 of its bytes, modulo `KEY_GROUPS`. Records without key are in that
/// of the empty key. Must stay stable: checkpoints are restored by it.
pub fn key_group(key: &[u8]) -> u16 {
    (xxhash_rust::xxh3::xxh3_64(key) % u64::from(KEY_GROUPS)) as u16
}

/// The task that owns a key group: contiguous ranges, as even as they can be.
pub fn task_of(key_group: u16, tasks: usize) -> usize {
    usize::from(key_group) * tasks / usize::from(KEY_GROUPS)
}

/// Why a step stopped working. All of these end the job.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The function failed in a way that no record is to blame for.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A record failed and the policy is `fail`, or a limit was passed: what, where, in words.
    #[error("{0}")]
    Failed(String),
    /// Whoever reads the output ended; its own ending tells why.
    #[error("the step behind is gone")]
    DownstreamGone,
}

impl From<SpillError> for StepError {
    fn from(error: SpillError) -> StepError {
        StepError::Failed(error.to_string())
    }
}

/// Where a step puts things. Implemented by the runtime, and by tests.
pub trait Output {
    /// Records for a port (main, named, late).
    fn emit(&mut self, port: Port, batch: Batch) -> Result<(), StepError>;
    /// Input records that failed: rows of `batch`. Applies the step's policy: counts, routes to the errors port,
    /// or answers the error that ends the job.
    fn reject(&mut self, batch: &Batch, rejected: Vec<Rejected>) -> Result<(), StepError>;
    /// A result (of a group, or a timer) that failed, with no input record to show: counted and, under
    /// dead-letter, written with key and window.
    fn reject_result(
        &mut self,
        key: Option<&[u8]>,
        window: Option<(i64, i64)>,
        rejected: Rejected,
    ) -> Result<(), StepError>;
    /// Counts late records (they are also emitted to `Port::Late`, by the step).
    fn count_late(&mut self, records: u64);
}

/// Time as a step sees it at a boundary. It stays the same until the next one.
#[derive(Clone, Copy, Debug)]
pub struct Boundary<'a> {
    /// The step's watermark: over all its inputs. Never moves back.
    pub watermark: Watermark,
    /// Watermark of each input alone (lookups: records, then table).
    pub inputs: &'a [Watermark],
    /// Processing time, milliseconds.
    pub now: i64,
    /// The end of input: everything closes, processing-time windows too.
    pub end: bool,
}

/// Whether a step is done with a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It put out a few batches and wants to be called again with the same boundary.
    More,
    /// Nothing left to do at this boundary.
    Done,
}

/// What a task of a step in complete mode knows before a boundary. All tasks put out everything where one of them
/// has a change and one of them (maybe another) has a reason to fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WholeFiring {
    /// Something came since all was last put out.
    pub changed: bool,
    /// A trigger is due, or a window closes.
    pub due: bool,
}

/// A step in complete mode: what it keeps is put out as a whole, and that goes beyond one task. Whoever drives all
/// tasks of a step in a fixed order calls these; tasks that run on their own each put out what is theirs.
pub trait Whole {
    /// What this boundary would do to the task's own part.
    fn firing(&mut self, at: &Boundary<'_>) -> Result<WholeFiring, StepError>;
    /// At the coming boundary all is put out, whatever this task knows itself.
    fn fire_at_boundary(&mut self);
    /// Whether a record of the batch before made the step put out everything.
    fn fired_inside(&self) -> bool;
    /// Puts everything out now: a record of another task asks for it.
    fn fire_now(&mut self, out: &mut dyn Output) -> Result<(), StepError>;
}

/// A step of one task.
pub trait Step: Send {
    /// Records on an input (index into the plan's inputs; a lookup's table comes last), in order.
    /// The watermark is that of the boundary before.
    fn on_batch(
        &mut self,
        input: usize,
        batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError>;
    /// The clock, for the records that come next: a step by processing time counts them to it. What is kept moves at
    /// the boundary.
    fn clock(&mut self, now: i64) {
        let _ = now;
    }
    /// All records up to here came; time moves now. Called again while it answers `More`.
    fn on_boundary(
        &mut self,
        at: Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError>;
    /// The step as one whose tasks put out all they keep together (complete mode), if it is one.
    fn as_whole(&mut self) -> Option<&mut dyn Whole> {
        None
    }
    /// The watermark that holds for the output, given the one that the step has.
    fn output_watermark(&self, watermark: Watermark) -> Watermark {
        watermark
    }
    /// Processing time at which the step wants a boundary even if nothing comes.
    fn next_wakeup(&self) -> Option<i64> {
        None
    }
    /// Appends state to `into`, in any order: all of it, or what changed since the last call. Answers which; a step
    /// that cannot tell what changed answers a request for changes with all of it.
    fn snapshot(&mut self, extent: Extent, into: &mut StateBuffer) -> Result<Extent, StepError> {
        let _ = (extent, into);
        Ok(Extent::Whole)
    }
    /// Takes one entry back. Entries come before the first batch, in any order, each once.
    fn restore(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        Err(StepError::Failed(format!(
            "this step keeps no state, yet a checkpoint has some ({} bytes)",
            entry.key.len()
        )))
    }
    /// So many entries may be taken back now: room for them may be made less often. `older`: there may be such among them
    /// that are older than others of their name (`knows_names`).
    fn expect(&mut self, entries: usize, older: bool) {
        let _ = (entries, older);
    }
    /// All entries were taken back.
    fn restored(&mut self) -> Result<(), StepError> {
        Ok(())
    }
    /// Takes entries back, as `restore` does one. Where the step `knows_names`, they come newest first, and one whose name
    /// was taken back before is passed over.
    fn restore_many(&mut self, entries: &[StateRef<'_>]) -> Result<(), StepError> {
        entries.iter().try_for_each(|entry| self.restore(*entry))
    }
    /// Whether `restore_many` finds out by itself which entries are older than those it took back: else nobody gives it
    /// such.
    fn knows_names(&self) -> bool {
        false
    }
    /// Whether there are entries that belong to every task (`is_shared`).
    fn shares_entries(&self) -> bool {
        false
    }
    /// Whether an entry belongs to every task of the step (rows of a replicated table), not only to that of its key
    /// group. All tasks hold the same of these: one task's are stored (see `StateBuffer::takes_shared`), and all get
    /// them back.
    fn is_shared(&self, entry: StateRef<'_>) -> bool {
        let _ = entry;
        false
    }
    /// After all entries: where time stood.
    fn resume(&mut self, at: Boundary<'_>) {
        let _ = at;
    }
    /// What the step's function cost so far, if it has one.
    fn function_stats(&self) -> Option<crate::plugin::FunctionStats> {
        None
    }
    /// Bytes of memory that state takes: what its tables, columns and buffers have allocated.
    fn state_bytes(&self) -> usize {
        0
    }
    /// Bytes of memory by which state may grow at once, in one batch: large tables that are nearly full are made larger by
    /// as much as they have, or a part of it.
    fn growth(&self) -> usize {
        0
    }
    /// Where state may go that finds no room in memory.
    fn take_vault(&mut self, vault: Vault) {
        drop(vault);
    }
    /// Moves state to the vault until about so many bytes of memory are taken. Between batches; results do not change.
    fn shed(&mut self, bytes_max: usize) -> Result<(), StepError> {
        let _ = bytes_max;
        Ok(())
    }
    /// Bytes of state in the vault.
    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// All state of a step, in order of key group and name: what tests and people look at. It counts as a snapshot.
pub fn entries_of(step: &mut dyn Step) -> Vec<StateEntry> {
    let mut buffer = StateBuffer::default();
    step.snapshot(Extent::Whole, &mut buffer)
        .expect("a snapshot of what is in memory does not fail");
    let mut entries = Vec::new();
    let mut each = |entry: StateRef<'_>| {
        entries.push(entry.into());
        Ok(())
    };
    replay::<Malformed>(&[buffer.bytes()], &mut each)
        .expect("a step's own entries are well formed");
    entries.sort();
    entries
}

/// Sets what every window result has: keys, timestamps and windows come from the group.
pub fn windows_of(starts: Vec<i64>, ends: Vec<i64>) -> Windows {
    Windows {
        starts: starts.into(),
        ends: ends.into(),
    }
}
