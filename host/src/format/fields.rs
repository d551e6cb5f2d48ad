//! Typed columns from what is found in values: the contract's rules about kinds.
//!
//! Nothing is coerced: `ints` takes integers of 64 bits only (no `1.0`, no `1e3`, no `"1"`), `floats` any
//! number that is in a float's range, `text` strings, `json` anything. Null is null without issue.

use std::sync::Arc;

use arrow_array::{BooleanArray, Float64Array, Int64Array};
use arrow_buffer::BooleanBufferBuilder;

use super::found::{Found, unescape};
use super::strings::{NullRows, Strings};
use super::{number, write};
use crate::record::{Column, Extracted, FieldSpec, IssueKind, Issues, Kind};

#[derive(Debug)]
enum Builder {
    Text(Strings),
    Json(Strings),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Bools(BooleanBufferBuilder),
}

/// Builds one field of a batch.
#[derive(Debug)]
pub(crate) struct FieldBuilder {
    pub spec: FieldSpec,
    builder: Builder,
    /// Null rows; text keeps its own.
    nulls: NullRows,
    issues: Issues,
    missing: Option<Arc<str>>,
    mismatch: Option<(String, Arc<str>)>,
}

impl FieldBuilder {
    /// For so many rows.
    pub fn new(spec: FieldSpec, rows: usize) -> FieldBuilder {
        let builder = match spec.kind {
            Kind::Text => Builder::Text(Strings::new(rows)),
            Kind::Json => Builder::Json(Strings::new(rows)),
            Kind::Ints => Builder::Ints(Vec::with_capacity(rows)),
            Kind::Floats => Builder::Floats(Vec::with_capacity(rows)),
            Kind::Bools => Builder::Bools(BooleanBufferBuilder::new(rows)),
        };
        FieldBuilder {
            spec,
            builder,
            nulls: NullRows::default(),
            issues: Issues::default(),
            missing: None,
            mismatch: None,
        }
    }

    /// The next row has this.
    #[inline]
    pub fn push(&mut self, row: usize, found: Found<'_>) {
        let fits = match &mut self.builder {
            Builder::Text(strings) => push_text(strings, found),
            Builder::Json(strings) => push_json(strings, found),
            Builder::Ints(values) => match as_int(found) {
                Some(int) => {
                    values.push(int);
                    true
                }
                None => false,
            },
            Builder::Floats(values) => match as_float(found) {
                Some(float) => {
                    values.push(float);
                    true
                }
                None => false,
            },
            Builder::Bools(values) => match as_bool(found) {
                Some(bool) => {
                    values.append(bool);
                    true
                }
                None => false,
            },
        };
        if fits {
            return;
        }
        // Most documents may not have a member that is optional.
        match (found, &self.missing) {
            (Found::Missing, Some(message)) => {
                self.issues.push(row as u32, IssueKind::Missing, message);
                self.push_null(row);
            }
            _ => self.push_other(row, found),
        }
    }

    #[cold]
    fn push_other(&mut self, row: usize, found: Found<'_>) {
        self.push_null(row);
        match found {
            Found::Null => {}
            Found::Missing => {
                let message = self
                    .missing
                    .get_or_insert_with(|| match &*self.spec.pointer {
                        "" => "there is no value".into(),
                        pointer => format!("{pointer}: there is no such member").into(),
                    });
                self.issues.push(row as u32, IssueKind::Missing, message);
            }
            _ => {
                let what = found.describe();
                if self.mismatch.as_ref().is_none_or(|(last, _)| *last != what) {
                    let pointer = if self.spec.pointer.is_empty() {
                        "the value"
                    } else {
                        &self.spec.pointer
                    };
                    let message = format!(
                        "{pointer}: {} expected, found {what}",
                        wanted(self.spec.kind)
                    )
                    .into();
                    self.mismatch = Some((what, message));
                }
                if let Some((_, message)) = &self.mismatch {
                    self.issues.push(row as u32, IssueKind::Mismatch, message);
                }
            }
        }
    }

    /// The next row is no document.
    pub fn push_malformed(&mut self, row: usize, message: &Arc<str>) {
        self.push_null(row);
        self.issues.push(row as u32, IssueKind::Malformed, message);
    }

    fn push_null(&mut self, row: usize) {
        match &mut self.builder {
            Builder::Text(strings) | Builder::Json(strings) => return strings.push_null(),
            Builder::Ints(values) => values.push(0),
            Builder::Floats(values) => values.push(0.0),
            Builder::Bools(values) => values.append(false),
        }
        self.nulls.push(row);
    }

    /// The column.
    pub fn finish(self) -> (FieldSpec, Extracted) {
        let nulls = |rows: usize| self.nulls.finish(rows);
        let column = match self.builder {
            Builder::Text(strings) => Column::Text(strings.into_text()),
            Builder::Json(strings) => Column::Json(strings.into_text()),
            Builder::Ints(values) => {
                let nulls = nulls(values.len());
                Column::Ints(Int64Array::new(values.into(), nulls))
            }
            Builder::Floats(values) => {
                let nulls = nulls(values.len());
                Column::Floats(Float64Array::new(values.into(), nulls))
            }
            Builder::Bools(mut values) => {
                let nulls = nulls(values.len());
                Column::Bools(BooleanArray::new(values.finish(), nulls))
            }
        };
        (
            self.spec,
            Extracted {
                column,
                issues: self.issues,
            },
        )
    }
}

/// What a kind expects, in words.
fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Ints => "a 64-bit integer",
        Kind::Floats => "a 64-bit float",
        Kind::Bools => "true or false",
        Kind::Json => "a value",
    }
}

#[inline]
fn push_text(strings: &mut Strings, found: Found<'_>) -> bool {
    match found {
        Found::Text(text) | Found::Cell(text, _) => strings.push(text.as_bytes()),
        Found::Escaped(json) => match unescape(json) {
            Some(text) => strings.push(text.as_bytes()),
            None => return false,
        },
        _ => return false,
    }
    true
}

fn push_json(strings: &mut Strings, found: Found<'_>) -> bool {
    if matches!(found, Found::Missing | Found::Null) {
        return false;
    }
    write::found(&mut strings.data, found);
    strings.end();
    true
}

#[inline]
fn as_int(found: Found<'_>) -> Option<i64> {
    match found {
        Found::Int(int, _) => Some(int),
        Found::Cell(cell, true) if number::is_json_number(cell.as_bytes()) => {
            as_int(Found::number(cell))
        }
        _ => None,
    }
}

#[inline]
fn as_float(found: Found<'_>) -> Option<f64> {
    match found {
        Found::Int(int, _) => Some(int as f64),
        Found::Float(float) => Some(float),
        // A number beyond a float's range is no float, rather than infinite.
        Found::Number(token) => number::float(token),
        Found::Cell(cell, true) if number::is_json_number(cell.as_bytes()) => {
            as_float(Found::number(cell))
        }
        _ => None,
    }
}

fn as_bool(found: Found<'_>) -> Option<bool> {
    match found {
        Found::Bool(bool) => Some(bool),
        _ => None,
    }
}
