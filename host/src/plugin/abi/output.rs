//! Staged output becomes batches: buffers turn into Arrow arrays without a copy, columns that were not
//! emitted come from the source rows, and pieces of one port are joined in order of emission.

use std::sync::Arc;

use arrow_array::{Array, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::staging::{Segment, SourceRows, StagedBytes, StagedColumn, StagedData, StagedValue};
use crate::format;
use crate::plugin::fields::extracted;
use crate::plugin::{Descriptor, Reads};
use crate::record::arrays::{Rows, concat_columns, take_column};
use crate::record::{Batch, Column, Form, Kind, NO_ROW, NO_TIMESTAMP, Row, Value};

/// Segments of all calls over a batch, with sources as rows of that batch (or groups, or pairs).
#[derive(Debug, Default)]
pub struct Collected {
    segments: Vec<Segment>,
    /// Sources whose output is dropped, since the call rejected them; ascending.
    dropped: Vec<u32>,
}

/// How a call's rows are numbered in the whole batch.
#[derive(Clone, Copy, Debug)]
pub enum RowMap<'a> {
    /// Row i is row `start + i`.
    From(u32),
    /// Row i is row `rows[i]`.
    Of(&'a [u32]),
}

impl RowMap<'_> {
    /// A row's number in the batch.
    pub fn get(&self, row: u32) -> u32 {
        match self {
            RowMap::From(start) => start + row,
            RowMap::Of(rows) => rows[row as usize],
        }
    }

    fn map(&self, rows: &mut SourceRows) {
        match (self, &mut *rows) {
            (RowMap::From(0), _) => {}
            (RowMap::From(first), SourceRows::Run { start, .. }) => *start += first,
            (RowMap::From(first), SourceRows::Each(each)) => {
                each.iter_mut().for_each(|r| *r += first)
            }
            (RowMap::Of(of), SourceRows::Each(each)) => {
                each.iter_mut().for_each(|r| *r = of[*r as usize])
            }
            (RowMap::Of(of), SourceRows::Run { start, len }) => {
                *rows = SourceRows::Each(of[*start as usize..(*start + *len) as usize].to_vec());
            }
        }
    }
}

impl Collected {
    /// Takes what one call put out.
    pub fn add(&mut self, segments: Vec<Segment>, map: RowMap<'_>) {
        for mut segment in segments {
            map.map(&mut segment.rows);
            // Rows passed on in several calls are taken from the input once, not cut and joined again.
            let last = self
                .segments
                .iter_mut()
                .rev()
                .find(|s| s.port == segment.port);
            match last {
                Some(last) if last.is_passed_on() && segment.is_passed_on() => {
                    last.rows.join(segment.rows)
                }
                _ => self.segments.push(segment),
            }
        }
    }

    /// Drops the output of a source.
    pub fn drop_source(&mut self, source: u32) {
        if let Err(at) = self.dropped.binary_search(&source) {
            self.dropped.insert(at, source);
        }
    }

    /// One batch per port. `build` makes the batch of one segment.
    pub fn into_batches(self, ports: usize, build: impl FnMut(Segment) -> Batch) -> Vec<Batch> {
        self.build(ports, false, build)
            .into_iter()
            .map(|(batch, _)| batch)
            .collect()
    }

    /// One batch per port, with the source of each record. `build` makes the batch of one segment.
    pub fn into_ports(
        self,
        ports: usize,
        build: impl FnMut(Segment) -> Batch,
    ) -> Vec<(Batch, Vec<u32>)> {
        self.build(ports, true, build)
    }

    /// The sources are listed only where somebody wants them, or some are dropped.
    fn build(
        self,
        ports: usize,
        with_sources: bool,
        mut build: impl FnMut(Segment) -> Batch,
    ) -> Vec<(Batch, Vec<u32>)> {
        let mut parts: Vec<(Vec<Batch>, Vec<u32>)> =
            (0..ports).map(|_| (Vec::new(), Vec::new())).collect();
        for segment in self.segments {
            let (batches, sources) = &mut parts[segment.port];
            if self.dropped.is_empty() && !with_sources {
                batches.push(build(segment));
                continue;
            }
            let rows = segment.rows.to_vec();
            let mut batch = build(segment);
            if self.dropped.is_empty() {
                sources.extend_from_slice(&rows);
            } else {
                let kept: Vec<u32> = (0..rows.len() as u32)
                    .filter(|i| self.dropped.binary_search(&rows[*i as usize]).is_err())
                    .collect();
                sources.extend(kept.iter().map(|i| rows[*i as usize]));
                batch = batch.take(&kept);
            }
            batches.push(batch);
        }
        parts
            .into_iter()
            .map(|(batches, sources)| (Batch::concat(batches), sources))
            .collect()
    }
}

