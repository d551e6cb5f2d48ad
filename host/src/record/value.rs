use std::sync::Arc;

use arrow_array::{Array, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_buffer::NullBuffer;

use super::issues::Issues;

/// What a typed column holds. Mirrors `kind` of the plugin contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// 64-bit signed integers.
    Ints,
    /// 64-bit floats.
    Floats,
    /// Booleans.
    Bools,
    /// Raw JSON text of a value of any type.
    Json,
}

impl Kind {
    /// The word that the contract and messages use.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Ints => "ints",
            Kind::Floats => "floats",
            Kind::Bools => "bools",
            Kind::Json => "json",
        }
    }
}

/// A field to extract from values: where it is (JSON pointer, "" = the whole value) and as what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldSpec {
    /// RFC 6901 pointer.
    pub pointer: Arc<str>,
    /// As what the field is read.
    pub kind: Kind,
}

/// A member of the values that a function writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmitField {
    /// Member name.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: Kind,
}

/// A typed column, one entry a row, with Arrow's nulls.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// UTF-8 text.
    Text(StringArray),
    /// Integers.
    Ints(Int64Array),
    /// Floats.
    Floats(Float64Array),
    /// Booleans.
    Bools(BooleanArray),
    /// JSON text, each entry one valid JSON value.
    Json(StringArray),
}

impl Column {
    /// What the column holds.
    pub fn kind(&self) -> Kind {
        match self {
            Column::Text(_) => Kind::Text,
            Column::Ints(_) => Kind::Ints,
            Column::Floats(_) => Kind::Floats,
            Column::Bools(_) => Kind::Bools,
            Column::Json(_) => Kind::Json,
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Column::Text(a) | Column::Json(a) => a.len(),
            Column::Ints(a) => a.len(),
            Column::Floats(a) => a.len(),
            Column::Bools(a) => a.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The null mask.
    pub fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Column::Text(a) | Column::Json(a) => a.nulls(),
            Column::Ints(a) => a.nulls(),
            Column::Floats(a) => a.nulls(),
            Column::Bools(a) => a.nulls(),
        }
    }
}

/// What was wrong with one row's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueKind {
    /// The document has no such member (or no value at all).
    Missing,
    /// It has one of another type.
    Mismatch,
    /// The value is not a document of its format: every field of the row has this.
    Malformed,
}

/// A field of all rows, as extracted. JSON null is null without issue.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// One entry a row.
    pub column: Column,
    /// Rows where there was something else than the field or null.
    pub issues: Issues,
}

/// Values in typed form: each is the object of exactly these members, in this order.
#[derive(Clone, Debug)]
pub struct Row {
    /// Names and kinds of the columns.
    pub schema: Arc<[EmitField]>,
    /// As many as the schema has.
    pub columns: Vec<Column>,
    /// Rows whose whole value is null (tombstones).
    pub nulls: Option<NullBuffer>,
}

/// CSV rows, cut into cells but not read: cell c of row r is
/// `data[ends[r * width + c - 1] + 1..ends[r * width + c]]` (from `start` for the first), unquoted. Behind each cell
/// stands one byte that belongs to none: rows without quotes are copied as they stand in the file.
#[derive(Clone, Debug)]
pub struct CsvRows {
    /// How cells become JSON; shared by all batches of a source.
    pub dialect: Arc<crate::format::csv::CsvDialect>,
    /// Cell ends, `width` a row.
    pub ends: arrow_buffer::ScalarBuffer<u32>,
    /// All cells, UTF-8.
    pub data: arrow_buffer::Buffer,
    /// First cell's start, for slices.
    pub start: u32,
}

/// The form in which values are held.
#[derive(Clone, Debug)]
pub enum Form {
    /// All values are null.
    Null,
    /// Opaque bytes (of a format that the source or step knows: usually JSON).
    Bytes(BinaryArray),
    /// Typed fields.
    Row(Row),
    /// Cells of CSV rows.
    Csv(CsvRows),
    /// Left out, since nothing behind asks for the value (the plan's `Needs` says so); fields that
    /// are asked for were extracted before.
    Pruned,
}

/// The values of a batch: one main form, and the fields extracted from it so far, which travel along.
#[derive(Clone, Debug)]
pub struct Value {
    /// What holds the values.
    pub form: Form,
    /// The same values as bytes, where someone asked for them although `form` is another.
    pub bytes: Option<BinaryArray>,
    /// Fields read so far.
    pub extracted: Vec<(FieldSpec, Extracted)>,
    /// The values are bytes, and each that is not null was found to be a JSON document. (They may be documents
    /// without this.)
    pub documents: bool,
}

impl Value {
    /// Values of one form, nothing extracted yet.
    pub fn new(form: Form) -> Value {
        Value {
            form,
            bytes: None,
            extracted: Vec::new(),
            documents: false,
        }
    }

    /// The field, if it was extracted before.
    pub fn extracted(&self, spec: &FieldSpec) -> Option<&Extracted> {
        self.extracted
            .iter()
            .find(|(s, _)| s == spec)
            .map(|(_, e)| e)
    }
}
