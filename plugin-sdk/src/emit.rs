//! Typed values out: columns that are filled row by row and keep their buffers between calls.
//!
//! `#[derive(Emit)]` implements [`Emit`] for a struct; [`Bytes`] is the one for opaque bytes.

use crate::contract::{BytesCol, Column, EmitSpec, Field, FieldSpec, Kind, Payload};
use crate::input::Json;
use crate::text::write_integer;

/// What a function puts out as values. Implemented by `#[derive(Emit)]`.
pub trait Emit {
    /// A value, which may borrow from the input.
    type Value<'a>;
    /// The columns that values are collected in.
    type Columns;
    /// The columns, and what the descriptor says of them. `reads`: the fields of the input (of both
    /// sides, for a join), for those that are handed on.
    fn columns(reads: &[FieldSpec]) -> Result<(Self::Columns, Vec<EmitSpec>), String>;
    /// Appends a value.
    fn push(columns: &mut Self::Columns, value: Self::Value<'_>);
    /// Moves the columns into a payload.
    fn take(columns: &mut Self::Columns) -> Payload;
    /// Takes the buffers back, emptied.
    fn give(columns: &mut Self::Columns, payload: Payload);
}

/// Values that are opaque bytes, JSON text for example: `Output<Bytes>`, `out.emit(b"..")`.
#[derive(Debug)]
pub enum Bytes {}

impl Emit for Bytes {
    type Value<'a> = &'a [u8];
    type Columns = BytesCol;

    fn columns(_: &[FieldSpec]) -> Result<(BytesCol, Vec<EmitSpec>), String> {
        Ok((BytesCol::default(), Vec::new()))
    }

    #[inline]
    fn push(columns: &mut BytesCol, value: &[u8]) {
        columns.push(value);
    }

    fn take(columns: &mut BytesCol) -> Payload {
        Payload::Bytes(std::mem::take(columns))
    }

    fn give(columns: &mut BytesCol, payload: Payload) {
        if let Payload::Bytes(mut buffers) = payload {
            buffers.clear();
            *columns = buffers;
        }
    }
}

/// Values that are integers, as JSON and people write them: `Output<i64>`, `out.emit(7)`.
impl Emit for i64 {
    type Value<'a> = i64;
    type Columns = BytesCol;

    fn columns(reads: &[FieldSpec]) -> Result<(BytesCol, Vec<EmitSpec>), String> {
        Bytes::columns(reads)
    }

    #[inline]
    fn push(columns: &mut BytesCol, value: i64) {
        write_integer(value, &mut columns.data);
        columns.end_string();
    }

    fn take(columns: &mut BytesCol) -> Payload {
        Bytes::take(columns)
    }

    fn give(columns: &mut BytesCol, payload: Payload) {
        Bytes::give(columns, payload);
    }
}

/// Types of emitted members: `&str`, `String`, `i64`, `f64`, `bool`, [`Json`], `Option` of them, and
/// [`Same`].
pub trait EmitType {
    /// Collects the values.
    type Buffer;
    /// An empty column. `from`: pointer of the input field that a `Same` hands on.
    fn column(from: &str, reads: &[FieldSpec]) -> Result<(EmitColumn<Self::Buffer>, Kind), String>;
    /// Appends the value.
    fn push(self, column: &mut EmitColumn<Self::Buffer>);
    /// Appends a null.
    fn push_null(column: &mut EmitColumn<Self::Buffer>);
    /// The column as the contract has it.
    fn take(column: &mut EmitColumn<Self::Buffer>) -> Field;
    /// Takes the buffers back, emptied.
    fn give(column: &mut EmitColumn<Self::Buffer>, field: Field);
}

/// A column being filled.
pub struct EmitColumn<B> {
    /// One byte a row, where the type has nulls.
    valid: Vec<u8>,
    nulls: bool,
    data: B,
}

impl<B> EmitColumn<B> {
    fn new(data: B) -> EmitColumn<B> {
        EmitColumn {
            valid: Vec::new(),
            nulls: false,
            data,
        }
    }

    fn take_valid(&mut self) -> Option<Vec<u8>> {
        let nulls = std::mem::take(&mut self.nulls);
        if !nulls {
            self.valid.clear();
        }
        nulls.then(|| std::mem::take(&mut self.valid))
    }

