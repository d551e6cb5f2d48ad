//! Groups that fire, gathered until they are worth a call of `finish`; and what becomes of its results.

use arrow_array::builder::BinaryBuilder;
use arrow_array::{Array, BinaryArray, Int64Array};

use super::keys::key_of;
use crate::config::plan::Port;
use crate::plugin::{Aggregate, Finished};
use crate::record::{Blobs, NO_TIMESTAMP};
use crate::step::{Output, StepError, windows_of};

/// Groups a call of `finish`: enough that the call costs nothing, few enough that its output is one batch.
const GROUPS_A_CALL: usize = 4096;
/// Accumulator bytes a call of `finish`.
const BYTES_A_CALL: usize = 1 << 20;

/// A group's pane, as it goes to `finish`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pane<'a> {
    /// The group's key.
    pub key: Option<&'a [u8]>,
    /// Start of its window (least i64 for count and global windows).
    pub start: i64,
    /// End of its window (greatest i64 for count and global windows).
    pub end: i64,
    /// Newest timestamp of its records, for windows without end.
    pub newest: i64,
    /// Its accumulator.
    pub acc: &'a [u8],
}

/// Panes on their way to `finish`, in the order in which they come out.
#[derive(Debug)]
pub(super) struct Results {
    keys: BinaryBuilder,
    starts: Vec<i64>,
    ends: Vec<i64>,
    newest: Vec<i64>,
    accs: Blobs,
    /// Whether results carry their window (not those of count and global windows).
    windowed: bool,
}

impl Results {
    /// None yet.
    pub fn new(windowed: bool) -> Results {
        Results {
            keys: BinaryBuilder::new(),
            starts: Vec::new(),
            ends: Vec::new(),
            newest: Vec::new(),
            accs: Blobs::default(),
            windowed,
        }
    }

    /// Puts one more at the end.
    pub fn push(&mut self, pane: Pane<'_>) {
        self.keys.append_option(pane.key);
        self.starts.push(pane.start);
        self.ends.push(pane.end);
        self.newest.push(pane.newest);
        self.accs.push(pane.acc);
    }

    /// Whether it is time for `flush`.
    pub fn is_full(&self) -> bool {
        self.accs.len() >= GROUPS_A_CALL || self.accs.data().len() >= BYTES_A_CALL
    }

    /// Calls `finish` for all that are here, and emits what it answers.
    pub fn flush(
        &mut self,
        function: &mut dyn Aggregate,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        if self.accs.is_empty() {
            return Ok(());
        }
        let keys = self.keys.finish();
        let windows = windows_of(
            std::mem::take(&mut self.starts),
            std::mem::take(&mut self.ends),
        );
        let finished = function.finish(&keys, &windows, &self.accs)?;
        self.accs.clear();
        let newest = std::mem::take(&mut self.newest);
        let Finished {
            mut batch,
            groups,
            rejected,
        } = finished;
        for result in rejected {
            let group = result.row as usize;
            let window = self
                .windowed
                .then(|| (windows.starts.value(group), windows.ends.value(group)));
            out.reject_result(key_of(Some(&keys), group), window, result)?;
        }
        if batch.len == 0 {
            return Ok(());
        }
        if groups.len() != batch.len || groups.last().is_some_and(|g| *g as usize >= keys.len()) {
            let what = format!(
                "{} results of {} groups name {} groups",
                batch.len,
                keys.len(),
                groups.len()
            );
            return Err(StepError::Failed(what));
        }
        let of = |times: &[i64]| {
            groups
                .iter()
                .map(|g| times[*g as usize])
                .collect::<Vec<i64>>()
        };
        batch.timestamps = Some(if self.windowed {
            let (starts, ends) = (of(windows.starts.values()), of(windows.ends.values()));
            let times = Int64Array::from_iter_values(ends.iter().map(|end| end - 1));
            batch.windows = Some(windows_of(starts, ends));
            times
        } else {
            of(&newest)
                .into_iter()
                .map(|t| (t != NO_TIMESTAMP).then_some(t))
                .collect()
        });
        batch.keys = keys_of(keys, &groups);
        out.emit(Port::Main, batch)
    }
}

/// Keys of results, given those of groups; none if no group has one.
fn keys_of(keys: BinaryArray, groups: &[u32]) -> Option<BinaryArray> {
    if keys.null_count() == keys.len() {
        return None;
    }
    if groups.len() == keys.len() && groups.iter().enumerate().all(|(i, g)| i == *g as usize) {
        return Some(keys);
    }
    let mut chosen = BinaryBuilder::new();
    for group in groups {
        chosen.append_option(key_of(Some(&keys), *group as usize));
    }
    Some(chosen.finish())
}
