//! What one `emit` hands over, checked: lengths, offsets, marks, kinds, texts and JSON, in place in the guest's memory.
//!
//! Nothing is copied here but floats (a list of them has no slice); `staging` copies what passed.

use super::check;
use super::staging::{Memory, Rules};
use super::types::{BytesOut, ColumnOut, FieldOut, Payload};
use crate::plugin::FunctionKind;
use crate::record::Kind;

/// A payload whose columns are checked, still in the guest's memory.
pub enum CheckedPayload<'a> {
    Inherit,
    Bytes(&'a [u32], &'a [u8]),
    Fields(Vec<CheckedColumn<'a>>),
}

/// A column of it.
pub struct CheckedColumn<'a> {
    /// 0 = null; none: no row is.
    pub valid: Option<&'a [u8]>,
    pub data: CheckedData<'a>,
    /// Rows that become null although the guest did not mark them (floats without a number in JSON, JSON null).
    pub also_null: Vec<u32>,
}

/// Its data: offsets and bytes, or numbers.
pub enum CheckedData<'a> {
    Text(&'a [u32], &'a [u8]),
    Ints(&'a [i64]),
    Floats(Vec<f64>),
    Bools(&'a [u8]),
    Json(&'a [u32], &'a [u8]),
    Input(u32),
}

/// Bytes that a copy takes.
pub fn bytes_size(col: &BytesOut) -> u64 {
    col.data.len() as u64 + 4 * col.offsets.len() as u64
}

/// The same of a whole payload.
pub fn payload_size(payload: &Payload) -> u64 {
    match payload {
        Payload::Inherit => 0,
        Payload::Bytes(col) => bytes_size(col),
        Payload::Fields(fields) => fields
            .iter()
            .map(|f| {
                let valid = f.valid.as_ref().map_or(0, |v| v.len() as u64);
                valid
                    + match &f.data {
                        ColumnOut::Text(c) | ColumnOut::Json(c) => bytes_size(c),
                        ColumnOut::Ints(l) => 8 * l.len() as u64,
                        ColumnOut::Floats(l) => 8 * l.len() as u64,
                        ColumnOut::Bools(l) => l.len() as u64,
                        ColumnOut::Input(_) => 0,
                    }
            })
            .sum(),
    }
}

/// Offsets checked against data.
pub fn checked<'a>(store: &'a Memory<'_>, col: &BytesOut) -> Result<(&'a [u32], &'a [u8]), String> {
    let offsets = col.offsets.as_le_slice(store);
    let data = col.data.as_le_slice(store);
    check::offsets(offsets, data.len())?;
    Ok((offsets, data))
}

/// The same with the number of rows.
pub fn column<'a>(
    store: &'a Memory<'_>,
    col: &BytesOut,
    n: usize,
) -> Result<(&'a [u32], &'a [u8]), String> {
    let (offsets, data) = checked(store, col)?;
    check::length(offsets.len() - 1, n)?;
    Ok((offsets, data))
}

/// The payload of an emit of `n` records, against what the function said that it emits.
pub fn check_payload<'a>(
    store: &'a Memory<'_>,
    rules: &Rules,
    payload: Payload,
    n: usize,
    implicit: bool,
    rows: &[u32],
) -> Result<CheckedPayload<'a>, String> {
    match payload {
        Payload::Inherit => {
            if rules.kind == FunctionKind::Aggregate {
                return Err("emit: inherit, but a group has no value to inherit".into());
            }
            no_timers(rules, implicit, rows, "inherit")?;
            Ok(CheckedPayload::Inherit)
        }
        Payload::Bytes(col) => {
            let (o, d) = column(store, &col, n).map_err(|e| format!("emit: values: {e}"))?;
            Ok(CheckedPayload::Bytes(o, d))
        }
        Payload::Fields(fields) => {
            let emits = &rules.descriptor.emits;
            if fields.len() != emits.len() {
                return Err(format!(
                    "emit: {} fields, but the descriptor emits {}",
                    fields.len(),
                    emits.len()
                ));
            }
            let mut columns = Vec::with_capacity(fields.len());
            for (field, emit) in fields.into_iter().zip(emits.iter()) {
                if matches!(field.data, ColumnOut::Input(_)) {
                    no_timers(rules, implicit, rows, "input(i)")?;
                }
                let column = check_field(store, rules, field, emit.kind, n).map_err(|e| {
                    format!("emit: field \"{}\" ({}): {e}", emit.name, emit.kind.name())
                })?;
                columns.push(column);
            }
            Ok(CheckedPayload::Fields(columns))
        }
    }
}

