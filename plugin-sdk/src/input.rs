//! Reading records: typed columns, borrowed as they lie in the batch.
//!
//! `#[derive(Fields)]` implements [`Input`] for a struct; [`RawRecord`] is the one for opaque bytes.

use crate::contract::{
    Batch, Column, Columns, Field, FieldSpec, Headers, Kind, NO_TIMESTAMP, Nulls,
};

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

/// Types that a key or a value can be read as: `&[u8]`, `&str`, and `Option` of them.
pub trait BytesType {
    /// One of them.
    type Value<'a>;
    /// What is wrong with these bytes (none: null).
    fn bad(bytes: Option<&[u8]>) -> Option<&'static str>;
    /// The value. Only called where nothing is wrong.
    fn get<'a>(bytes: Option<&'a [u8]>) -> Self::Value<'a>;
}

impl BytesType for &[u8] {
    type Value<'a> = &'a [u8];
    #[inline]
    fn bad(bytes: Option<&[u8]>) -> Option<&'static str> {
        bytes.is_none().then_some("is null")
    }
    #[inline]
    fn get(bytes: Option<&[u8]>) -> &[u8] {
        bytes.unwrap_or_default()
    }
}

impl BytesType for &str {
    type Value<'a> = &'a str;
    fn bad(bytes: Option<&[u8]>) -> Option<&'static str> {
        match bytes {
            None => Some("is null"),
            Some(bytes) => std::str::from_utf8(bytes)
                .is_err()
                .then_some("is not UTF-8"),
        }
    }
    fn get(bytes: Option<&[u8]>) -> &str {
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }
}

impl BytesType for Option<&[u8]> {
    type Value<'a> = Option<&'a [u8]>;
    #[inline]
    fn bad(_: Option<&[u8]>) -> Option<&'static str> {
        None
    }
    #[inline]
    fn get(bytes: Option<&[u8]>) -> Option<&[u8]> {
        bytes
    }
}

impl BytesType for Option<&str> {
    type Value<'a> = Option<&'a str>;
    fn bad(bytes: Option<&[u8]>) -> Option<&'static str> {
        bytes.and_then(|bytes| <&str as BytesType>::bad(Some(bytes)))
    }
    fn get(bytes: Option<&[u8]>) -> Option<&str> {
        bytes.map(|bytes| <&str as BytesType>::get(Some(bytes)))
    }
}

/// Keys or values of all rows.
pub struct RawColumn<'a> {
    offsets: &'a [u32],
    data: &'a [u8],
    nulls: Option<&'a [u8]>,
}

impl<'a> RawColumn<'a> {
    /// The keys.
    pub fn keys(view: &View<'a>) -> RawColumn<'a> {
        let Some(keys) = &view.batch.keys else {
            wrong_column("keys")
        };
        RawColumn {
            offsets: &keys.offsets,
            data: &keys.data,
            nulls: view.nulls.keys.as_deref(),
        }
    }

    /// The values.
    pub fn values(view: &View<'a>) -> RawColumn<'a> {
        let Some(values) = &view.batch.values else {
            wrong_column("values")
        };
        RawColumn {
            offsets: &values.offsets,
            data: &values.data,
            nulls: view.nulls.values.as_deref(),
        }
    }

    /// The bytes in row `row`; none = null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        if self.nulls.is_some_and(|nulls| nulls[row] != 0) {
            return None;
        }
        Some(&self.data[self.offsets[row] as usize..self.offsets[row + 1] as usize])
    }
}

/// Types that a timestamp can be read as: `i64` (the record must have one) and `Option<i64>`.
pub trait TimeType {
    /// What is wrong with it.
    fn bad(timestamp: i64) -> Option<&'static str>;
    /// The value.
    fn get(timestamp: i64) -> Self;
}

impl TimeType for i64 {
    #[inline]
    fn bad(timestamp: i64) -> Option<&'static str> {
        (timestamp == NO_TIMESTAMP).then_some("is missing")
    }
    #[inline]
    fn get(timestamp: i64) -> i64 {
        timestamp
    }
}

impl TimeType for Option<i64> {
    #[inline]
    fn bad(_: i64) -> Option<&'static str> {
        None
    }
    #[inline]
    fn get(timestamp: i64) -> Option<i64> {
        (timestamp != NO_TIMESTAMP).then_some(timestamp)
    }
}

/// Timestamps of all rows.
pub fn timestamps<'a>(view: &View<'a>) -> &'a [i64] {
    match &view.batch.timestamps {
        Some(timestamps) => timestamps,
        None => wrong_column("timestamps"),
    }
}

/// A record as bytes, for formats that the host does not read.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970 UTC.
    pub timestamp: Option<i64>,
    /// Headers, in order.
    pub headers: HeaderList<'a>,
}

/// The headers of one record.
#[derive(Clone, Copy, Debug)]
pub struct HeaderList<'a> {
    all: Option<&'a Headers>,
    first: u32,
    end: u32,
}

impl<'a> HeaderList<'a> {
    /// Name and value of each, in order.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let all = self.all.into_iter();
        all.flat_map(move |h| {
            (self.first..self.end).map(|i| (h.names.get(i as usize), h.values.get(i as usize)))
        })
    }

    /// The value of the first header of this name.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(n, _)| *n == name.as_bytes())
            .map(|(_, value)| value)
    }
}

/// The columns of [`RawRecord`].
pub struct RawColumns<'a> {
    keys: RawColumn<'a>,
    values: RawColumn<'a>,
    timestamps: &'a [i64],
    headers: Option<&'a Headers>,
}

impl Input for RawRecord<'_> {
    type Row<'a> = RawRecord<'a>;
    type Columns<'a> = RawColumns<'a>;
    const HEADERS: bool = true;

    fn reads() -> Reads {
        Reads {
            columns: Columns::VALUES | Columns::KEYS | Columns::TIMESTAMPS,
            fields: Vec::new(),
        }
    }

    fn columns<'a>(view: &View<'a>) -> RawColumns<'a> {
        RawColumns {
            keys: RawColumn::keys(view),
            values: RawColumn::values(view),
            timestamps: timestamps(view),
            headers: view.headers,
        }
    }

    fn may_be_bad(_: &RawColumns<'_>) -> bool {
        false
    }

    fn bad(_: &RawColumns<'_>, _: usize) -> Option<Bad> {
        None
    }

    #[inline]
    fn row<'a>(columns: &Self::Columns<'a>, row: usize) -> Self::Row<'a> {
        let (first, end) = match columns.headers {
            Some(h) => (h.first[row], h.first[row + 1]),
            None => (0, 0),
        };
        RawRecord {
            key: columns.keys.get(row),
            value: columns.values.get(row),
            timestamp: TimeType::get(columns.timestamps[row]),
            headers: HeaderList {
                all: columns.headers,
                first,
                end,
            },
        }
    }
}
