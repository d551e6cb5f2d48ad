//! JSON documents: finding what is at the places of a pointer tree, and checking whole documents.
//!
//! What counts as a document is serde_json's grammar, UTF-8 throughout, nested at most 127 deep (as
//! deep as serde_json goes). The last of several members of one name wins.

pub(crate) mod document;

use arrow_array::BinaryArray;

pub(crate) use document::Document;

use super::found::Found;
use super::pointer::Tree;

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

/// Visits all documents, in order of rows; a null is a document in which nothing is.
pub(crate) fn visit(values: &BinaryArray, tree: &Tree, visitor: &mut impl Visit) {
    use arrow_array::Array;
    let mut found = vec![Found::Missing; tree.slots];
    for row in 0..values.len() {
        found.fill(Found::Missing);
        if values.is_null(row) {
            visitor.found(row, &found);
            continue;
        }
        match Document::of(values.value(row)).and_then(|document| document.find(tree, &mut found)) {
            Ok(()) => visitor.found(row, &found),
            Err(why) => visitor.malformed(row, &why),
        }
    }
}

/// Whether these bytes are a document.
pub(crate) fn is_document(bytes: &[u8]) -> bool {
    Document::of(bytes).is_ok()
}