/// A fired timer is no record: nothing can be taken over from it.
fn no_timers(rules: &Rules, implicit: bool, rows: &[u32], what: &str) -> Result<(), String> {
    if implicit || rules.sources == rules.rows {
        return Ok(());
    }
    match rows.iter().position(|r| *r >= rules.rows) {
        None => Ok(()),
        Some(i) => Err(format!(
            "emit: entry {i}: {what} from timer {}, which has no record",
            rows[i] - rules.rows
        )),
    }
}

fn check_field<'a>(
    store: &'a Memory<'_>,
    rules: &Rules,
    field: FieldOut,
    kind: Kind,
    n: usize,
) -> Result<CheckedColumn<'a>, String> {
    let valid = match &field.valid {
        None => None,
        Some(list) => {
            let marks = list.as_le_slice(store);
            check::length(marks.len(), n).map_err(|e| format!("valid: {e}"))?;
            check::marks(marks).map_err(|e| format!("valid: {e}"))?;
            Some(marks)
        }
    };
    let mut also_null = Vec::new();
    let data = match (field.data, kind) {
        (ColumnOut::Text(col), Kind::Text) => {
            let (o, d) = column(store, &col, n)?;
            check::utf8(o, d)?;
            CheckedData::Text(o, d)
        }
        (ColumnOut::Json(col), Kind::Json) => {
            let (o, d) = column(store, &col, n)?;
            check::utf8(o, d)?;
            check_json(o, d, valid, &mut also_null)?;
            CheckedData::Json(o, d)
        }
        (ColumnOut::Ints(list), Kind::Ints) => {
            check::length(list.len(), n)?;
            CheckedData::Ints(list.as_le_slice(store))
        }
        (ColumnOut::Floats(list), Kind::Floats) => {
            check::length(list.len(), n)?;
            // JSON has no word for them, and chained steps must see what a file would say: null.
            if list.iter().fold(false, |bad, f| bad | !f.is_finite()) {
                also_null.extend(
                    list.iter()
                        .enumerate()
                        .filter(|(_, f)| !f.is_finite())
                        .map(|(i, _)| i as u32),
                );
            }
            CheckedData::Floats(list)
        }
        (ColumnOut::Bools(list), Kind::Bools) => {
            let marks = list.as_le_slice(store);
            check::length(marks.len(), n)?;
            check::marks(marks)?;
            CheckedData::Bools(marks)
        }
        (ColumnOut::Input(i), kind) => {
            if rules.kind == FunctionKind::Aggregate {
                return Err(format!("input({i}), but finish has no input fields"));
            }
            if valid.is_some() {
                return Err(format!(
                    "input({i}) with marks of its own: a field passed on keeps those it has"
                ));
            }
            let d = &rules.descriptor;
            let Some(field) = d.reads.fields.iter().chain(&d.right.fields).nth(i as usize) else {
                let fields = d.reads.fields.len() + d.right.fields.len();
                return Err(format!(
                    "input({i}), but the function reads {fields} fields"
                ));
            };
            if field.spec.kind != kind {
                return Err(format!("input({i}) holds {}", field.spec.kind.name()));
            }
            CheckedData::Input(i)
        }
        (other, _) => {
            let found = match other {
                ColumnOut::Text(_) => "text",
                ColumnOut::Ints(_) => "ints",
                ColumnOut::Floats(_) => "floats",
                ColumnOut::Bools(_) => "bools",
                ColumnOut::Json(_) => "json",
                ColumnOut::Input(_) => "input",
            };
            return Err(format!("holds {found}"));
        }
    };
    Ok(CheckedColumn {
        valid,
        data,
        also_null,
    })
}

/// Each string that is not null is one JSON value; the value null becomes a null.
fn check_json(
    offsets: &[u32],
    data: &[u8],
    valid: Option<&[u8]>,
    also_null: &mut Vec<u32>,
) -> Result<(), String> {
    for row in 0..offsets.len() - 1 {
        if valid.is_some_and(|v| v[row] == 0) {
            continue;
        }
        let text = &data[offsets[row] as usize..offsets[row + 1] as usize];
        serde_json::from_slice::<serde::de::IgnoredAny>(text)
            .map_err(|e| format!("row {row}: not JSON: {e}"))?;
        if text.trim_ascii() == b"null" {
            also_null.push(row as u32);
        }
    }
    Ok(())
}
