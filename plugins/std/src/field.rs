//! The value that a function works on: at `field`, or the whole value where there is no `field`.
//!
//! A field is read as JSON. A whole value is read as bytes, so that text of any kind is welcome: valid JSON
//! is what it says, any other UTF-8 is a string, as in the JSON envelope of a record.

use std::borrow::Cow;

use serde_json::value::RawValue;
use wasmill_plugin::contract::{
    Batch, BytesCol, Column, Columns, Descriptor, FieldSpec, Kind, OnBad,
};
use wasmill_plugin::{Reject, host, reject};

/// What to read.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Typed field 0, at this pointer.
    At(String),
    /// The raw value.
    Whole,
}

impl Wanted {
    /// From the config's `field`.
    pub fn of(field: &Option<String>) -> Wanted {
        match field {
            Some(pointer) if !pointer.is_empty() => Wanted::At(pointer.clone()),
            _ => Wanted::Whole,
        }
    }

    /// Reads it as JSON: puts what is needed into the descriptor.
    pub fn need_json(&self, descriptor: &mut Descriptor) {
        self.need(descriptor, Kind::Json);
    }

    /// Reads it as a field of this kind, or as the whole value.
    pub fn need(&self, descriptor: &mut Descriptor, kind: Kind) {
        match self {
            Wanted::At(pointer) => descriptor.fields.push(FieldSpec {
                pointer: pointer.clone(),
                kind,
                missing: OnBad::Reject,
                mismatch: OnBad::Reject,
            }),
            Wanted::Whole => descriptor.needs = descriptor.needs | Columns::VALUES,
        }
    }
}

/// Strings with nulls: a json or text field, or raw values.
pub struct Strings<'a> {
    column: &'a BytesCol,
    /// One byte a row; what `null` says is null.
    marks: Option<Cow<'a, [u8]>>,
    null: u8,
    whole: bool,
}

impl<'a> Strings<'a> {
    /// The column that `wanted` asked for; a field is field `at` of the batch.
    pub fn of(wanted: &Wanted, batch: &'a Batch, at: usize) -> Strings<'a> {
        match wanted {
            Wanted::At(_) => {
                let field = &batch.fields[at];
                let (Column::Json(column) | Column::Text(column)) = &field.data else {
                    panic!("the host gave another column than text or json");
                };
                let marks = field.valid.as_deref().map(Cow::Borrowed);
                Strings {
                    column,
                    marks,
                    null: 0,
                    whole: false,
                }
            }
            Wanted::Whole => {
                let column = batch
                    .values
                    .as_ref()
                    .expect("the descriptor asks for values");
                let marks = host::input_nulls().values.map(Cow::Owned);
                Strings {
                    column,
                    marks,
                    null: 1,
                    whole: true,
                }
            }
        }
    }

    /// Whether these are whole values.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The column, where these are whole values and none is null.
    pub fn all_whole(&self) -> Option<&'a BytesCol> {
        let any_null = || self.marks.as_ref().is_some_and(|m| m.contains(&self.null));
        (self.whole && !any_null()).then_some(self.column)
    }

    /// The bytes in this row; none = null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        match &self.marks {
            Some(marks) if marks[row] == self.null => None,
            _ => Some(self.column.get(row)),
        }
    }

    /// The value in this row as JSON text; null is `null`.
    pub fn json(&self, row: usize) -> Result<Cow<'a, str>, Reject> {
        match self.get(row) {
            None => Ok(Cow::Borrowed("null")),
            // The host extracted it: it is JSON, and UTF-8.
            Some(bytes) if !self.whole => Ok(String::from_utf8_lossy(bytes)),
            Some(bytes) => json_of(bytes),
        }
    }
}

/// A whole value as JSON: itself, or a string of the text that it is.
pub fn json_of(bytes: &[u8]) -> Result<Cow<'_, str>, Reject> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| reject("the value is neither JSON nor UTF-8 text"))?;
    if let Ok(raw) = serde_json::from_str::<&RawValue>(text) {
        return Ok(Cow::Borrowed(raw.get()));
    }
    Ok(Cow::Owned(serde_json::Value::from(text).to_string()))
}
