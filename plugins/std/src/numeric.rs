//! `sum`, `min`, `max`, `mean`, `stats`: aggregates of numbers. Nulls are passed over.

use std::cmp::Ordering;

use wasmill_plugin::contract::FunctionKind;
use wasmill_plugin::{Export, Function, Reject, Schema, config, reject};

use crate::measure::{Measure, open, set_word, word};
use crate::number::Number;

/// Config of aggregates over one field.
#[config]
pub struct OfField {
    /// JSON pointer; without it, the whole value
    pub field: Option<String>,
}

/// Checks a JSON pointer from a config.
pub fn pointer(field: Option<String>) -> Result<String, String> {
    match field.unwrap_or_default() {
        p if p.is_empty() || p.starts_with('/') => Ok(p),
        p => Err(format!(
            "`{p}` is no JSON pointer: it is empty or starts with /"
        )),
    }
}

/// A number, or none, in two words: what it is, and its bits.
#[inline]
fn number_of(kind: u64, bits: u64) -> Option<Number> {
    match kind {
        0 => None,
        1 => Some(Number::Int(bits as i64)),
        _ => Some(Number::Float(f64::from_bits(bits))),
    }
}

#[inline]
fn words_of(number: Number) -> (u64, u64) {
    match number {
        Number::Int(n) => (1, n as u64),
        Number::Float(x) => (2, x.to_bits()),
    }
}

fn write(number: Option<Number>, out: &mut Vec<u8>) {
    match number {
        Some(number) => number.write_json(out),
        None => out.extend_from_slice(b"null"),
    }
}

/// A sum: integers apart from doubles, so that it stays an integer as long as all are.
/// Words: integers, doubles, and in the third 0 = nothing yet, 1 = integers only, 2 = doubles too (one byte) and, above
/// the bytes that `Stats` uses, how often 2^64 belongs to the integers.
///
/// A record that takes the sum out of 64 bits is rejected. Sums that are merged, each in range, may leave it: that is
/// nobody's fault, so it is kept, and the result tells if it is still so.
#[derive(Clone, Copy)]
struct Sum {
    ints: i64,
    /// Times 2^64, beside `ints`. It has 40 bits: so many sums are never merged.
    wraps: i64,
    floats: f64,
    seen: u64,
}

/// Where `wraps` begins in the third word.
const WRAPS_SHIFT: u32 = 24;

impl Sum {
    #[inline]
    fn load<const N: usize>(acc: &[u8; N]) -> Sum {
        Sum {
            ints: word(acc, 0) as i64,
            wraps: word(acc, 2) as i64 >> WRAPS_SHIFT,
            floats: f64::from_bits(word(acc, 1)),
            seen: word(acc, 2) & 0xff,
        }
    }

    /// `flags`: what else the third word holds.
    #[inline]
    fn store<const N: usize>(self, acc: &mut [u8; N], flags: u64) {
        set_word(acc, 0, self.ints as u64);
        set_word(acc, 1, self.floats.to_bits());
        set_word(
            acc,
            2,
            self.seen | flags | (self.wraps << WRAPS_SHIFT) as u64,
        );
    }

    /// None: nothing was added.
    fn result(self) -> Result<Option<Number>, Reject> {
        match self.seen {
            0 => Ok(None),
            1 if self.wraps == 0 => Ok(Some(Number::Int(self.ints))),
            1 => Err(reject(INT_OVERFLOW)),
            _ => finite(self.as_f64()).map(Some),
        }
    }

    fn as_f64(self) -> f64 {
        let ints = (i128::from(self.wraps) << 64) + i128::from(self.ints);
        ints as f64 + self.floats
    }

    #[inline]
    fn add(&mut self, number: Number) -> Result<(), Reject> {
        match number {
            Number::Int(n) => match self.ints.checked_add(n) {
                Some(ints) => {
                    self.ints = ints;
                    self.seen = self.seen.max(1);
                }
                // As a double it is in range; and one that has left its range already may come back.
                None if self.seen == 2 || self.wraps != 0 => self.add_wide(n),
                None => return Err(reject(INT_OVERFLOW)),
            },
            Number::Float(x) => {
                let mut sum = *self;
                sum.floats += x;
                sum.seen = 2;
                finite(sum.as_f64())?;
                *self = sum;
            }
        }
        Ok(())
    }

