//! Records that wait until a table has caught up with them, in memory and beyond it.
//!
//! Those in memory are rows of a store, with a queue in order of time. Those beyond it are entries of a vault in order of
//! time: whoever is due there goes, a piece at a time, to a second vault in order of arrival, since records that come
//! out together keep the order in which they came. From there they come back as rows, some at a time.
//!
//! Names: time (8 bytes, big endian, sign flipped), arrival (8 bytes, big endian), how many left before it (as well), and
//! the key as snapshots name it; in the second vault the same without the time. Tasks count arrivals by themselves: where
//! the state of several came together, two records may have the same time, arrival and key, and only the third differs.

use std::collections::VecDeque;

use crate::keyed::{
    RowId, RowStore, StoredRows, TimeQueue, key_of, key_of_entry, leave, put_entry_key,
    timestamp_of,
};
use crate::record::Batch;
use crate::record::RowsBuilder;
use crate::record::codec::{Broken, Reader, ordered, unordered};
use crate::spill::{Entry, SpillError, Vault};
use crate::state::Extent;

/// Records that are looked at together; few in tests, so that it takes several turns.
const ROWS_A_TURN: usize = if cfg!(test) { 2 } else { 4096 };

/// Bytes of entries read at once.
const SCAN_BYTES: usize = if cfg!(test) { 64 } else { 256 << 10 };

/// Bytes of names that are gone which memory holds until the next snapshot.
const GONE_BYTES: usize = if cfg!(test) { 64 } else { 1 << 20 };

/// Bytes of a time, or of an arrival, in a name.
const NUMBER: usize = 8;

const WHOLE: &str = "a vault gives back what was put in";
const TIMED: &str = "records without timestamp do not wait";

/// Records that wait.
#[derive(Default)]
pub(super) struct WaitingRows {
    /// Beside each: its arrival.
    rows: RowStore<u64>,
    /// When they go on: (timestamp, row).
    order: TimeQueue,
    next_arrival: u64,
    /// Rows of memory that go on at this boundary, in order of arrival.
    ready: VecDeque<RowId>,
    cold: Option<Cold>,
    /// Rows read back, and their arrivals where they have any yet.
    restored: RowsBuilder,
    restored_arrivals: Vec<Option<u64>>,
}

/// Those beyond memory.
struct Cold {
    waiting: Vault,
    /// The least time in it.
    least: Option<i64>,
    /// Those that go on at this boundary, in order of arrival, and up to where they came back.
    due: Vault,
    back_until: Option<Vec<u8>>,
    /// Whether more of them are to come back.
    more: bool,
    /// Rows that came back.
    back: VecDeque<RowId>,
    /// How many wait.
    len: u64,
    /// How many ever left memory.
    left: u64,
    /// Where `waiting` stood at the last snapshot.
    age: u64,
    gone: Gone,
}

/// Names, without their times, of those that went on since the last snapshot.
struct Gone {
    some: Vec<Vec<u8>>,
    bytes: usize,
    /// The others.
    beyond: Vault,
}

fn number_in(name: &[u8]) -> u64 {
    let bytes = name.first_chunk().expect(WHOLE);
    u64::from_be_bytes(*bytes)
}

/// The key in a name without time.
fn key_in(name: &[u8]) -> Option<&[u8]> {
    key_of_entry(&name[2 * NUMBER..]).expect(WHOLE)
}

fn time_in(name: &[u8]) -> i64 {
    unordered(*name.first_chunk().expect(WHOLE))
}