    fn give_valid(&mut self, valid: Option<Vec<u8>>) {
        if let Some(mut valid) = valid {
            valid.clear();
            self.valid = valid;
        }
    }
}

macro_rules! fixed_size {
    ($type:ty, $of:ty, $kind:ident, $write:expr) => {
        impl EmitType for $type {
            type Buffer = Vec<$of>;
            fn column(_: &str, _: &[FieldSpec]) -> Result<(EmitColumn<Vec<$of>>, Kind), String> {
                Ok((EmitColumn::new(Vec::new()), Kind::$kind))
            }
            #[inline]
            fn push(self, column: &mut EmitColumn<Vec<$of>>) {
                column.data.push($write(self));
            }
            #[inline]
            fn push_null(column: &mut EmitColumn<Vec<$of>>) {
                column.data.push(<$of>::default());
            }
            fn take(column: &mut EmitColumn<Vec<$of>>) -> Field {
                Field {
                    valid: column.take_valid(),
                    data: Column::$kind(std::mem::take(&mut column.data)),
                }
            }
            fn give(column: &mut EmitColumn<Vec<$of>>, field: Field) {
                column.give_valid(field.valid);
                if let Column::$kind(mut data) = field.data {
                    data.clear();
                    column.data = data;
                }
            }
        }
    };
}

fixed_size!(i64, i64, Ints, |v| v);
fixed_size!(f64, f64, Floats, |v| v);
fixed_size!(bool, u8, Bools, u8::from);

macro_rules! strings {
    ($type:ty, $kind:ident, $this:ident => $text:expr) => {
        impl EmitType for $type {
            type Buffer = BytesCol;
            fn column(_: &str, _: &[FieldSpec]) -> Result<(EmitColumn<BytesCol>, Kind), String> {
                Ok((EmitColumn::new(BytesCol::default()), Kind::$kind))
            }
            #[inline]
            fn push(self, column: &mut EmitColumn<BytesCol>) {
                let $this = &self;
                let text: &str = $text;
                column.data.push(text.as_bytes());
            }
            #[inline]
            fn push_null(column: &mut EmitColumn<BytesCol>) {
                column.data.push(b"");
            }
            fn take(column: &mut EmitColumn<BytesCol>) -> Field {
                Field {
                    valid: column.take_valid(),
                    data: Column::$kind(std::mem::take(&mut column.data)),
                }
            }
            fn give(column: &mut EmitColumn<BytesCol>, field: Field) {
                column.give_valid(field.valid);
                if let Column::$kind(mut data) = field.data {
                    data.clear();
                    column.data = data;
                }
            }
        }
    };
}

strings!(&str, Text, text => text);
strings!(String, Text, text => text);
strings!(Json<'_>, Json, json => json.0);

impl<T: EmitType> EmitType for Option<T> {
    type Buffer = T::Buffer;
    fn column(from: &str, reads: &[FieldSpec]) -> Result<(EmitColumn<T::Buffer>, Kind), String> {
        T::column(from, reads)
    }
    #[inline]
    fn push(self, column: &mut EmitColumn<T::Buffer>) {
        match self {
            Some(value) => {
                column.valid.push(1);
                value.push(column);
            }
            None => {
                column.valid.push(0);
                column.nulls = true;
                T::push_null(column);
            }
        }
    }
    fn push_null(column: &mut EmitColumn<T::Buffer>) {
        T::push_null(column);
    }
    fn take(column: &mut EmitColumn<T::Buffer>) -> Field {
        T::take(column)
    }
    fn give(column: &mut EmitColumn<T::Buffer>, field: Field) {
        T::give(column, field);
    }
}

/// A member that is an input field, unchanged: nothing is copied, whatever its type. It is the field
/// of the same name (pointer `/name`), or the one that `#[emit(from = "/pointer")]` names; the
/// function must read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Same;

impl EmitType for Same {
    /// Which field of the input.
    type Buffer = u32;

    fn column(from: &str, reads: &[FieldSpec]) -> Result<(EmitColumn<u32>, Kind), String> {
        let at = reads.iter().position(|spec| spec.pointer == from);
        let at =
            at.ok_or_else(|| format!("`{from}` is handed on, but the function does not read it"))?;
        Ok((EmitColumn::new(at as u32), reads[at].kind))
    }
    #[inline]
    fn push(self, _: &mut EmitColumn<u32>) {}
    fn push_null(_: &mut EmitColumn<u32>) {}
    fn take(column: &mut EmitColumn<u32>) -> Field {
        Field {
            valid: None,
            data: Column::Input(column.data),
        }
    }
    fn give(_: &mut EmitColumn<u32>, _: Field) {}
}
