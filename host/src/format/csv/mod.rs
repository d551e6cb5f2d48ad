//! CSV: rows cut into cells, cells read as typed fields or turned into JSON.
//!
//! A cell that counts as null is null, one that is a JSON number is that number as written (whether it was
//! quoted or not: quotes in CSV guard delimiters, they don't make types), any other is a string.

mod cut;
mod quoted;

use arrow_array::BinaryArray;

pub use cut::{BadRow, CutRows, RowCut, RowCutter, RowPlace};

use super::found::Found;
use super::json::Visit;
use super::pointer::Tree;
use super::strings::Strings;
use super::write;
use crate::record::CsvRows;

/// How a source's cells become JSON.
#[derive(Debug)]
pub struct CsvDialect {
    /// Column names.
    pub header: Vec<String>,
    /// Cells that are null.
    pub nulls: Vec<String>,
    /// No cell is a number.
    pub strings: bool,
}

/// Cell `column` of row `row` as text; cutting saw to UTF-8.
fn text(rows: &CsvRows, row: usize, column: usize) -> &str {
    std::str::from_utf8(rows.cell(row, column))
        .expect("cells are UTF-8: cutting refuses other rows")
}

fn found<'a>(rows: &'a CsvRows, row: usize, column: usize) -> Found<'a> {
    let cell = text(rows, row, column);
    if rows.dialect.nulls.iter().any(|null| null == cell) {
        Found::Null
    } else {
        Found::Cell(cell, !rows.dialect.strings)
    }
}

/// Visits all rows.
pub(crate) fn visit(rows: &CsvRows, tree: &Tree, visitor: &mut impl Visit) {
    let root = &tree.nodes[0];
    let columns: Vec<(usize, usize)> = root
        .children
        .iter()
        .filter_map(|(name, node)| {
            let column = rows.dialect.header.iter().rposition(|h| **h == **name)?;
            Some((tree.nodes[*node].slot?, column))
        })
        .collect();
    let whole = root.slot.map(|slot| (slot, bytes(rows)));
    let mut slots = vec![Found::Missing; tree.slots];
    for row in 0..rows.len() {
        for &(slot, column) in &columns {
            slots[slot] = found(rows, row, column);
        }
        if let Some((slot, bytes)) = &whole {
            slots[*slot] = Found::Json(
                std::str::from_utf8(bytes.value(row)).expect("the writer writes UTF-8"),
            );
        }
        visitor.found(row, &slots);
    }
}

/// All rows as JSON objects keyed by the header.
pub(crate) fn bytes(rows: &CsvRows) -> BinaryArray {
    let names: Vec<Vec<u8>> = rows
        .dialect
        .header
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let mut bytes = vec![if i == 0 { b'{' } else { b',' }];
            write::string(&mut bytes, name);
            bytes.push(b':');
            bytes
        })
        .collect();
    let mut out = Strings::new(rows.len());
    for row in 0..rows.len() {
        for (column, name) in names.iter().enumerate() {
            out.data.extend_from_slice(name);
            write::found(&mut out.data, found(rows, row, column));
        }
        out.data.push(b'}');
        out.end();
    }
    out.into_binary()
}

#[cfg(test)]
mod tests;
