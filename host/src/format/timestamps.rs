//! Timestamps from values: integers in a unit, RFC 3339 text, or text in a strptime format. Text without zone
//! is UTC; a format without time of day means midnight.

use arrow_array::Int64Array;
use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveTime};

use super::decode::at;
use super::found::{Found, cut, unescape};
use super::strings::NullRows;
use crate::config::plan::{TimeUnit, TimestampSpec};

/// Builds the timestamps of a batch.
#[derive(Debug)]
pub(crate) struct TimestampBuilder<'p> {
    spec: &'p TimestampSpec,
    /// Of the format, if there is one.
    items: Vec<Item<'p>>,
    slot: usize,
    values: Vec<i64>,
    nulls: NullRows,
}

impl<'p> TimestampBuilder<'p> {
    /// For so many rows; the field is at `slot`.
    pub fn new(spec: &'p TimestampSpec, slot: usize, rows: usize) -> TimestampBuilder<'p> {
        TimestampBuilder {
            spec,
            items: spec
                .format
                .as_deref()
                .map(|format| StrftimeItems::new(format).collect())
                .unwrap_or_default(),
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
            Some(format) => formatted(text, &self.items)
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
#[inline]
fn rfc3339(text: &str) -> Option<i64> {
    seconds_utc(text.as_bytes())
        .map(|seconds| seconds * 1000)
        .or_else(|| {
            DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| time.timestamp_millis())
        })
}

/// Seconds of a time in the commonest shape, `2013-01-01T10:00:00Z`; none for any other, right or wrong.
#[inline]
fn seconds_utc(text: &[u8]) -> Option<i64> {
    let text: &[u8; 20] = text.try_into().ok()?;
    if (text[4], text[7], text[10], text[13], text[16], text[19])
        != (b'-', b'-', b'T', b':', b':', b'Z')
    {
        return None;
    }
    let two = |at: usize| {
        let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > days || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 in years that begin in March, so that the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
            - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Milliseconds of a time in a strptime format.
fn formatted(text: &str, items: &[Item<'_>]) -> Option<i64> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, items.iter()).ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_three_thousand_years_reads_as_chrono_reads_it() {
        for day in -719_528..400_000i64 {
            let time = DateTime::from_timestamp(day * 86_400 + day.rem_euclid(86_400), 0).unwrap();
            let text = time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
            assert_eq!(
                seconds_utc(text.as_bytes()),
                Some(time.timestamp()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_of_the_common_shape_is_left_to_chrono() {
        for text in [
            "2013-02-29T10:00:00Z",
            "2013-13-01T10:00:00Z",
            "2013-00-01T10:00:00Z",
            "2013-01-00T10:00:00Z",
            "2013-01-01T24:00:00Z",
            "2013-01-01T10:60:00Z",
            "2013-01-01T10:00:60Z",
            "2013-01-01 10:00:00Z",
            "2013-01-01T10:00:0xZ",
            "2013-01-01T10:00:00+",
        ] {
            assert_eq!(seconds_utc(text.as_bytes()), None, "{text}");
            assert_eq!(
                rfc3339(text),
                DateTime::parse_from_rfc3339(text)
                    .ok()
                    .map(|t| t.timestamp_millis()),
                "{text}"
            );
        }
    }
}
