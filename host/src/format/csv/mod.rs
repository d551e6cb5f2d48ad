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

/// The cells of rows as text.
struct Cells<'a> {
    dialect: &'a CsvDialect,
    /// From the first cell on.
    text: &'a str,
    /// Where `text` starts in the data.
    base: u32,
    ends: &'a [u32],
    width: usize,
}

impl<'a> Cells<'a> {
    fn of(rows: &'a CsvRows) -> Cells<'a> {
        let (start, width) = (rows.start as usize, rows.width());
        let data = if rows.is_empty() {
            &[][..]
        } else {
            &rows.data[start..start + rows.bytes()]
        };
        let text =
            simdutf8::basic::from_utf8(data).expect("cells are UTF-8: cutting refuses other rows");
        Cells {
            dialect: &rows.dialect,
            text,
            base: rows.start,
            ends: &rows.ends,
            width,
        }
    }

    #[inline]
    fn cell(&self, row: usize, column: usize) -> &'a str {
        let cell = row * self.width + column;
        let start = if cell == 0 {
            0
        } else {
            self.ends[cell - 1] + 1 - self.base
        };
        &self.text[start as usize..(self.ends[cell] - self.base) as usize]
    }

    #[inline]
    fn found(&self, row: usize, column: usize) -> Found<'a> {
        let cell = self.cell(row, column);
        if self.dialect.is_null(cell) {
            Found::Null
        } else {
            Found::Cell(cell, !self.dialect.strings)
        }
    }
}

impl CsvDialect {
    #[inline]
    fn is_null(&self, cell: &str) -> bool {
        self.nulls
            .iter()
            .any(|null| null.len() == cell.len() && null == cell)
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
    let cells = Cells::of(rows);
    let mut slots = vec![Found::Missing; tree.slots];
    for row in 0..rows.len() {
        for &(slot, column) in &columns {
            slots[slot] = cells.found(row, column);
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
    let names = write::member_names(rows.dialect.header.iter().map(String::as_str));
    let cells = Cells::of(rows);
    let mut out = Strings::new(rows.len());
    out.data.reserve(
        rows.bytes() * 2 + rows.len() * names.iter().map(|name| name.len() + 2).sum::<usize>(),
    );
    for row in 0..rows.len() {
        for (column, name) in names.iter().enumerate() {
            out.data.extend_from_slice(name);
            match cells.found(row, column) {
                Found::Cell(cell, numbers) => write::cell(&mut out.data, cell, numbers),
                _ => out.data.extend_from_slice(b"null"),
            }
        }
        out.data
            .extend_from_slice(if names.is_empty() { b"{}" } else { b"}" });
        out.end();
    }
    out.into_binary()
}

#[cfg(test)]
mod tests;
