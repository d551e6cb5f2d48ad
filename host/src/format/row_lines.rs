//! Rows of typed columns as compact JSON objects, each on one line.
//!
//! What is the same in every row (names, colons, quotes where every value has some) is put together once; texts are
//! looked at once a batch for what needs an escape, not one by one; and pieces are copied in blocks of one of two sizes,
//! past their ends, into room that was made for many rows: what comes next is written over it. So how long a piece is
//! decides nothing that a processor would have to guess.

use std::ops::Range;

use arrow_array::{Array, BooleanArray, StringArray};
use arrow_buffer::NullBuffer;

use super::{decimal, mask, write};
use crate::record::{Column, Row};

/// Rows that room is made for at a time: it stays in the nearest cache.
const ROWS: usize = 32;

/// Bytes of a block: most names and short values are in one.
const BLOCK: usize = 16;

/// Bytes of a large block. What is longer is left to the system's copying.
const LARGE: usize = 4 * BLOCK;

/// Writes rows of some columns.
pub(crate) struct RowLines<'r> {
    cells: Vec<Cell<'r>>,
    /// Behind the last value.
    end: Piece,
    /// Bytes of a row at most, texts not counted.
    row_max: usize,
}

/// A column, and what stands before its values.
struct Cell<'r> {
    before: Piece,
    nulls: Option<&'r NullBuffer>,
    values: Values<'r>,
}

