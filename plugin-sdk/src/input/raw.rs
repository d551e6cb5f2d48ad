//! Keys, values and timestamps, as they are: what is read of them, and [`RawRecord`], all of it.

use super::{Bad, Input, Reads, View, wrong_column};
use crate::contract::{BytesCol, Columns, Headers, NO_TIMESTAMP};

/// Types that a key or a value can be read as: `&[u8]`, `&str`, and `Option` of them.
pub trait BytesType {
    /// Whether the bytes must be UTF-8.
    const TEXT: bool;
    /// Whether null is a value of the type; otherwise a null rejects the record.
    const NULLABLE: bool;
    /// One of them.
    type Value<'a>;
    /// The value in row `row`. Only called where nothing is wrong.
    fn get<'a>(column: &RawColumn<'a>, row: usize) -> Self::Value<'a>;
}

impl BytesType for &[u8] {
    const TEXT: bool = false;
    const NULLABLE: bool = false;
    type Value<'a> = &'a [u8];
    #[inline]
    fn get<'a>(column: &RawColumn<'a>, row: usize) -> &'a [u8] {
        column.get(row).unwrap_or_default()
    }
}

impl BytesType for &str {
    const TEXT: bool = true;
    const NULLABLE: bool = false;
    type Value<'a> = &'a str;
    #[inline]
    fn get<'a>(column: &RawColumn<'a>, row: usize) -> &'a str {
        column.text(row).unwrap_or_default()
    }
}

impl BytesType for Option<&[u8]> {
    const TEXT: bool = false;
    const NULLABLE: bool = true;
    type Value<'a> = Option<&'a [u8]>;
    #[inline]
    fn get<'a>(column: &RawColumn<'a>, row: usize) -> Option<&'a [u8]> {
        column.get(row)
    }
}

impl BytesType for Option<&str> {
    const TEXT: bool = true;
    const NULLABLE: bool = true;
    type Value<'a> = Option<&'a str>;
    #[inline]
    fn get<'a>(column: &RawColumn<'a>, row: usize) -> Option<&'a str> {
        column.text(row)
    }
}

/// Keys or values of all rows.
pub struct RawColumn<'a> {
    offsets: &'a [u32],
    data: &'a [u8],
    nulls: Option<&'a [u8]>,
    /// Whether each row was found to be UTF-8.
    all_text: bool,
}

impl<'a> RawColumn<'a> {
    /// The keys. `text`: whether they are read as text.
    pub fn keys(view: &View<'a>, text: bool) -> RawColumn<'a> {
        match &view.batch.keys {
            Some(keys) => RawColumn::of(keys, view.nulls.keys.as_deref(), text),
            None => wrong_column("keys"),
        }
    }

    /// The values. `text`: whether they are read as text.
    pub fn values(view: &View<'a>, text: bool) -> RawColumn<'a> {
        match &view.batch.values {
            Some(values) => RawColumn::of(values, view.nulls.values.as_deref(), text),
            None => wrong_column("values"),
        }
    }

    fn of(column: &'a BytesCol, nulls: Option<&'a [u8]>, text: bool) -> RawColumn<'a> {
        RawColumn {
            offsets: &column.offsets,
            data: &column.data,
            nulls,
            all_text: text && is_text(&column.data, &column.offsets),
        }
    }

    /// Whether some row may be wrong for the type.
    #[inline]
    pub fn may_be_bad<T: BytesType>(&self) -> bool {
        (!T::NULLABLE && self.nulls.is_some()) || (T::TEXT && !self.all_text)
    }

    /// What is wrong with row `row` for the type.
    #[inline]
    pub fn bad<T: BytesType>(&self, row: usize) -> Option<&'static str> {
        match self.get(row) {
            None => (!T::NULLABLE).then_some("is null"),
            Some(bytes) => {
                let wrong = T::TEXT && !self.all_text && std::str::from_utf8(bytes).is_err();
                wrong.then_some("is not UTF-8")
            }
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

    /// The text in row `row`; none = null, or not UTF-8.
    #[inline]
    fn text(&self, row: usize) -> Option<&'a str> {
        let bytes = self.get(row)?;
        if self.all_text {
            // SAFETY: `is_text` has seen that all rows are, and the column is borrowed unchanged since.
            return Some(unsafe { std::str::from_utf8_unchecked(bytes) });
        }
        std::str::from_utf8(bytes).ok()
    }
}

/// Whether each of the strings in a column is UTF-8. All bytes are looked at together: one by one, strings cost a call
/// each, and each twice.
fn is_text(data: &[u8], offsets: &[u32]) -> bool {
    // In one loop without an early end, which becomes vector code.
    if data.iter().fold(0, |all, byte| all | byte) < 0x80 {
        return true;
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    offsets
        .iter()
        .all(|end| text.is_char_boundary(*end as usize))
}

/// Types that a timestamp can be read as: `i64` (the record must have one) and `Option<i64>`.
pub trait TimeType {
    /// Whether some of these may be wrong.
    fn may_be_bad(timestamps: &[i64]) -> bool;
    /// What is wrong with it.
    fn bad(timestamp: i64) -> Option<&'static str>;
    /// The value.
    fn get(timestamp: i64) -> Self;
}

impl TimeType for i64 {
    fn may_be_bad(timestamps: &[i64]) -> bool {
        let missing = |any, timestamp: &i64| any | (*timestamp == NO_TIMESTAMP);
        timestamps.iter().fold(false, missing)
    }
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
    fn may_be_bad(_: &[i64]) -> bool {
        false
    }
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
            keys: RawColumn::keys(view, false),
            values: RawColumn::values(view, false),
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

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn a_column_is_text_only_where_each_row_is() {
        assert!(is_text(b"ab", &[0, 1, 2]));
        assert!(is_text("a\u{e9}".as_bytes(), &[0, 1, 3]));
        // All bytes together are, but one row has half a character.
        assert!(!is_text("a\u{e9}".as_bytes(), &[0, 2, 3]));
        assert!(!is_text(b"a\xff", &[0, 1, 2]));
        assert!(is_text(b"", &[0]));
    }
}
