//! Reading records: typed columns, borrowed as they lie in the batch.
//!
//! `#[derive(Fields)]` implements [`Input`] for a struct; [`RawRecord`] is the one for opaque bytes.

mod raw;

pub use raw::{BytesType, HeaderList, RawColumn, RawColumns, RawRecord, TimeType, timestamps};

use crate::contract::{Batch, Column, Columns, Field, FieldSpec, Headers, Kind, Nulls};

/// What a function reads of its records.
#[derive(Clone, Debug)]
pub struct Reads {
    /// Raw columns.
    pub columns: Columns,
    /// Typed fields.
    pub fields: Vec<FieldSpec>,
}

/// A batch in hand, with what had to be pulled beside it.
pub struct View<'a> {
    /// The columns.
    pub batch: &'a Batch,
    /// Null keys and values (nothing marked unless keys or values are read).
    pub nulls: &'a Nulls,
    /// Headers, where [`Input::HEADERS`] asks for them.
    pub headers: Option<&'a Headers>,
}

/// What is wrong with a row, and prevents that it is made.
#[derive(Clone, Copy, Debug)]
pub struct Bad {
    /// Which field or column.
    pub what: &'static str,
    /// How, for people.
    pub how: &'static str,
}

/// A row as a function gets it. Implemented by `#[derive(Fields)]`.
pub trait Input {
    /// The row, borrowed from a batch.
    type Row<'a>;
    /// The columns that it is made of.
    type Columns<'a>;
    /// Whether headers are pulled.
    const HEADERS: bool = false;
    /// What the host must hand over.
    fn reads() -> Reads;
    /// Finds the columns in a batch. Typed fields are in the order of `reads`.
    fn columns<'a>(view: &View<'a>) -> Self::Columns<'a>;
    /// Whether any row may be bad: else nothing is checked row by row.
    fn may_be_bad(columns: &Self::Columns<'_>) -> bool;
    /// What is wrong with the row, if anything.
    fn bad(columns: &Self::Columns<'_>, row: usize) -> Option<Bad>;
    /// The row.
    fn row<'a>(columns: &Self::Columns<'a>, row: usize) -> Self::Row<'a>;
}

/// A JSON value as it stands in the document: any type, not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Json<'a>(pub &'a str);

impl<'a> Json<'a> {
    /// The JSON text.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Parses it.
    pub fn parse<T: serde::Deserialize<'a>>(self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0)
    }
}

/// Types that a typed field can be read as: `&str`, `i64`, `f64`, `bool`, [`Json`], and `Option` of them.
pub trait FieldType {
    /// What the host extracts.
    const KIND: Kind;
    /// Whether null is a value of the type; otherwise a null rejects the record.
    const NULLABLE: bool = false;
    /// The column's data.
    type Column<'a>: Copy;
    /// One value.
    type Value<'a>;
    /// The data of a field.
    fn column<'a>(field: &'a Field) -> Self::Column<'a>;
    /// Row `row`.
    fn get<'a>(valid: Option<&'a [u8]>, column: Self::Column<'a>, row: usize) -> Self::Value<'a>;
}

/// One typed field of all rows.
pub struct FieldColumn<'a, T: FieldType> {
    valid: Option<&'a [u8]>,
    column: T::Column<'a>,
}

impl<'a, T: FieldType> FieldColumn<'a, T> {
    /// The field as the host gave it.
    pub fn new(field: &'a Field) -> FieldColumn<'a, T> {
        FieldColumn {
            valid: field.valid.as_deref(),
            column: T::column(field),
        }
    }

    /// Whether some row may be null where the type has no null.
    #[inline]
    pub fn may_be_bad(&self) -> bool {
        !T::NULLABLE && self.valid.is_some()
    }

    /// Whether row `row` is null where the type has no null.
    #[inline]
    pub fn bad(&self, row: usize, what: &'static str) -> Option<Bad> {
        (!T::NULLABLE && self.valid.is_some_and(|v| v[row] == 0)).then_some(Bad {
            what,
            how: "is null",
        })
    }

    /// The value in row `row`.
    #[inline]
    pub fn get(&self, row: usize) -> T::Value<'a> {
        T::get(self.valid, self.column, row)
    }
}

/// Strings of a text or json column.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    offsets: &'a [u32],
    data: &'a [u8],
}

impl<'a> Texts<'a> {
    #[inline]
    fn get(self, row: usize) -> &'a str {
        let bytes = &self.data[self.offsets[row] as usize..self.offsets[row + 1] as usize];
        // SAFETY: the contract promises UTF-8 in text and json columns, and the host, which made this
        // instance and can read and write all its memory, has checked it. Checking again costs 1 ns / 100 B.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

#[cold]
fn wrong_column(wanted: &str) -> ! {
    panic!("the host gave another column where the function reads {wanted}")
}

impl FieldType for &str {
    const KIND: Kind = Kind::Text;
    type Column<'a> = Texts<'a>;
    type Value<'a> = &'a str;
    fn column<'a>(field: &'a Field) -> Texts<'a> {
        match &field.data {
            Column::Text(c) => Texts {
                offsets: &c.offsets,
                data: &c.data,
            },
            _ => wrong_column("text"),
        }
    }
    #[inline]
    fn get<'a>(_: Option<&'a [u8]>, column: Texts<'a>, row: usize) -> &'a str {
        column.get(row)
    }
}

impl FieldType for Json<'_> {
    const KIND: Kind = Kind::Json;
    type Column<'a> = Texts<'a>;
    type Value<'a> = Json<'a>;
    fn column<'a>(field: &'a Field) -> Texts<'a> {
        match &field.data {
            Column::Json(c) => Texts {
                offsets: &c.offsets,
                data: &c.data,
            },
            _ => wrong_column("json"),
        }
    }
    #[inline]
    fn get<'a>(_: Option<&'a [u8]>, column: Texts<'a>, row: usize) -> Json<'a> {
        Json(column.get(row))
    }
}

macro_rules! fixed_size {
    ($type:ty, $of:ty, $kind:ident, $read:expr) => {
        impl FieldType for $type {
            const KIND: Kind = Kind::$kind;
            type Column<'a> = &'a [$of];
            type Value<'a> = $type;
            fn column(field: &Field) -> &[$of] {
                match &field.data {
                    Column::$kind(c) => c,
                    _ => wrong_column(stringify!($kind)),
                }
            }
            #[inline]
            fn get<'a>(_: Option<&'a [u8]>, column: &'a [$of], row: usize) -> $type {
                $read(column[row])
            }
        }
    };
}

fixed_size!(i64, i64, Ints, |v| v);
fixed_size!(f64, f64, Floats, |v| v);
fixed_size!(bool, u8, Bools, |v| v != 0);

impl<T: FieldType> FieldType for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    type Column<'a> = T::Column<'a>;
    type Value<'a> = Option<T::Value<'a>>;
    fn column<'a>(field: &'a Field) -> T::Column<'a> {
        T::column(field)
    }
    #[inline]
    fn get<'a>(valid: Option<&'a [u8]>, column: T::Column<'a>, row: usize) -> Option<T::Value<'a>> {
        match valid {
            Some(valid) if valid[row] == 0 => None,
            _ => Some(T::get(None, column, row)),
        }
    }
}