/// The batch of one segment of a transform: sources are rows of `input`.
pub fn of_rows(segment: Segment, input: &Batch, descriptor: &Descriptor) -> Batch {
    let len = segment.rows.len();
    let inherit = matches!(segment.value, StagedValue::Inherit);
    let base = Batch {
        len: input.len,
        keys: if segment.keys.is_none() {
            input.keys.clone()
        } else {
            None
        },
        timestamps: if segment.timestamps.is_none() {
            input.timestamps.clone()
        } else {
            None
        },
        value: if inherit {
            input.value.clone()
        } else {
            Value::new(Form::Null)
        },
        // Only the window step's own output carries windows.
        windows: None,
        headers: if segment.headers.is_none() {
            input.headers.clone()
        } else {
            None
        },
        origins: input.origins.clone(),
        errors: None,
    };
    let mut batch = match &segment.rows {
        SourceRows::Run { start, len } => base.slice(*start as usize, *len as usize),
        SourceRows::Each(rows) => base.take(rows),
    };
    if let Some(keys) = segment.keys {
        batch.keys = Some(binary(keys));
    }
    if let Some(timestamps) = segment.timestamps {
        batch.timestamps = Some(timestamps_of(timestamps));
    }
    if let Some(headers) = segment.headers {
        batch.headers = Some(Arc::new(headers));
    }
    let inherited = std::mem::replace(&mut batch.value, Value::new(Form::Null));
    let passed = |i: usize| {
        let column = &extracted(input, &descriptor.reads.fields[i].spec).column;
        match &segment.rows {
            SourceRows::Run { start, len } => {
                take_column(column, &Rows::Run(*start as usize, *len as usize))
            }
            SourceRows::Each(rows) => take_column(column, &Rows::of(rows)),
        }
    };
    batch.value = value(
        segment.value,
        &segment.value_nulls,
        len,
        descriptor,
        || inherited,
        passed,
    );
    batch
}

/// The batch of one segment of a join: sources are pairs of rows of `left` and `right`; values only.
pub fn of_pairs(
    segment: Segment,
    left: &Batch,
    right: &Batch,
    left_rows: &[u32],
    right_rows: &[u32],
    descriptor: &Descriptor,
) -> Batch {
    let pairs = segment.rows.to_vec();
    let side = |rows: &[u32]| -> Vec<u32> { pairs.iter().map(|p| rows[*p as usize]).collect() };
    let fields_left = descriptor.reads.fields.len();
    let inherit = || {
        let rows = side(left_rows);
        let base = Batch::of(left.len, left.value.clone());
        if rows.contains(&NO_ROW) {
            // One null value behind the others stands for all absent ones.
            let nulls = Batch::concat(vec![base, Batch::of(1, Value::new(Form::Null))]);
            let absent = left.len as u32;
            let rows: Vec<u32> = rows
                .into_iter()
                .map(|r| if r == NO_ROW { absent } else { r })
                .collect();
            nulls.take(&rows).value
        } else {
            base.take(&rows).value
        }
    };
    let passed = |i: usize| {
        let (batch, reads, rows, i): (&Batch, &Reads, &[u32], usize) = if i < fields_left {
            (left, &descriptor.reads, left_rows, i)
        } else {
            (right, &descriptor.right, right_rows, i - fields_left)
        };
        take_or_null(&extracted(batch, &reads.fields[i].spec).column, &side(rows))
    };
    let len = pairs.len();
    Batch::of(
        len,
        value(
            segment.value,
            &segment.value_nulls,
            len,
            descriptor,
            inherit,
            passed,
        ),
    )
}

/// The batch of one segment of an aggregate's results: values only.
pub fn of_groups(segment: Segment, descriptor: &Descriptor) -> Batch {
    let len = segment.rows.len();
    let none = |_| unreachable!("finish passes no input field on: checked in emit");
    Batch::of(
        len,
        value(
            segment.value,
            &segment.value_nulls,
            len,
            descriptor,
            || Value::new(Form::Null),
            none,
        ),
    )
}

/// Values of a segment.
fn value(
    staged: StagedValue,
    nulls: &[u8],
    len: usize,
    descriptor: &Descriptor,
    inherit: impl FnOnce() -> Value,
    passed: impl Fn(usize) -> Column,
) -> Value {
    match staged {
        StagedValue::Inherit => null_some(inherit(), nulls, len),
        StagedValue::Bytes(bytes) => Value::new(Form::Bytes(binary(bytes))),
        StagedValue::Fields(columns) => {
            let columns = columns
                .into_iter()
                .zip(descriptor.emits.iter())
                .map(|(c, e)| match c {
                    StagedColumn {
                        data: StagedData::Input(i),
                        ..
                    } => passed(i as usize),
                    own => column(own, e.kind),
                })
                .collect();
            Value::new(Form::Row(Row {
                schema: descriptor.emits.clone(),
                columns,
                nulls: null_buffer(nulls),
            }))
        }
    }
}

/// Inherited values of which some are put out as null.
fn null_some(value: Value, nulls: &[u8], len: usize) -> Value {
    // Values that nobody behind asks for were left out, and stay so.
    if nulls.iter().all(|n| *n == 0) || matches!(value.form, Form::Pruned) {
        return value;
    }
    let mut batch = Batch::of(len, value);
    let bytes = format::value_bytes(&mut batch);
    let kept = bytes
        .iter()
        .zip(nulls)
        .map(|(v, null)| v.filter(|_| *null == 0));
    Value::new(Form::Bytes(kept.collect()))
}