    fn add_wide(&mut self, n: i64) {
        let (ints, wrapped) = self.ints.overflowing_add(n);
        self.ints = ints;
        self.wraps += i64::from(wrapped) * n.signum();
    }

    fn add_sum(&mut self, later: Sum) {
        self.add_wide(later.ints);
        self.wraps += later.wraps;
        self.floats += later.floats;
        self.seen = self.seen.max(later.seen);
    }
}

const INT_OVERFLOW: &str = "the sum overflows a 64-bit integer";

/// A double as a result.
fn finite(x: f64) -> Result<Number, Reject> {
    if x.is_finite() {
        Ok(Number::Float(x))
    } else {
        Err(reject("the sum overflows a double"))
    }
}

impl Measure<24> for Sum {
    #[inline]
    fn add(acc: &mut [u8; 24], number: Number) -> Result<(), Reject> {
        let mut sum = Sum::load(acc);
        sum.add(number)?;
        sum.store(acc, 0);
        Ok(())
    }

    fn merge(acc: &mut [u8; 24], later: &[u8; 24]) {
        let mut sum = Sum::load(acc);
        sum.add_sum(Sum::load(later));
        sum.store(acc, 0);
    }

    fn json(acc: &[u8; 24], out: &mut Vec<u8>) -> Result<(), Reject> {
        write(Sum::load(acc).result()?, out);
        Ok(())
    }
}

/// The number further in this direction; of equal ones the integer, so that order does not matter.
#[inline]
fn further(best: Option<Number>, number: Number, wanted: Ordering) -> Number {
    match best {
        Some(best) => match number.order(best) {
            Ordering::Equal if matches!(number, Number::Int(_)) => number,
            order if order == wanted => number,
            _ => best,
        },
        None => number,
    }
}

/// The number furthest to one side. Words: kind (0 = none, 1 = integer, 2 = double), bits.
enum Extreme<const GREATEST: bool> {}

impl<const GREATEST: bool> Extreme<GREATEST> {
    const WANTED: Ordering = if GREATEST {
        Ordering::Greater
    } else {
        Ordering::Less
    };

    #[inline]
    fn put(acc: &mut [u8; 16], number: Number) {
        let best = number_of(word(acc, 0), word(acc, 1));
        let (kind, bits) = words_of(further(best, number, Self::WANTED));
        set_word(acc, 0, kind);
        set_word(acc, 1, bits);
    }
}

impl<const GREATEST: bool> Measure<16> for Extreme<GREATEST> {
    #[inline]
    fn add(acc: &mut [u8; 16], number: Number) -> Result<(), Reject> {
        Self::put(acc, number);
        Ok(())
    }

    fn merge(acc: &mut [u8; 16], later: &[u8; 16]) {
        if let Some(number) = number_of(word(later, 0), word(later, 1)) {
            Self::put(acc, number);
        }
    }

    fn json(acc: &[u8; 16], out: &mut Vec<u8>) -> Result<(), Reject> {
        write(number_of(word(acc, 0), word(acc, 1)), out);
        Ok(())
    }
}

/// A mean: integers are summed exactly. Words: count, doubles, integers (two words, low then high).
struct Mean {
    count: u64,
    floats: f64,
    ints: i128,
}

impl Mean {
    #[inline]
    fn load(acc: &[u8; 32]) -> Mean {
        let ints = u128::from(word(acc, 2)) | u128::from(word(acc, 3)) << 64;
        Mean {
            count: word(acc, 0),
            floats: f64::from_bits(word(acc, 1)),
            ints: ints as i128,
        }
    }

    #[inline]
    fn store(self, acc: &mut [u8; 32]) {
        set_word(acc, 0, self.count);
        set_word(acc, 1, self.floats.to_bits());
        set_word(acc, 2, self.ints as u64);
        set_word(acc, 3, (self.ints >> 64) as u64);
    }
}

impl Measure<32> for Mean {
    #[inline]
    fn add(acc: &mut [u8; 32], number: Number) -> Result<(), Reject> {
        let mut mean = Mean::load(acc);
        match number {
            Number::Int(n) => mean.ints += i128::from(n),
            Number::Float(x) if (mean.floats + x).is_finite() => mean.floats += x,
            Number::Float(_) => return Err(reject("the sum overflows a double")),
        }
        mean.count += 1;
        mean.store(acc);
        Ok(())
    }