impl WaitingRows {
    /// How many.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.rows.len() + self.cold.as_ref().map_or(0, |cold| cold.len as usize)
    }

    /// Whether some are beyond memory.
    pub fn any_cold(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.len > 0)
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let cold = self.cold.as_ref();
        let cold = cold.map_or(0, Cold::memory);
        self.rows.bytes() + self.order.bytes() + cold
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        let cold = self.cold.as_ref();
        cold.map_or(0, Cold::disk_bytes)
    }

    /// From now on they may leave memory for a vault like this.
    pub fn set_vault(&mut self, like: &Vault) {
        self.cold = Some(Cold {
            waiting: like.sibling(),
            least: None,
            due: like.sibling(),
            back_until: None,
            more: false,
            back: VecDeque::new(),
            len: 0,
            left: 0,
            age: 0,
            gone: Gone {
                some: Vec::new(),
                bytes: 0,
                beyond: like.sibling(),
            },
        });
    }

    /// The least timestamp of all that wait.
    pub fn least(&self) -> Option<i64> {
        let cold = self.cold.as_ref().and_then(|cold| cold.least);
        self.order.least().into_iter().chain(cold).min()
    }

    /// Keeps rows of a batch, which came in this order.
    pub fn keep(&mut self, batch: &Batch, rows: &[u32]) {
        let arrivals = self.next_arrival..self.next_arrival + rows.len() as u64;
        self.next_arrival = arrivals.end;
        self.keep_as(batch, rows, arrivals);
    }

    fn keep_as(&mut self, batch: &Batch, rows: &[u32], arrivals: impl Iterator<Item = u64>) {
        let mut ids = Vec::new();
        self.rows.keep(batch, rows, arrivals, &mut ids);
        for (&row, id) in rows.iter().zip(ids) {
            self.order
                .push(timestamp_of(batch, row as usize).expect(TIMED), id);
        }
    }

    /// All that wait until `passed` (inclusive) go on: `next` gives them.
    pub fn begin(&mut self, passed: i64) -> Result<(), SpillError> {
        let due = self.order.pop_until(passed).into_iter().map(|due| due.1);
        let mut ready: Vec<RowId> = due.collect();
        ready.sort_unstable_by_key(|&id| *self.rows.beside(id));
        self.ready.extend(ready);
        let cold = self.cold.as_mut();
        let Some(cold) = cold.filter(|cold| cold.least.is_some_and(|least| least <= passed)) else {
            return Ok(());
        };
        let mut behind: Option<Vec<u8>> = None;
        let mut few = Vec::new();
        cold.least = loop {
            let (mut entries, more) = cold.waiting.scan(&[], behind.as_deref(), SCAN_BYTES)?;
            let count = entries.partition_point(|entry| time_in(&entry.name) <= passed);
            let next = entries.get(count).map(|entry| time_in(&entry.name));
            let is_first = behind.is_none();
            behind = entries.last().map(|entry| entry.name.clone());
            entries.truncate(count);
            entries
                .iter_mut()
                .for_each(|e| drop(e.name.drain(..NUMBER)));
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            cold.gone.note(&entries)?;
            let is_last = next.is_some() || !more;
            if is_first && is_last {
                few = entries;
            } else {
                cold.put_due(&entries)?;
            }
            if is_last {
                break next;
            }
        };
        match passed.checked_add(1) {
            Some(floor) => cold.waiting.raise_floor(&ordered(floor))?,
            // All have gone.
            None => (cold.waiting, cold.age) = (cold.waiting.sibling(), 0),
        }
        self.come_back(&few);
        Ok(())
    }

    /// Some of those that go on, in order of arrival. None: there are no more.
    pub fn next(&mut self) -> Result<Option<Batch>, SpillError> {
        let mut ids = Vec::new();
        while ids.len() < ROWS_A_TURN {
            self.bring_back()?;
            let arrival = |id: Option<&RowId>| Some(*self.rows.beside(*id?));
            let back = self.cold.as_mut().map(|cold| &mut cold.back);
            let from = match (arrival(self.ready.front()), back) {
                (None, None) => break,
                (_, None) => &mut self.ready,
                (first, Some(back)) => match (first, arrival(back.front())) {
                    (None, None) => break,
                    (Some(ready), came) if came.is_none_or(|came| ready < came) => &mut self.ready,
                    _ => back,
                },
            };
            ids.extend(from.pop_front());
        }
        if ids.is_empty() {
            return Ok(None);
        }
        let (batch, at) = self.rows.gather(&ids);
        ids.into_iter().for_each(|id| self.rows.remove(id));
        Ok(Some(batch.take(&at)))
    }

    /// Makes rows of the next that are due beyond memory, if none is there.
    fn bring_back(&mut self) -> Result<(), SpillError> {
        let Some(cold) = self.cold.as_mut().filter(|c| c.more && c.back.is_empty()) else {
            return Ok(());
        };
        let (mut entries, more) = cold.due.scan(&[], cold.back_until.as_deref(), SCAN_BYTES)?;
        cold.more = more;
        if !more {
            // Its files go.
            cold.due = cold.waiting.sibling();
        }
        self.come_back(&entries);
        if let Some(cold) = &mut self.cold {
            cold.back_until = entries.pop().map(|last| last.name).filter(|_| more);
        }
        Ok(())
    }

    /// Makes rows of entries in order of arrival, named by it.
    fn come_back(&mut self, entries: &[Entry]) {
        let Some(cold) = self.cold.as_mut().filter(|_| !entries.is_empty()) else {
            return;
        };
        let mut rows = RowsBuilder::default();
        for entry in entries {
            let key = key_in(&entry.name);
            rows.push(&mut Reader::new(&entry.value), key).expect(WHOLE);
        }
        let (batch, mut ids) = (rows.finish(), Vec::new());
        let all: Vec<u32> = (0..batch.len as u32).collect();
        let arrivals = entries.iter().map(|entry| number_in(&entry.name));
        self.rows.keep(&batch, &all, arrivals, &mut ids);
        cold.len -= ids.len() as u64;
        cold.back.extend(ids);
    }

    /// If they take more memory than so many bytes, those go that wait longest, until half of that is left: each time all
    /// that stay are looked at, too.
    pub fn shed(&mut self, bytes_max: usize) -> Result<(), SpillError> {
        let now = self.bytes();
        // What goes on at this boundary is about to leave for good.
        let is_moving = self.ready.front().is_some()
            || self
                .cold
                .as_ref()
                .is_some_and(|cold| cold.more || !cold.back.is_empty());
        if now <= bytes_max || self.rows.is_empty() || is_moving || self.cold.is_none() {
            return Ok(());
        }
        let ids: Vec<RowId> = self.rows.ids().collect();
        let mut all: Vec<(i64, u64, RowId)> = Vec::with_capacity(ids.len());
        for some in ids.chunks(ROWS_A_TURN) {
            let (batch, at) = self.rows.gather(some);
            all.extend(some.iter().zip(at).map(|(&id, row)| {
                let time = timestamp_of(&batch, row as usize).expect(TIMED);
                (time, *self.rows.beside(id), id)
            }));
        }
        all.sort_unstable();
        let leaving = all.split_off(all.len() - leave(all.len(), bytes_max / 2, now));
        self.evict(&leaving)?;
        // Anew, for what it had kept for those that left.
        let old = std::mem::take(&mut self.rows);
        self.order = TimeQueue::default();
        for some in all.chunks(ROWS_A_TURN) {
            let ids: Vec<RowId> = some.iter().map(|one| one.2).collect();
            let (batch, at) = old.gather(&ids);
            let batch = batch.take(&at);
            let rows: Vec<u32> = (0..batch.len as u32).collect();
            self.keep_as(&batch, &rows, some.iter().map(|one| one.1));
        }
        Ok(())
    }

    /// Puts rows into the vault: (time, arrival, row), in that order.
    fn evict(&mut self, leaving: &[(i64, u64, RowId)]) -> Result<(), SpillError> {
        let (Some(cold), Some(first)) = (&mut self.cold, leaving.first()) else {
            return Ok(());
        };
        let mut into = cold.waiting.evict(leaving.len())?;
        let (mut name, mut value) = (Vec::new(), Vec::new());
        for some in leaving.chunks(ROWS_A_TURN) {
            let ids: Vec<RowId> = some.iter().map(|one| one.2).collect();
            let (batch, at) = self.rows.gather(&ids);
            let mut stored = StoredRows::of_these(&self.rows, &ids);
            for (&(time, arrival, id), row) in some.iter().zip(at) {
                let key = key_of(&batch, row as usize);
                name.clear();
                name.extend(ordered(time));
                name.extend(arrival.to_be_bytes());
                name.extend(cold.left.to_be_bytes());
                put_entry_key(&mut name, key);
                value.clear();
                stored.put(&mut value, id);
                cold.waiting.check_value(key, value.len())?;
                into.set(&name, &value)?;
                cold.left += 1;
            }
        }
        cold.waiting.admit(into)?;
        cold.len += leaving.len() as u64;
        cold.least = cold.least.into_iter().chain([first.0]).min();
        Ok(())
    }

    /// The rows in memory, in order of arrival: as one batch, where in it each is, and their numbers.
    pub fn in_memory(&self) -> (Batch, Vec<(RowId, u32)>) {
        let mut all: Vec<RowId> = self.rows.ids().collect();
        all.sort_unstable_by_key(|&id| *self.rows.beside(id));
        let (batch, at) = self.rows.gather(&all);
        (batch, all.into_iter().zip(at).collect())
    }

    /// To store them, without their keys.
    pub fn stored(&self) -> StoredRows<'_, u64> {
        StoredRows::of(&self.rows)
    }

    /// When a row came.
    pub fn arrival(&self, id: RowId) -> u64 {
        *self.rows.beside(id)
    }

    /// Tells of those beyond memory, for a snapshot: name (arrival, a number that no other has, and the key as snapshots name
    /// it), key and stored row; no row: that one has gone. Of changes: what is known not to have changed is left out.
    pub fn snapshot_cold(
        &mut self,
        extent: Extent,
        mut each: impl FnMut(&[u8], Option<&[u8]>, Option<&[u8]>),
    ) -> Result<(), SpillError> {
        let Some(cold) = &mut self.cold else {
            return Ok(());
        };
        let age = match extent {
            Extent::Whole => 0,
            Extent::Changes => {
                cold.gone.each(|name| each(name, key_in(name), None))?;
                cold.age
            }
        };
        let mut behind: Option<Vec<u8>> = None;
        loop {
            let (entries, more) =
                cold.waiting
                    .scan_since(age, &[], behind.as_deref(), SCAN_BYTES)?;
            for Entry { name, value } in &entries {
                let name = &name[NUMBER..];
                each(name, key_in(name), Some(value));
            }
            behind = entries.into_iter().last().map(|entry| entry.name);
            if !more {
                break;
            }
        }
        cold.age = cold.waiting.age();
        cold.gone.forget();
        Ok(())
    }

    /// Reads a row back, which came then, if that is known.
    pub fn restore(
        &mut self,
        from: &mut Reader<'_>,
        key: Option<&[u8]>,
        arrival: Option<u64>,
    ) -> Result<(), Broken> {
        self.restored
            .push(from, key)?
            .ok_or(Broken::Content("a waiting record without timestamp"))?;
        self.restored_arrivals.push(arrival);
        if self.restored.len() >= ROWS_A_TURN {
            self.seal_restored();
        }
        Ok(())
    }

    /// What was read back waits as all others do.
    pub fn seal_restored(&mut self) {
        if self.restored.is_empty() {
            return;
        }
        let batch = self.restored.finish();
        let rows: Vec<u32> = (0..batch.len as u32).collect();
        let known = std::mem::take(&mut self.restored_arrivals);
        // Behind all whose arrival is known.
        let behind = known.iter().flatten().max().map_or(0, |last| last + 1);
        self.next_arrival = self.next_arrival.max(behind);
        let mut next = self.next_arrival;
        let arrivals: Vec<u64> = known
            .into_iter()
            .map(|arrival| {
                arrival.unwrap_or_else(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        self.next_arrival = next;
        self.keep_as(&batch, &rows, arrivals.into_iter());
    }
}

impl Gone {
    /// These go on; they are in order of their names, without times.
    fn note(&mut self, entries: &[Entry]) -> Result<(), SpillError> {
        for Entry { name, .. } in entries {
            self.bytes += name.len() + size_of::<Vec<u8>>();
            self.some.push(name.clone());
        }
        if self.bytes <= GONE_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        let mut some = std::mem::take(&mut self.some);
        some.sort_unstable();
        let mut into = self.beyond.evict(some.len())?;
        some.iter().try_for_each(|name| into.set(name, &[]))?;
        self.beyond.admit(into)
    }

    fn each(&self, mut each: impl FnMut(&[u8])) -> Result<(), SpillError> {
        self.some.iter().for_each(|name| each(name));
        let mut behind: Option<Vec<u8>> = None;
        loop {
            let (entries, more) = self.beyond.scan(&[], behind.as_deref(), SCAN_BYTES)?;
            entries.iter().for_each(|entry| each(&entry.name));
            behind = entries.into_iter().last().map(|entry| entry.name);
            if !more {
                return Ok(());
            }
        }
    }

    fn forget(&mut self) {
        (self.some, self.bytes) = (Vec::new(), 0);
        self.beyond = self.beyond.sibling();
    }
}

impl Cold {
    fn memory(&self) -> usize {
        let vaults = [&self.waiting, &self.due, &self.gone.beyond];
        vaults.map(Vault::memory).iter().sum::<usize>() + self.gone.bytes
    }

    fn disk_bytes(&self) -> u64 {
        let vaults = [&self.waiting, &self.due, &self.gone.beyond];
        vaults.map(Vault::disk_bytes).iter().sum()
    }

    /// Puts entries where they are in order of arrival, by which they are named.
    fn put_due(&mut self, entries: &[Entry]) -> Result<(), SpillError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut into = self.due.evict(entries.len())?;
        for Entry { name, value } in entries {
            into.set(name, value)?;
        }
        self.more = true;
        self.due.admit(into)
    }
}