/// A column taken at rows of which some are absent: null there.
fn take_or_null(column: &Column, rows: &[u32]) -> Column {
    if !rows.contains(&NO_ROW) {
        return take_column(column, &Rows::of(rows));
    }
    let null: Column = match column.kind() {
        Kind::Text => Column::Text(StringArray::new_null(1)),
        Kind::Json => Column::Json(StringArray::new_null(1)),
        Kind::Ints => Column::Ints(Int64Array::new_null(1)),
        Kind::Floats => Column::Floats(Float64Array::new_null(1)),
        Kind::Bools => Column::Bools(BooleanArray::new_null(1)),
    };
    let absent = column.len() as u32;
    let rows: Vec<u32> = rows
        .iter()
        .map(|r| if *r == NO_ROW { absent } else { *r })
        .collect();
    let both = concat_columns(&[column, &null]).expect("both are of one kind");
    take_column(&both, &Rows::of(&rows))
}

/// Bytes of one byte a row, 1 = null, as a mask; none where nothing is null.
fn null_buffer(nulls: &[u8]) -> Option<NullBuffer> {
    if nulls.iter().all(|n| *n == 0) {
        return None;
    }
    Some(NullBuffer::new(BooleanBuffer::collect_bool(
        nulls.len(),
        |i| nulls[i] == 0,
    )))
}

/// Offsets of staged strings, as Arrow has them: the same bits, since output is bounded below 2^31 bytes.
fn offsets(staged: Vec<u32>) -> OffsetBuffer<i32> {
    if staged.is_empty() {
        return OffsetBuffer::new_empty();
    }
    let len = staged.len();
    OffsetBuffer::new(ScalarBuffer::new(Buffer::from_vec(staged), 0, len))
}

/// Strings whose marked nulls are empty, as the contract says they are; data there is dropped.
pub fn binary(staged: StagedBytes) -> BinaryArray {
    let nulls = null_buffer(&staged.nulls);
    let array = BinaryArray::new(offsets(staged.offsets), Buffer::from_vec(staged.data), None);
    match nulls {
        None => array,
        Some(nulls) => (0..array.len())
            .map(|i| nulls.is_valid(i).then(|| array.value(i)))
            .collect(),
    }
}

/// Timestamps; the least s64 is none.
fn timestamps_of(staged: Vec<i64>) -> Int64Array {
    if staged.contains(&NO_TIMESTAMP) {
        return staged
            .into_iter()
            .map(|t| (t != NO_TIMESTAMP).then_some(t))
            .collect();
    }
    Int64Array::from(staged)
}

/// A typed column that a guest wrote; what lies under nulls is zeroed.
fn column(staged: StagedColumn, kind: Kind) -> Column {
    let valid = staged.valid;
    let nulls = (valid.contains(&0))
        .then(|| NullBuffer::new(BooleanBuffer::collect_bool(valid.len(), |i| valid[i] != 0)));
    match staged.data {
        StagedData::Ints(mut v) => {
            zero(&mut v, &valid, &nulls, 0);
            Column::Ints(Int64Array::new(v.into(), nulls))
        }
        StagedData::Floats(mut v) => {
            zero(&mut v, &valid, &nulls, 0.0);
            Column::Floats(Float64Array::new(v.into(), nulls))
        }
        StagedData::Bools(mut v) => {
            zero(&mut v, &valid, &nulls, 0);
            Column::Bools(BooleanArray::new(
                BooleanBuffer::collect_bool(v.len(), |i| v[i] != 0),
                nulls,
            ))
        }
        StagedData::Text(bytes) | StagedData::Json(bytes) => {
            let mut array = text(bytes);
            if let Some(nulls) = nulls {
                array = (0..array.len())
                    .map(|i| nulls.is_valid(i).then(|| array.value(i)))
                    .collect();
            }
            if kind == Kind::Json {
                Column::Json(array)
            } else {
                Column::Text(array)
            }
        }
        StagedData::Input(_) => unreachable!("handled by the caller"),
    }
}

fn zero<T: Copy>(values: &mut [T], valid: &[u8], nulls: &Option<NullBuffer>, zero: T) {
    if nulls.is_some() {
        values
            .iter_mut()
            .zip(valid)
            .filter(|(_, v)| **v == 0)
            .for_each(|(value, _)| *value = zero);
    }
}

fn text(staged: StagedBytes) -> StringArray {
    let offsets = offsets(staged.offsets);
    // SAFETY: `emit` checked each piece of this buffer (`check::utf8`): all of it is UTF-8, and every
    // offset is at the start of a character; pieces were appended whole. Checking again with std costs
    // up to 70 ns a record where text is not ASCII.
    unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(staged.data), None) }
}

/// Rows of a batch that stay when a filter answered these bytes.
pub fn kept_rows(mask: &[u8]) -> Vec<u32> {
    let mut rows = vec![0u32; mask.len()];
    let mut n = 0;
    for (i, keep) in mask.iter().enumerate() {
        rows[n] = i as u32;
        n += usize::from(*keep != 0);
    }
    rows.truncate(n);
    rows
}
