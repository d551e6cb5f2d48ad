//! Typed fields out of JSON values, as the host extracts them: slowly, and after the same rules.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::contract::{BytesCol, Column, Field, FieldSpec, Kind, OnBad};

/// A field of one record.
enum Cell {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Json(String),
}

/// What was found in place of the field.
struct Found {
    missing: bool,
    what: String,
}

/// The columns of these values, and the rows that a field's policy rejects.
pub(super) fn extract(
    values: &[Option<&[u8]>],
    specs: &[FieldSpec],
) -> (Vec<Field>, Vec<(u32, String)>) {
    let mut rejected = Vec::new();
    let mut fields = Vec::new();
    for spec in specs {
        let mut cells = Vec::new();
        for (row, value) in values.iter().enumerate() {
            let cell = cell(*value, spec).unwrap_or_else(|found| {
                let policy = if found.missing {
                    spec.missing
                } else {
                    spec.mismatch
                };
                match policy {
                    OnBad::Null => {}
                    OnBad::Reject => {
                        rejected.push((row as u32, format!("{} {}", spec.pointer, found.what)))
                    }
                    OnBad::Fail => {
                        panic!("row {row}: {} {} fails the job", spec.pointer, found.what)
                    }
                }
                Cell::Null
            });
            cells.push(cell);
        }
        fields.push(column(spec.kind, cells));
    }
    rejected.sort();
    rejected.dedup_by_key(|r| r.0);
    (fields, rejected)
}

fn cell(value: Option<&[u8]>, spec: &FieldSpec) -> Result<Cell, Found> {
    let missing = || Found {
        missing: true,
        what: "is missing".into(),
    };
    let document = value.ok_or_else(missing)?;
    let bad = |e: serde_json::Error| Found {
        missing: false,
        what: format!("is in a malformed document: {e}"),
    };
    let mut at: &RawValue = serde_json::from_slice(document).map_err(bad)?;
    for part in spec.pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        at = if at.get().starts_with('{') {
            let mut members: BTreeMap<String, &RawValue> =
                serde_json::from_str(at.get()).map_err(bad)?;
            members.remove(&part).ok_or_else(missing)?
        } else if at.get().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(at.get()).map_err(bad)?;
            part.parse::<usize>()
                .ok()
                .and_then(|i| items.get(i).copied())
                .ok_or_else(missing)?
        } else {
            return Err(missing());
        };
    }
    let text = at.get();
    if text == "null" {
        return Ok(Cell::Null);
    }
    let mismatch = || Found {
        missing: false,
        what: format!("is {text}"),
    };
    match spec.kind {
        Kind::Text => serde_json::from_str(text)
            .map(Cell::Text)
            .map_err(|_| mismatch()),
        Kind::Ints if text.contains(['.', 'e', 'E']) => Err(mismatch()),
        Kind::Ints => serde_json::from_str(text)
            .map(Cell::Int)
            .map_err(|_| mismatch()),
        Kind::Floats => serde_json::from_str(text)
            .map(Cell::Float)
            .map_err(|_| mismatch()),
        Kind::Bools => serde_json::from_str(text)
            .map(Cell::Bool)
            .map_err(|_| mismatch()),
        Kind::Json => Ok(Cell::Json(text.into())),
    }
}

fn column(kind: Kind, cells: Vec<Cell>) -> Field {
    let valid: Vec<u8> = cells
        .iter()
        .map(|c| u8::from(!matches!(c, Cell::Null)))
        .collect();
    let valid = valid.contains(&0).then_some(valid);
    let strings = || {
        let mut column = BytesCol::default();
        for cell in &cells {
            match cell {
                Cell::Text(text) | Cell::Json(text) => column.push(text.as_bytes()),
                _ => column.push(b""),
            }
        }
        column
    };
    let data = match kind {
        Kind::Text => Column::Text(strings()),
        Kind::Json => Column::Json(strings()),
        Kind::Ints => Column::Ints(
            cells
                .iter()
                .map(|c| if let Cell::Int(n) = c { *n } else { 0 })
                .collect(),
        ),
        Kind::Floats => Column::Floats(
            cells
                .iter()
                .map(|c| if let Cell::Float(x) = c { *x } else { 0.0 })
                .collect(),
        ),
        Kind::Bools => Column::Bools(
            cells
                .iter()
                .map(|c| u8::from(matches!(c, Cell::Bool(true))))
                .collect(),
        ),
    };
    Field { valid, data }
}

/// One row of emitted fields as a JSON object.
pub(super) fn object(
    fields: &[Field],
    names: &[String],
    row: usize,
    input: &dyn Fn(u32) -> String,
) -> String {
    let mut out = String::from("{");
    for (i, (field, name)) in fields.iter().zip(names).enumerate() {
        if i > 0 {
            out.push(',');
        }
        out += &serde_json::Value::from(name.as_str()).to_string();
        out.push(':');
        out += &member(field, row, input);
    }
    out.push('}');
    out
}

/// One row of a column as JSON.
pub(super) fn member(field: &Field, row: usize, input: &dyn Fn(u32) -> String) -> String {
    if field.valid.as_ref().is_some_and(|v| v[row] == 0) {
        return "null".into();
    }
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text and json columns are UTF-8");
    match &field.data {
        Column::Text(c) => serde_json::Value::from(text(c.get(row))).to_string(),
        Column::Json(c) => text(c.get(row)),
        Column::Ints(c) => c[row].to_string(),
        Column::Floats(c) => serde_json::Value::from(c[row]).to_string(),
        Column::Bools(c) => (c[row] != 0).to_string(),
        Column::Input(i) => input(*i),
    }
}
