//! Timestamps from values: integers in a unit, RFC 3339 text, or text in a strptime format. Text without zone
//! is UTC; a format without time of day means midnight.

use arrow_array::Int64Array;
use chrono::format::{Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveTime};

use super::decode::at;
use super::found::{Found, cut, unescape};
use super::strings::NullRows;
use crate::config::plan::{TimeUnit, TimestampSpec};

/// Builds the timestamps of a batch.
#[derive(Debug)]
pub(crate) struct TimestampBuilder<'p> {
    spec: &'p TimestampSpec,
    slot: usize,
    values: Vec<i64>,
    nulls: NullRows,
}

impl<'p> TimestampBuilder<'p> {
    /// For so many rows; the field is at `slot`.
    pub fn new(spec: &'p TimestampSpec, slot: usize, rows: usize) -> TimestampBuilder<'p> {
        TimestampBuilder {
            spec,
            slot,
            values: Vec::with_capacity(rows),
            nulls: NullRows::default(),
        }
    }

    /// The next row's timestamp, or why it has none (then it is null).
    #[inline]
    pub fn push(&mut self, found: &[Found<'_>]) -> Result<(), String> {
        match self.read(at(found, self.slot)) {
            Ok(ms) => {
                self.values.push(ms);
                Ok(())
            }
            Err(why) => {
                self.push_null();
                Err(format!("timestamp {}: {why}", self.spec.pointer))
            }
        }
    }

    #[inline]
    fn read(&self, found: Found<'_>) -> Result<i64, String> {
        match found {
            Found::Int(int, _) if self.spec.format.is_none() => self.scaled(int),
            Found::Text(text) => self.text(text),
            Found::Cell(cell, numbers) => {
                let number = numbers
                    && self.spec.format.is_none()
                    && super::number::is_json_number(cell.as_bytes());
                if number {
                    self.read(Found::number(cell))
                } else {
                    self.text(cell)
                }
            }
            Found::Escaped(json) => match unescape(json) {
                Some(text) => self.text(&text),
                None => Err(format!("{} is not text", found.describe())),
            },
            // Digits that the format reads as a whole: 20130101 for %Y%m%d.
            Found::Int(_, token) if !token.is_empty() => self.text(token),
            Found::Missing => Err("is missing".into()),
            Found::Null => Err("is null".into()),
            _ => Err(format!(
                "an integer or text expected, found {}",
                found.describe()
            )),
        }
    }

    #[inline]
    fn scaled(&self, int: i64) -> Result<i64, String> {
        match self.spec.unit {
            TimeUnit::Millis => Ok(int),
            TimeUnit::Seconds => int
                .checked_mul(1000)
                .ok_or_else(|| format!("{int} seconds are beyond the range of time")),
            TimeUnit::Micros => Ok(int.div_euclid(1000)),
        }
    }

    #[inline]
    fn text(&self, text: &str) -> Result<i64, String> {
        match &self.spec.format {
            None => rfc3339(text).ok_or_else(|| format!("{:?} is not RFC 3339", cut(text))),
            Some(format) => formatted(text, format)
                .ok_or_else(|| format!("{:?} is not of the format {format:?}", cut(text))),
        }
    }

    /// The next row has no timestamp.
    pub fn push_null(&mut self) {
        self.nulls.push(self.values.len());
        self.values.push(0);
    }

    /// The column.
    pub fn finish(self) -> Int64Array {
        let nulls = self.nulls.finish(self.values.len());
        Int64Array::new(self.values.into(), nulls)
    }
}

/// Milliseconds of an RFC 3339 time; what is finer is cut off.
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.timestamp_millis())
}

/// Milliseconds of a time in a strptime format.
pub(crate) fn formatted(text: &str, format: &str) -> Option<i64> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, StrftimeItems::new(format)).ok()?;
    if let Ok(time) = parsed.to_datetime() {
        return Some(time.timestamp_millis());
    }
    let date = parsed.to_naive_date().ok();
    let Some(date) = date else {
        return parsed
            .to_naive_datetime_with_offset(0)
            .ok()
            .map(|time| time.and_utc().timestamp_millis());
    };
    let time = parsed
        .to_naive_time()
        .or_else(|e| {
            if names_time(&parsed) {
                Err(e)
            } else {
                Ok(NaiveTime::MIN)
            }
        })
        .ok()?;
    Some(date.and_time(time).and_utc().timestamp_millis())
}

/// Whether the format read any part of a time of day.
fn names_time(parsed: &Parsed) -> bool {
    parsed.hour_div_12().is_some()
        || parsed.hour_mod_12().is_some()
        || parsed.minute().is_some()
        || parsed.second().is_some()
}
