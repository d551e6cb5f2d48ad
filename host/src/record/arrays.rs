//! Taking, slicing and joining the Arrow arrays that batches are made of.
//!
//! Only the five kinds of column that the host has (bytes, text, ints, floats, bools), which is why this is
//! not `arrow-select`: rows that lie next to each other move with one copy, and nothing is
//! allocated per row.

use arrow_array::types::ByteArrayType;
use arrow_array::{Array, BooleanArray, Float64Array, GenericByteArray, Int64Array};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer,
};

use super::Column;

/// Rows chosen from a batch, with what is known of their shape.
pub(crate) enum Rows<'a> {
    /// Exactly these neighbours: nothing is copied.
    Run(usize, usize),
    /// Any others.
    Each(&'a [u32]),
}

impl<'a> Rows<'a> {
    /// Looks at rows once, so that each column need not.
    pub(crate) fn of(rows: &'a [u32]) -> Rows<'a> {
        let Some(&first) = rows.first() else {
            return Rows::Run(0, 0);
        };
        if rows.iter().zip(first..).all(|(&row, next)| row == next) {
            Rows::Run(first as usize, rows.len())
        } else {
            Rows::Each(rows)
        }
    }
}

/// Calls `run(start, len)` for each stretch of neighbours.
pub(crate) fn each_run(rows: &[u32], mut run: impl FnMut(usize, usize)) {
    let mut i = 0;
    while i < rows.len() {
        let start = rows[i];
        let mut n = 1;
        while i + n < rows.len() && rows[i + n] == start + n as u32 {
            n += 1;
        }
        run(start as usize, n);
        i += n;
    }
}

/// The null marks of chosen rows.
pub(crate) fn take_nulls(nulls: Option<&NullBuffer>, rows: &[u32]) -> Option<NullBuffer> {
    let nulls = nulls.filter(|n| n.null_count() > 0)?;
    let taken = NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), |i| {
        nulls.is_valid(rows[i] as usize)
    }));
    (taken.null_count() > 0).then_some(taken)
}

/// The null marks of several arrays, one after the other; each given with its length.
pub(crate) fn concat_nulls<'a>(
    parts: impl Iterator<Item = (usize, Option<&'a NullBuffer>)> + Clone,
) -> Option<NullBuffer> {
    if !parts
        .clone()
        .any(|(_, nulls)| nulls.is_some_and(|n| n.null_count() > 0))
    {
        return None;
    }
    let mut all = arrow_buffer::NullBufferBuilder::new(parts.clone().map(|(len, _)| len).sum());
    for (len, nulls) in parts {
        match nulls {
            Some(nulls) => all.append_buffer(nulls),
            None => all.append_n_non_nulls(len),
        }
    }
    all.finish()
}

/// Builds an array of strings from parts that were valid before.
fn bytes_of<T: ByteArrayType<Offset = i32>>(
    offsets: Vec<i32>,
    data: Vec<u8>,
    nulls: Option<NullBuffer>,
) -> GenericByteArray<T> {
    debug_assert!(offsets.is_sorted() && offsets.last().copied() == Some(data.len() as i32));
    // SAFETY: offsets start at 0, never fall and end at the data's length, since both grew together, string
    // by string (`offset` refuses what does not fit); whoever calls copies only whole strings of an
    // array of the same type, so that text stays text.
    unsafe {
        let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets));
        GenericByteArray::new_unchecked(offsets, Buffer::from_vec(data), nulls)
    }
}

/// A length as offset.
fn offset(len: usize) -> i32 {
    i32::try_from(len).expect("a batch is bounded far below 2 GiB")
}

/// Chosen strings.
pub(crate) fn take_bytes<T: ByteArrayType<Offset = i32>>(
    array: &GenericByteArray<T>,
    rows: &Rows<'_>,
) -> GenericByteArray<T> {
    let rows = match rows {
        Rows::Run(start, len) => return array.slice(*start, *len),
        Rows::Each(rows) => *rows,
    };
    let (from, data) = (array.value_offsets(), array.value_data());
    let total: usize = rows
        .iter()
        .map(|&r| (from[r as usize + 1] - from[r as usize]) as usize)
        .sum();
    offset(total);
    let mut taken = Vec::with_capacity(total);
    let mut offsets = Vec::with_capacity(rows.len() + 1);
    offsets.push(0);
    each_run(rows, |start, n| {
        let run = &from[start..=start + n];
        let shift = taken.len() as i32 - run[0];
        taken.extend_from_slice(&data[run[0] as usize..run[n] as usize]);
        offsets.extend(run[1..].iter().map(|end| end + shift));
    });
    bytes_of(offsets, taken, take_nulls(array.nulls(), rows))
}

