use smallvec::SmallVec;

use crate::keyed::{KeyMap, RowId, RowStore, TimeQueue, is_null, key_of, timestamp_of};
use crate::plugin::{RejectKind, Rejected};
use crate::record::Batch;

/// Rows by key. A row with a null value deletes its key's.
///
/// Plain tables keep the row that came last. Tables with versions keep rows by their timestamps: a version
/// holds from its time until that of the next, whatever order they came in.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) versioned: bool,
    pub(super) rows: RowStore<()>,
    pub(super) keys: KeyMap<Versions>,
    /// Versions to look at when the past is dropped: (time, key).
    pub(super) superseding: TimeQueue,
}

/// In order of time; without a row: deleted. In plain tables one, of the least time.
pub(super) type Versions = SmallVec<[(i64, Option<RowId>); 1]>;

impl Table {
    /// An empty table.
    pub fn new(versioned: bool) -> Table {
        Table {
            versioned,
            ..Table::default()
        }
    }

    /// How many keys have something.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.keys.bytes() + self.superseding.bytes()
    }

    /// Takes rows in order. Answers those that it can't: rows without key, or without timestamp where versions
    /// are kept.
    pub fn update(&mut self, batch: &Batch) -> Vec<Rejected> {
        let (mut rejected, mut kept, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..batch.len {
            let lacks = match (key_of(batch, row), timestamp_of(batch, row)) {
                (None, _) => "key",
                (_, None) if self.versioned => "timestamp",
                _ => {
                    if is_null(batch, row) {
                        deleted.push(row as u32)
                    } else {
                        kept.push(row as u32)
                    }
                    continue;
                }
            };
            let message = format!("a table needs records with a {lacks}, this one has none");
            rejected.push(Rejected {
                row: row as u32,
                kind: RejectKind::Step,
                message,
                log: Vec::new(),
            });
        }
        let mut ids = Vec::new();
        self.rows
            .keep(batch, &kept, kept.iter().map(|_| ()), &mut ids);
        let mut kept = kept.into_iter().zip(ids).peekable();
        let mut deleted = deleted.into_iter().peekable();
        // Both in order of rows again.
        loop {
            let (row, id) = match (kept.peek(), deleted.peek()) {
                (None, None) => break,
                (Some(&(row, id)), next) if next.is_none_or(|&gone| row < gone) => {
                    kept.next();
                    (row as usize, Some(id))
                }
                (_, _) => (
                    deleted
                        .next()
                        .expect("the kept row is behind it, or absent")
                        as usize,
                    None,
                ),
            };
            let ts = if self.versioned {
                timestamp_of(batch, row)
            } else {
                None
            };
            self.put(key_of(batch, row), ts.unwrap_or(i64::MIN), id);
        }
        rejected
    }

    /// Puts a version in its place.
    pub(super) fn put(&mut self, key: Option<&[u8]>, ts: i64, id: Option<RowId>) {
        let number = self.keys.find_or_insert(key, Versions::new);
        let versions = self.keys.get_mut(number);
        let (old, new) = match versions.binary_search_by_key(&ts, |v| v.0) {
            Ok(at) => (std::mem::replace(&mut versions[at].1, id), false),
            Err(at) => {
                versions.insert(at, (ts, id));
                (None, true)
            }
        };
        // A version that is deleted in its place goes like one that came as deleted.
        if self.versioned && (new || id.is_none()) {
            self.superseding.push(ts, number);
        }
        if !self.versioned && id.is_none() {
            self.keys.remove(number);
        } else {
            self.keys.touch(number);
        }
        if let Some(old) = old {
            self.rows.remove(old);
        }
    }

    /// The row of a key: the last, or the one that holds at `ts`.
    #[inline]
    pub fn find(&self, key: Option<&[u8]>, ts: Option<i64>) -> Option<RowId> {
        let versions = self.keys.get(self.keys.find(Some(key?))?);
        match ts {
            None => versions.last()?.1,
            Some(ts) => {
                versions[..versions.partition_point(|v| v.0 <= ts)]
                    .last()?
                    .1
            }
        }
    }

    /// These rows as one batch, each once, and where in it each of `ids` is.
    pub fn gather(&self, ids: &[RowId]) -> (Batch, Vec<u32>) {
        self.rows.gather(ids)
    }

    /// Drops versions that a younger one, not younger than `horizon`, has replaced.
    pub fn forget_before(&mut self, horizon: i64) {
        for (_, key) in self.superseding.pop_until(horizon) {
            if !self.keys.contains(key) {
                continue;
            }
            let versions = self.keys.get_mut(key);
            let past = versions.partition_point(|v| v.0 <= horizon);
            // The last of them still holds, unless it says that there is nothing.
            let gone = match versions[..past].last() {
                Some((_, None)) => past,
                Some(_) => past - 1,
                None => 0,
            };
            for (_, id) in versions.drain(..gone) {
                if let Some(id) = id {
                    self.rows.remove(id);
                }
            }
            if versions.is_empty() {
                self.keys.remove(key);
            } else if gone > 0 {
                self.keys.touch(key);
            }
        }
    }
}
