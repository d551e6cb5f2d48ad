use std::collections::HashMap;

use arrow_array::BinaryArray;

use crate::record::{Batch, Form, Value, codec};

/// Number of a row in a `RowStore`. It is given to another row once its own was removed.
pub type RowId = u32;

/// Chunks are merged up to so many rows. Larger ones make for fewer pieces when rows are gathered, and
/// cost more copies on the way.
const CHUNK_ROWS_MAX: usize = 16 * 1024;

/// Rows of many batches, kept in the columns in which they arrived, each with something beside it.
///
/// A batch that comes in is shared, not copied. Small chunks are merged and mostly dead ones
/// rewritten, so memory follows what lives; rows keep their number through all of that.
#[derive(Debug)]
pub struct RowStore<M> {
    chunks: Vec<Option<Chunk>>,
    free_chunks: Vec<u32>,
    /// Chunks that may be merged, oldest first; each at least twice as long as the next.
    small: Vec<u32>,
    places: Vec<Place<M>>,
    free: Vec<RowId>,
    chunk_bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    batch: Batch,
    /// Row i of `batch` is (or was) that one: it lives if its place points back.
    ids: Vec<RowId>,
    live: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Place<M> {
    chunk: u32,
    row: u32,
    beside: M,
}

/// `chunk` of a place that no row has.
const NOWHERE: u32 = u32::MAX;

const LIVE: &str = "a row number is only used while its row is in the store";

impl<M> Default for RowStore<M> {
    fn default() -> RowStore<M> {
        RowStore {
            chunks: Vec::new(),
            free_chunks: Vec::new(),
            small: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
            chunk_bytes: 0,
        }
    }
}

impl<M> RowStore<M> {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps `rows` of a batch (ascending), with what stands beside each; answers their numbers in `ids`.
    pub fn keep(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        beside: impl IntoIterator<Item = M>,
        ids: &mut Vec<RowId>,
    ) {
        ids.clear();
        if rows.is_empty() {
            return;
        }
        let mut batch = batch.take(rows);
        batch.windows = None;
        let bytes = batch.size_bytes();
        let chunk = self.free_chunks.pop().unwrap_or_else(|| {
            self.chunks.push(None);
            u32::try_from(self.chunks.len() - 1).expect("far fewer than 2^32 chunks")
        });
        for (row, beside) in (0..rows.len() as u32).zip(beside) {
            let place = Place { chunk, row, beside };
            let id = match self.free.pop() {
                Some(id) => {
                    self.places[id as usize] = place;
                    id
                }
                None => {
                    self.places.push(place);
                    RowId::try_from(self.places.len() - 1)
                        .expect("a task keeps fewer than 2^32 rows in memory")
                }
            };
            ids.push(id);
        }
        assert_eq!(ids.len(), rows.len(), "something stands beside each row");
        self.chunk_bytes += bytes;
        self.chunks[chunk as usize] = Some(Chunk {
            batch,
            ids: ids.clone(),
            live: ids.len(),
            bytes,
        });
        self.small.push(chunk);
        self.merge_small();
    }

    /// What stands beside a row.
    #[inline]
    pub fn beside(&self, id: RowId) -> &M {
        &self.places[id as usize].beside
    }

    /// What stands beside a row, to change.
    #[inline]
    pub fn beside_mut(&mut self, id: RowId) -> &mut M {
        &mut self.places[id as usize].beside
    }

    /// Whether the number stands for a row now.
    #[inline]
    pub fn contains(&self, id: RowId) -> bool {
        self.places
            .get(id as usize)
            .is_some_and(|p| p.chunk != NOWHERE)
    }

    /// The numbers of all rows.
    pub fn ids(&self) -> impl Iterator<Item = RowId> {
        (0..)
            .zip(&self.places)
            .filter(|p| p.1.chunk != NOWHERE)
            .map(|p| p.0)
    }

    /// Removes a row; its number is free for another.
    pub fn remove(&mut self, id: RowId) {
        let at = std::mem::replace(&mut self.places[id as usize].chunk, NOWHERE);
        self.free.push(id);
        let chunk = self.chunks[at as usize].as_mut().expect(LIVE);
        chunk.live -= 1;
        if chunk.live == 0 {
            self.drop_chunk(at);
        } else if chunk.live * 2 < chunk.batch.len && chunk.batch.len >= 64 {
            self.rewrite(at);
        }
    }

    /// These rows as one batch, each once, and where in it each of `ids` is.
    pub fn gather(&self, ids: &[RowId]) -> (Batch, Vec<u32>) {
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(ids.len());
        for (i, &id) in ids.iter().enumerate() {
            let place = &self.places[id as usize];
            assert!(place.chunk != NOWHERE, "{LIVE}");
            order.push((
                u64::from(place.chunk) << 32 | u64::from(place.row),
                i as u32,
            ));
        }
        if !order.is_sorted() {
            order.sort_unstable();
        }
        let mut at = vec![0_u32; ids.len()];
        let mut pieces = Vec::new();
        let (mut chunk, mut rows): (u32, Vec<u32>) = (NOWHERE, Vec::new());
        let mut count = 0_u32;
        let mut last = None;
        for (place, i) in order {
            if last != Some(place) {
                last = Some(place);
                let place_chunk = (place >> 32) as u32;
                if place_chunk != chunk {
                    self.piece(chunk, &rows, &mut pieces);
                    rows.clear();
                    chunk = place_chunk;
                }
                rows.push(place as u32);
                count += 1;
            }
            at[i as usize] = count - 1;
        }
        self.piece(chunk, &rows, &mut pieces);
        let batch = match pieces.len() {
            0 => Batch::of(0, Value::new(Form::Null)),
            1 => pieces.pop().expect("there is one"),
            _ => Batch::concat(pieces),
        };
        (batch, at)
    }