    fn merge(acc: &mut [u8; 32], later: &[u8; 32]) {
        let (mut mean, later) = (Mean::load(acc), Mean::load(later));
        mean.count += later.count;
        mean.ints += later.ints;
        mean.floats += later.floats;
        mean.store(acc);
    }

    fn json(acc: &[u8; 32], out: &mut Vec<u8>) -> Result<(), Reject> {
        let mean = Mean::load(acc);
        let sum = mean.ints as f64 + mean.floats;
        let value = finite(sum)?.as_f64() / mean.count as f64;
        write((mean.count > 0).then_some(Number::Float(value)), out);
        Ok(())
    }
}

/// All of them at once. Words: those of `Sum`, count, least, greatest; the kinds of the last two are in bytes
/// 1 and 2 of the word that says what the sum has seen (`WRAPS_SHIFT` leaves them free).
enum Stats {}

/// A `Stats`, unpacked.
struct All {
    sum: Sum,
    count: u64,
    least: Option<Number>,
    greatest: Option<Number>,
}

impl All {
    #[inline]
    fn load(acc: &[u8; 48]) -> All {
        let kinds = word(acc, 2);
        All {
            sum: Sum::load(acc),
            count: word(acc, 3),
            least: number_of(kinds >> 8 & 0xff, word(acc, 4)),
            greatest: number_of(kinds >> 16 & 0xff, word(acc, 5)),
        }
    }

    #[inline]
    fn store(self, acc: &mut [u8; 48]) {
        let (least, least_bits) = self.least.map_or((0, 0), words_of);
        let (greatest, greatest_bits) = self.greatest.map_or((0, 0), words_of);
        self.sum.store(acc, least << 8 | greatest << 16);
        set_word(acc, 3, self.count);
        set_word(acc, 4, least_bits);
        set_word(acc, 5, greatest_bits);
    }
}

impl Measure<48> for Stats {
    #[inline]
    fn add(acc: &mut [u8; 48], number: Number) -> Result<(), Reject> {
        let mut all = All::load(acc);
        all.sum.add(number)?;
        all.count += 1;
        all.least = Some(further(all.least, number, Ordering::Less));
        all.greatest = Some(further(all.greatest, number, Ordering::Greater));
        all.store(acc);
        Ok(())
    }

    fn merge(acc: &mut [u8; 48], later: &[u8; 48]) {
        let (mut all, later) = (All::load(acc), All::load(later));
        all.sum.add_sum(later.sum);
        all.count += later.count;
        if let Some(least) = later.least {
            all.least = Some(further(all.least, least, Ordering::Less));
        }
        if let Some(greatest) = later.greatest {
            all.greatest = Some(further(all.greatest, greatest, Ordering::Greater));
        }
        all.store(acc);
    }

    fn json(acc: &[u8; 48], out: &mut Vec<u8>) -> Result<(), Reject> {
        let all = All::load(acc);
        let sum = all.sum.result()?;
        let mean = sum.map(|sum| Number::Float(sum.as_f64() / all.count as f64));
        out.extend_from_slice(b"{\"count\":");
        Number::Int(all.count as i64).write_json(out);
        for (name, number) in [
            ("sum", sum),
            ("min", all.least),
            ("max", all.greatest),
            ("mean", mean),
        ] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write(number, out);
        }
        out.push(b'}');
        Ok(())
    }
}

macro_rules! function {
    ($ident:ident, $measure:ty, $doc:literal) => {
        #[doc = concat!("Function `", stringify!($ident), "`.")]
        #[expect(
            non_camel_case_types,
            reason = "a function's type is named like the function"
        )]
        pub enum $ident {}

        impl Export for $ident {
            const FUNCTION: Function = Function {
                name: stringify!($ident),
                kind: FunctionKind::Aggregate,
                doc: $doc,
                schema: OfField::schema,
                open: open::<$measure, _>,
            };
        }
    };
}

function!(sum, Sum, "sum of the numbers in a field");
function!(min, Extreme<false>, "least number in a field");
function!(max, Extreme<true>, "greatest number in a field");
function!(mean, Mean, "mean of the numbers in a field");
function!(
    stats,
    Stats,
    "count, sum, min, max and mean of the numbers in a field"
);