/// Strings of several arrays, one after the other.
pub(crate) fn concat_bytes<T: ByteArrayType<Offset = i32>>(
    arrays: &[&GenericByteArray<T>],
) -> GenericByteArray<T> {
    let mut data = Vec::with_capacity(arrays.iter().map(|a| byte_len(a)).sum());
    let mut offsets = Vec::with_capacity(arrays.iter().map(|a| a.len()).sum::<usize>() + 1);
    offsets.push(0);
    for array in arrays {
        let from = array.value_offsets();
        let (first, last) = (from[0], from[from.len() - 1]);
        let shift = offset(data.len()) - first;
        offset(data.len() + (last - first) as usize);
        data.extend_from_slice(&array.value_data()[first as usize..last as usize]);
        offsets.extend(from[1..].iter().map(|end| end + shift));
    }
    bytes_of(
        offsets,
        data,
        concat_nulls(arrays.iter().map(|a| (a.len(), a.nulls()))),
    )
}

/// Bytes of all strings of an array (of a slice: of its own only).
pub(crate) fn byte_len<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> usize {
    let offsets = array.value_offsets();
    (offsets[offsets.len() - 1] - offsets[0]) as usize
}

/// Chosen numbers.
pub(crate) fn take_values<T: ArrowNativeType>(
    values: &ScalarBuffer<T>,
    rows: &Rows<'_>,
) -> ScalarBuffer<T> {
    match rows {
        Rows::Run(start, len) => values.slice(*start, *len),
        Rows::Each(rows) => {
            let values: &[T] = values;
            rows.iter()
                .map(|&r| values[r as usize])
                .collect::<Vec<T>>()
                .into()
        }
    }
}

/// The null marks of chosen rows, either shape.
pub(crate) fn take_nulls_of(nulls: Option<&NullBuffer>, rows: &Rows<'_>) -> Option<NullBuffer> {
    match rows {
        Rows::Run(start, len) => nulls
            .map(|n| n.slice(*start, *len))
            .filter(|n| n.null_count() > 0),
        Rows::Each(rows) => take_nulls(nulls, rows),
    }
}

/// Chosen integers.
pub(crate) fn take_ints(array: &Int64Array, rows: &Rows<'_>) -> Int64Array {
    Int64Array::new(
        take_values(array.values(), rows),
        take_nulls_of(array.nulls(), rows),
    )
}

/// Integers of several arrays, one after the other.
pub(crate) fn concat_ints(arrays: &[&Int64Array]) -> Int64Array {
    let mut values = Vec::with_capacity(arrays.iter().map(|a| a.len()).sum());
    for array in arrays {
        values.extend_from_slice(array.values());
    }
    Int64Array::new(
        values.into(),
        concat_nulls(arrays.iter().map(|a| (a.len(), a.nulls()))),
    )
}

/// Chosen entries of a typed column.
pub(crate) fn take_column(column: &Column, rows: &Rows<'_>) -> Column {
    match column {
        Column::Text(a) => Column::Text(take_bytes(a, rows)),
        Column::Json(a) => Column::Json(take_bytes(a, rows)),
        Column::Ints(a) => Column::Ints(take_ints(a, rows)),
        Column::Floats(a) => Column::Floats(Float64Array::new(
            take_values(a.values(), rows),
            take_nulls_of(a.nulls(), rows),
        )),
        Column::Bools(a) => {
            let values = match rows {
                Rows::Run(start, len) => a.values().slice(*start, *len),
                Rows::Each(rows) => {
                    BooleanBuffer::collect_bool(rows.len(), |i| a.values().value(rows[i] as usize))
                }
            };
            Column::Bools(BooleanArray::new(values, take_nulls_of(a.nulls(), rows)))
        }
    }
}

/// Columns of one kind, one after the other; none if their kinds differ.
pub(crate) fn concat_columns(columns: &[&Column]) -> Option<Column> {
    /// All arrays, if all columns are of one variant.
    macro_rules! all {
        ($variant:ident) => {
            columns
                .iter()
                .map(|c| {
                    if let Column::$variant(a) = c {
                        Some(a)
                    } else {
                        None
                    }
                })
                .collect::<Option<Vec<_>>>()?
        };
    }
    Some(match columns.first()? {
        Column::Text(_) => Column::Text(concat_bytes(&all!(Text))),
        Column::Json(_) => Column::Json(concat_bytes(&all!(Json))),
        Column::Ints(_) => Column::Ints(concat_ints(&all!(Ints))),
        Column::Floats(_) => {
            let arrays = all!(Floats);
            let values: Vec<f64> = arrays
                .iter()
                .flat_map(|a| a.values().iter().copied())
                .collect();
            Column::Floats(Float64Array::new(
                values.into(),
                concat_nulls(arrays.iter().map(|a| (a.len(), a.nulls()))),
            ))
        }
        Column::Bools(_) => {
            let arrays = all!(Bools);
            let mut values =
                arrow_buffer::BooleanBufferBuilder::new(arrays.iter().map(|a| a.len()).sum());
            for array in &arrays {
                values.append_buffer(array.values());
            }
            Column::Bools(BooleanArray::new(
                values.finish(),
                concat_nulls(arrays.iter().map(|a| (a.len(), a.nulls()))),
            ))
        }
    })
}

/// Payload bytes of a column.
pub(crate) fn column_bytes(column: &Column) -> usize {
    match column {
        Column::Text(a) | Column::Json(a) => byte_len(a) + 4 * a.len(),
        Column::Ints(a) => 8 * a.len(),
        Column::Floats(a) => 8 * a.len(),
        Column::Bools(a) => a.len().div_ceil(8),
    }
}