/// How a column's values are written.
enum Values<'r> {
    /// As they are: a quote before and behind each is the neighbours' concern.
    Plain(&'r [i32], &'r [u8]),
    /// With quotes and escapes.
    Text(&'r StringArray),
    /// Documents, some on several lines.
    Json(&'r StringArray),
    Ints(&'r [i64]),
    Floats(&'r [f64]),
    Bools(&'r BooleanArray),
}

/// Bytes that stand in every row.
struct Piece {
    /// Padded to a whole large block.
    bytes: Vec<u8>,
    len: usize,
}

impl Piece {
    fn new(mut bytes: Vec<u8>) -> Piece {
        let len = bytes.len();
        bytes.resize(len.next_multiple_of(LARGE), 0);
        Piece { bytes, len }
    }

    #[inline]
    fn write(&self, out: &mut [u8], at: usize) -> usize {
        copy(out, at, &self.bytes, 0, self.len)
    }
}

/// Copies a part of the data to a place; the place behind it. Up to a large block from the place on may be written over.
#[inline]
fn copy(out: &mut [u8], at: usize, data: &[u8], start: usize, len: usize) -> usize {
    let in_block = copy_block::<1>(out, at, data, start, len);
    if !in_block && !copy_block::<{ LARGE / BLOCK }>(out, at, data, start, len) {
        out[at..at + len].copy_from_slice(&data[start..start + len]);
    }
    at + len
}

/// Copies it as so many whole blocks, if it is in them and the data reaches as far.
///
/// A block goes through a number, not from slice to slice: of copies of slices on several branches the compiler makes one
/// call of `memcpy` with a length, which is what blocks are to avoid.
#[inline]
fn copy_block<const BLOCKS: usize>(
    out: &mut [u8],
    at: usize,
    data: &[u8],
    start: usize,
    len: usize,
) -> bool {
    let size = BLOCKS * BLOCK;
    if len > size {
        return false;
    }
    let Some(from) = data.get(start..).and_then(|data| data.get(..size)) else {
        return false;
    };
    let (from, to) = (from.as_chunks::<BLOCK>().0, &mut out[at..at + size]);
    for (to, from) in to.as_chunks_mut::<BLOCK>().0.iter_mut().zip(from) {
        *to = u128::from_ne_bytes(*from).to_ne_bytes();
    }
    true
}

/// The bytes of all texts.
fn data(texts: &StringArray) -> &[u8] {
    let offsets = texts.value_offsets();
    &texts.value_data()[offsets[0] as usize..offsets[texts.len()] as usize]
}

impl<'r> RowLines<'r> {
    /// For these rows.
    pub fn of(rows: &'r Row) -> RowLines<'r> {
        let names = write::member_names(rows.schema.iter().map(|field| &*field.name));
        // What is known already of what stands before the next value.
        let mut before = Vec::new();
        let mut cells = Vec::new();
        let mut row_max = 0;
        for (name, column) in names.iter().zip(&rows.columns) {
            before.extend_from_slice(name);
            let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
            let mut quote = false;
            let values = match column {
                Column::Text(texts) if nulls.is_none() && mask::is_plain(data(texts)) => {
                    quote = true;
                    Values::Plain(texts.value_offsets(), texts.value_data())
                }
                Column::Text(texts) => Values::Text(texts),
                Column::Json(texts) if memchr::memchr2(b'\n', b'\r', data(texts)).is_none() => {
                    Values::Plain(texts.value_offsets(), texts.value_data())
                }
                Column::Json(texts) => Values::Json(texts),
                Column::Ints(ints) => Values::Ints(ints.values()),
                Column::Floats(floats) => Values::Floats(floats.values()),
                Column::Bools(bools) => Values::Bools(bools),
            };
            if quote {
                before.push(b'"');
            }
            // No float is longer than 24 bytes, nothing else than an integer and its room.
            row_max += before.len() + decimal::LEN_MAX + decimal::ROOM;
            cells.push(Cell {
                before: Piece::new(std::mem::take(&mut before)),
                nulls,
                values,
            });
            if quote {
                before.push(b'"');
            }
        }
        before.extend_from_slice(if names.is_empty() { b"{}" } else { b"}" });
        row_max += before.len();
        RowLines {
            cells,
            end: Piece::new(before),
            row_max,
        }
    }

    /// Appends all of `len` rows but those that are null. `ended` is told where each ends, writes at most a byte there, and
    /// says where the next begins.
    pub fn write(
        &self,
        len: usize,
        is_null: impl Fn(usize) -> bool,
        out: &mut Vec<u8>,
        mut ended: impl FnMut(&mut [u8], usize) -> usize,
    ) {
        let mut scratch = Vec::new();
        let mut at = out.len();
        for first in (0..len).step_by(ROWS) {
            let rows = first..len.min(first + ROWS);
            // What is left of the room before is not made anew.
            let room = at + self.room(&rows);
            if room > out.len() {
                out.resize(room, 0);
            }
            for row in rows {
                if !is_null(row) {
                    at = self.write_row(row, out, at, &mut scratch);
                }
                at = ended(out, at);
            }
        }
        out.truncate(at);
    }

    /// Bytes that these rows may be written to, with the block that reaches past the last one's end.
    fn room(&self, rows: &Range<usize>) -> usize {
        let texts = self.cells.iter().map(|cell| {
            let bytes = |offsets: &[i32]| (offsets[rows.end] - offsets[rows.start]) as usize;
            match cell.values {
                Values::Plain(offsets, _) => bytes(offsets),
                // A control character becomes six.
                Values::Text(texts) | Values::Json(texts) => 6 * bytes(texts.value_offsets()),
                _ => 0,
            }
        });
        texts.sum::<usize>() + (self.row_max + 1) * rows.len() + LARGE + BLOCK
    }

    #[inline]
    fn write_row(&self, row: usize, out: &mut [u8], mut at: usize, scratch: &mut Vec<u8>) -> usize {
        for cell in &self.cells {
            at = cell.before.write(out, at);
            if cell.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                at = copy(out, at, b"null", 0, 4);
                continue;
            }
            at = match &cell.values {
                Values::Plain(offsets, data) => {
                    let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                    copy(out, at, data, start, end - start)
                }
                Values::Ints(ints) => decimal::write(out, at, ints[row]),
                other => {
                    scratch.clear();
                    other.write_rare(row, scratch);
                    copy(out, at, scratch, 0, scratch.len())
                }
            };
        }
        self.end.write(out, at)
    }
}

impl Values<'_> {
    /// A value of a kind that no block or digit helps with.
    fn write_rare(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Values::Text(texts) => write::string(out, texts.value(row)),
            // Line ends stand between tokens only: inside strings they are escaped.
            Values::Json(texts) => {
                let one_line = |&byte: &u8| {
                    if matches!(byte, b'\n' | b'\r') {
                        b' '
                    } else {
                        byte
                    }
                };
                out.extend(texts.value(row).as_bytes().iter().map(one_line));
            }
            Values::Floats(floats) => write::float(out, floats[row]),
            Values::Bools(bools) => write::bool(out, bools.value(row)),
            Values::Plain(..) | Values::Ints(_) => unreachable!("written in blocks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Float64Array, Int64Array};

    use super::*;
    use crate::record::EmitField;

    fn lines(columns: Vec<(&str, Column)>, len: usize) -> Vec<String> {
        let (schema, columns): (Vec<EmitField>, Vec<Column>) = columns
            .into_iter()
            .map(|(name, column)| {
                let kind = column.kind();
                (
                    EmitField {
                        name: name.into(),
                        kind,
                    },
                    column,
                )
            })
            .unzip();
        let rows = Row {
            schema: Arc::from(schema),
            columns,
            nulls: None,
        };
        let mut out = Vec::new();
        RowLines::of(&rows).write(
            len,
            |_| false,
            &mut out,
            |out, at| {
                out[at] = b'\n';
                at + 1
            },
        );
        let text = String::from_utf8(out).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_kind_of_value_of_every_length_stands_where_it_belongs() {
        let len = 3 * ROWS + 5;
        // Around the blocks' edges, short beside long.
        let text = |row: usize| "x".repeat(row * 37 % 301);
        let column: Vec<String> = (0..len).map(text).collect();
        let ints: Vec<i64> = (0..len).map(|row| (-7i64).pow(row as u32 % 22)).collect();
        let floats: Vec<f64> = ints.iter().map(|&int| int as f64 / 3e7).collect();
        let written = lines(
            vec![
                (
                    "text",
                    Column::Text(column.iter().map(|s| Some(s.as_str())).collect()),
                ),
                ("int", Column::Ints(Int64Array::from(ints.clone()))),
                (
                    "a \"name\" of more than 16",
                    Column::Floats(floats.clone().into()),
                ),
                (
                    "maybe",
                    Column::Text((0..len).map(|row| (row % 3 > 0).then_some("é\n")).collect()),
                ),
                (
                    "bool",
                    Column::Bools((0..len).map(|row| Some(row % 2 == 0)).collect()),
                ),
            ],
            len,
        );
        assert_eq!(written.len(), len);
        for (row, line) in written.iter().enumerate() {
            let wanted = serde_json::json!({
                "text": column[row], "int": ints[row], "a \"name\" of more than 16": floats[row],
                "maybe": (row % 3 > 0).then_some("é\n"), "bool": row % 2 == 0,
            });
            let read: serde_json::Value = serde_json::from_str(line).expect("a document");
            assert_eq!(read, wanted, "row {row}");
        }
    }

    #[test]
    fn a_document_on_several_lines_becomes_one() {
        let json: StringArray = vec!["{\"a\":\n1,\r\n\"b\":\"\\n\"}", "[2]"].into();
        assert_eq!(
            lines(vec![("j", Column::Json(json))], 2),
            [r#"{"j":{"a": 1,  "b":"\n"}}"#, r#"{"j":[2]}"#]
        );
    }

    #[test]
    fn parts_of_larger_columns_are_written_as_if_they_stood_alone() {
        let text: StringArray = vec!["\"", "plain", "also plain", "\u{1}"].into();
        let whole = [
            ("t", Column::Text(text.slice(1, 2))),
            (
                "i",
                Column::Ints(Int64Array::from(vec![None, Some(1), None]).slice(1, 2)),
            ),
            (
                "f",
                Column::Floats(Float64Array::from(vec![0.5, 1e300, 2.0]).slice(1, 2)),
            ),
            (
                "b",
                Column::Bools(BooleanArray::from(vec![true, false, true]).slice(1, 2)),
            ),
        ];
        assert_eq!(
            lines(whole.to_vec(), 2),
            [
                r#"{"t":"plain","i":1,"f":1e+300,"b":false}"#,
                r#"{"t":"also plain","i":null,"f":2.0,"b":true}"#
            ]
        );
        assert_eq!(lines(vec![], 2), ["{}", "{}"]);
    }
}