    fn piece(&self, chunk: u32, rows: &[u32], pieces: &mut Vec<Batch>) {
        if !rows.is_empty() {
            pieces.push(
                self.chunks[chunk as usize]
                    .as_ref()
                    .expect(LIVE)
                    .batch
                    .take(rows),
            );
        }
    }

    fn living(&self, number: u32, chunk: &Chunk) -> Vec<(u32, RowId)> {
        let lives = |&(row, id): &(u32, RowId)| {
            let place = &self.places[id as usize];
            place.chunk == number && place.row == row
        };
        (0..).zip(chunk.ids.iter().copied()).filter(lives).collect()
    }

    fn drop_chunk(&mut self, number: u32) {
        let chunk = self.chunks[number as usize].take().expect(LIVE);
        self.chunk_bytes -= chunk.bytes;
        self.free_chunks.push(number);
        self.small.retain(|&c| c != number);
    }

    /// Leaves out the dead rows of a chunk.
    fn rewrite(&mut self, number: u32) {
        let chunk = self.chunks[number as usize].as_ref().expect(LIVE);
        let living = self.living(number, chunk);
        let rows: Vec<u32> = living.iter().map(|l| l.0).collect();
        let batch = chunk.batch.take(&rows);
        self.place(number, batch, living.into_iter().map(|l| l.1).collect());
    }

    /// Puts a batch in the place of a chunk's own, and tells its rows.
    fn place(&mut self, number: u32, batch: Batch, ids: Vec<RowId>) {
        for (row, &id) in ids.iter().enumerate() {
            let place = &mut self.places[id as usize];
            (place.chunk, place.row) = (number, row as u32);
        }
        let bytes = batch.size_bytes();
        self.chunk_bytes += bytes;
        let live = ids.len();
        if let Some(old) = self.chunks[number as usize].replace(Chunk {
            batch,
            ids,
            live,
            bytes,
        }) {
            self.chunk_bytes -= old.bytes;
        }
    }

    /// Merges the newest chunks, until each is at least twice as long as the next.
    fn merge_small(&mut self) {
        while let [.., before, last] = *self.small.as_slice() {
            let first = self.chunks[before as usize].as_ref().expect(LIVE);
            let second = self.chunks[last as usize].as_ref().expect(LIVE);
            if first.batch.len + second.batch.len > CHUNK_ROWS_MAX {
                // The older one is as large as it gets.
                self.small.remove(self.small.len() - 2);
                continue;
            }
            if first.live >= 2 * second.live {
                break;
            }
            let (one, two) = (self.living(before, first), self.living(last, second));
            let rows_of =
                |living: &[(u32, RowId)]| living.iter().map(|l| l.0).collect::<Vec<u32>>();
            let batch = Batch::concat(vec![
                first.batch.take(&rows_of(&one)),
                second.batch.take(&rows_of(&two)),
            ]);
            let ids = one.iter().chain(&two).map(|l| l.1).collect();
            self.place(before, batch, ids);
            self.drop_chunk(last);
        }
    }

    #[cfg(test)]
    pub(super) fn chunk_total(&self) -> usize {
        self.chunks.iter().flatten().count()
    }

    /// Bytes that rows and their numbers take; of what is beside them only its own size.
    pub fn bytes(&self) -> usize {
        let ids: usize = self
            .chunks
            .iter()
            .flatten()
            .map(|c| c.ids.capacity() * size_of::<RowId>() + size_of::<Chunk>())
            .sum();
        self.chunk_bytes
            + ids
            + self.places.capacity() * size_of::<Place<M>>()
            + self.free.capacity() * size_of::<RowId>()
    }
}

/// Rows of a store on their way into a snapshot.
pub struct StoredRows<'a, M> {
    store: &'a RowStore<M>,
    rows: Rows,
}

enum Rows {
    /// All: values become bytes a chunk at a time, once.
    All(Vec<Option<BinaryArray>>),
    /// A few, together: the batch, its values, and which row each is.
    Few(Box<Batch>, BinaryArray, HashMap<RowId, u32>),
}

impl<'a, M> StoredRows<'a, M> {
    /// All rows of a store.
    pub fn of(store: &'a RowStore<M>) -> StoredRows<'a, M> {
        StoredRows {
            store,
            rows: Rows::All(vec![None; store.chunks.len()]),
        }
    }

    /// These rows of it.
    pub fn of_these(store: &'a RowStore<M>, ids: &[RowId]) -> StoredRows<'a, M> {
        let (batch, at) = store.gather(ids);
        let values = codec::values_of(&batch);
        let rows = Rows::Few(
            Box::new(batch),
            values,
            ids.iter().copied().zip(at).collect(),
        );
        StoredRows { store, rows }
    }

    /// Appends a row as `record::codec` has it, without its key.
    pub fn put(&mut self, out: &mut Vec<u8>, id: RowId) {
        match &mut self.rows {
            Rows::All(values) => {
                let Place { chunk, row, .. } = self.store.places[id as usize];
                let chunk = chunk as usize;
                let batch = &self.store.chunks[chunk].as_ref().expect(LIVE).batch;
                let values = values[chunk].get_or_insert_with(|| codec::values_of(batch));
                codec::put_row(out, batch, values, row as usize, false);
            }
            Rows::Few(batch, values, rows) => {
                codec::put_row(out, batch, values, rows[&id] as usize, false);
            }
        }
    }
}
