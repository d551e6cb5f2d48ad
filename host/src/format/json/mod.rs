//! JSON documents: finding what is at the places of a pointer tree, and checking whole documents.
//!
//! What counts as a document is serde_json's grammar, UTF-8 throughout, nested at most 127 deep (as
//! deep as serde_json goes). The last of several members of one name wins.

pub(crate) mod document;
mod scan;
mod shape;

use arrow_array::{Array, BinaryArray};

pub(crate) use document::Document;

use super::found::Found;
use super::pointer::Tree;
use scan::Scanner;

/// How many levels of arrays and objects a document may have: as many as serde_json reads.
pub(crate) const DEPTH_MAX: usize = 127;

/// Why a value is not a document: the line and column where it breaks.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed(pub String);

/// Takes what was found in each document of a batch.
pub(crate) trait Visit {
    /// Row `row`'s finds, one a slot.
    fn found(&mut self, row: usize, found: &[Found<'_>]);
    /// Row `row` is not a document.
    fn malformed(&mut self, row: usize, why: &Malformed);
}

/// Visits all documents, in order of rows; a null is one that is null.
pub(crate) fn visit(values: &BinaryArray, tree: &Tree, visitor: &mut impl Visit) {
    let offsets = values.value_offsets();
    // A slice shares its buffer with others: only its own part is looked at.
    let base = offsets[0] as usize;
    let data = &values.value_data()[base..offsets[values.len()] as usize];
    // One check for all. The text of one document is then text too, where it begins and ends with ASCII
    // characters, as every document does that the scanner takes.
    let mut scanner = simdutf8::basic::from_utf8(data)
        .ok()
        .map(|text| Scanner::new(tree, text));
    let mut found = vec![Found::Missing; tree.slots];
    for (row, range) in offsets.windows(2).enumerate() {
        found.fill(Found::Missing);
        let (start, end) = (range[0] as usize - base, range[1] as usize - base);
        let mut scan = || {
            scanner
                .as_mut()
                .is_some_and(|scanner| scanner.scan(start, end, &mut found).is_ok())
        };
        if values.is_null(row) {
            tree.find_in_null(&mut found);
            visitor.found(row, &found);
        } else if scan() {
            visitor.found(row, &found);
        } else {
            visit_slowly(row, &data[start..end], tree, &mut found, visitor);
        }
    }
}

#[cold]
fn visit_slowly<'a>(
    row: usize,
    document: &'a [u8],
    tree: &Tree,
    found: &mut [Found<'a>],
    visitor: &mut impl Visit,
) {
    found.fill(Found::Missing);
    match Document::of(document).and_then(|document| document.find(tree, found)) {
        Ok(()) => visitor.found(row, found),
        Err(why) => visitor.malformed(row, &why),
    }
}

/// What bytes are when they are shown in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A document: as they are.
    Document,
    /// Other UTF-8: as a string.
    Text,
    /// Other bytes.
    Bytes,
}

/// What each string of an array is (a null: anything).
pub(crate) fn shown(values: &BinaryArray) -> Vec<Shown> {
    let offsets = values.value_offsets();
    let base = offsets[0] as usize;
    let data = &values.value_data()[base..offsets[values.len()] as usize];
    let tree = Tree::of([]).0;
    let text = simdutf8::basic::from_utf8(data).ok();
    let ascii = text.is_some_and(str::is_ascii);
    let mut scanner = text.map(|text| Scanner::new(&tree, text));
    let of = |range: &[i32]| {
        let (start, end) = (range[0] as usize - base, range[1] as usize - base);
        let bytes = &data[start..end];
        if scanner.as_mut().is_some_and(|scanner| {
            can_be_document(bytes) && scanner.scan(start, end, &mut []).is_ok()
        }) {
            Shown::Document
        } else {
            shown_alone(bytes, ascii)
        }
    };
    offsets.windows(2).map(of).collect()
}

/// Whether these bytes are a document.
pub(crate) fn is_document(bytes: &[u8]) -> bool {
    shown_alone(bytes, false) == Shown::Document
}

/// By the first byte: most texts that are no documents are known by it.
#[inline]
fn can_be_document(bytes: &[u8]) -> bool {
    matches!(
        bytes.first(),
        Some(
            b'{' | b'[' | b'"' | b'-' | b'0'
                ..=b'9' | b't' | b'f' | b'n' | b' ' | b'\t' | b'\n' | b'\r'
        )
    )
}

fn shown_alone(bytes: &[u8], ascii: bool) -> Shown {
    if !ascii && std::str::from_utf8(bytes).is_err() {
        return Shown::Bytes;
    }
    if !can_be_document(bytes) {
        return Shown::Text;
    }
    // The scanner wants room behind the document; what it then gives up at is none.
    let mut padded = Vec::with_capacity(bytes.len() + scan::ROOM);
    padded.extend_from_slice(bytes);
    padded.resize(bytes.len() + scan::ROOM, b' ');
    let tree = Tree::of([]).0;
    let text = std::str::from_utf8(&padded).expect("looked at above");
    if Scanner::new(&tree, text).check(0, bytes.len()).is_ok() {
        Shown::Document
    } else {
        Shown::Text
    }
}

#[cfg(test)]
mod tests;
