//! Rows of typed fields: read by name, and written as JSON.

use arrow_array::{Array, BinaryArray, Float64Array};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::decode::null_rows;
use super::found::Found;
use super::json::{Visit, document};
use super::pointer::{self, Tree};
use super::row_lines::RowLines;
use crate::record::{Column, Extracted, FieldSpec, Issues, Kind, Row};

/// What is at a column's row. Floats that are not finite are null, as they are when the row is written.
#[inline]
pub(crate) fn found(column: &Column, row: usize) -> Found<'_> {
    if column.nulls().is_some_and(|n| n.is_null(row)) {
        return Found::Null;
    }
    match column {
        Column::Text(a) => Found::Text(a.value(row)),
        Column::Ints(a) => Found::Int(a.value(row), ""),
        Column::Floats(a) if !a.value(row).is_finite() => Found::Null,
        Column::Floats(a) => Found::Float(a.value(row)),
        Column::Bools(a) => Found::Bool(a.value(row)),
        Column::Json(a) => Found::of_json(a.value(row)),
    }
}

/// The field as it is in the rows already, if that is so for all of them: then nothing is read.
pub(crate) fn by_reference(rows: &Row, spec: &FieldSpec) -> Option<Extracted> {
    if rows
        .nulls
        .as_ref()
        .is_some_and(|nulls| nulls.null_count() > 0)
    {
        return None;
    }
    let tokens = pointer::tokens(&spec.pointer)?;
    let [name] = &tokens[..] else { return None };
    let column = &rows.columns[rows.schema.iter().rposition(|f| *f.name == **name)?];
    let column = match (column, spec.kind) {
        (Column::Floats(a), Kind::Floats) if !a.values().iter().all(|f| f.is_finite()) => {
            return None;
        }
        (Column::Ints(a), Kind::Floats) => {
            let floats: Vec<f64> = a.values().iter().map(|&int| int as f64).collect();
            Column::Floats(Float64Array::new(floats.into(), a.nulls().cloned()))
        }
        // A null there may be the document's, which is null in this form too; but it may stand as text.
        (Column::Json(a), Kind::Json)
            if (0..a.len()).any(|row| a.is_valid(row) && a.value(row) == "null") =>
        {
            return None;
        }
        (column, kind) if column.kind() == kind => column.clone(),
        _ => return None,
    };
    Some(Extracted {
        column,
        issues: Issues::default(),
    })
}

/// Visits all rows.
pub(crate) fn visit(rows: &Row, len: usize, tree: &Tree, visitor: &mut impl Visit) {
    let root = &tree.nodes[0];
    // As in a document, the last of several members of one name counts.
    let columns: Vec<(usize, &Column)> = root
        .children
        .iter()
        .filter_map(|(name, node)| {
            rows.schema
                .iter()
                .rposition(|f| *f.name == **name)
                .map(|c| (*node, &rows.columns[c]))
        })
        .collect();
    let whole = root.slot.map(|slot| (slot, bytes(rows, len)));
    let is_null = null_rows(rows.nulls.as_ref());
    let mut slots = vec![Found::Missing; tree.slots];
    for row in 0..len {
        slots.fill(Found::Missing);
        if is_null(row) {
            tree.find_in_null(&mut slots);
        } else {
            for (node, column) in &columns {
                let node = &tree.nodes[*node];
                if let Some(slot) = node.slot {
                    slots[slot] = found(column, row);
                }
                if let (false, Column::Json(json)) = (node.children.is_empty(), column)
                    && json.is_valid(row)
                {
                    document::find_below(json.value(row), tree, node, &mut slots)
                        .expect("a column of JSON holds valid JSON");
                }
            }
            if let Some((slot, bytes)) = &whole {
                slots[*slot] = Found::Json(
                    std::str::from_utf8(bytes.value(row)).expect("the writer writes UTF-8"),
                );
            }
        }
        visitor.found(row, &slots);
    }
}

/// All rows as compact JSON objects, each on one line.
pub(crate) fn bytes(rows: &Row, len: usize) -> BinaryArray {
    let is_null = null_rows(rows.nulls.as_ref());
    let mut out = Vec::new();
    let mut offsets = Vec::with_capacity(len + 1);
    offsets.push(0);
    RowLines::of(rows).write(len, is_null, &mut out, |_, at| {
        offsets.push(i32::try_from(at).expect("a batch is bounded far below 2 GiB"));
        at
    });
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    BinaryArray::new(offsets, Buffer::from_vec(out), rows.nulls.clone())
}

/// Appends all rows as JSON objects, one a line; a null is an empty line.
pub(crate) fn write_lines(rows: &Row, len: usize, out: &mut Vec<u8>) {
    let is_null = null_rows(rows.nulls.as_ref());
    RowLines::of(rows).write(len, is_null, out, |out, at| {
        out[at] = b'\n';
        at + 1
    });
}
