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
/// Words: integers, doubles, and 0 = nothing yet, 1 = integers only, 2 = doubles too.
#[derive(Clone, Copy)]
struct Sum {
    ints: i64,
    floats: f64,
    seen: u64,
}

impl Sum {
    #[inline]
    fn load<const N: usize>(acc: &[u8; N]) -> Sum {
        Sum {
            ints: word(acc, 0) as i64,
            floats: f64::from_bits(word(acc, 1)),
            seen: word(acc, 2),
        }
    }

    #[inline]
    fn store<const N: usize>(self, acc: &mut [u8; N]) {
        set_word(acc, 0, self.ints as u64);
        set_word(acc, 1, self.floats.to_bits());
        set_word(acc, 2, self.seen);
    }

    fn result(self) -> Option<Number> {
        match self.seen {
            0 => None,
            1 => Some(Number::Int(self.ints)),
            _ => Some(Number::Float(self.ints as f64 + self.floats)),
        }
    }

    #[inline]
    fn add(&mut self, number: Number) -> Result<(), Reject> {
        match number {
            Number::Int(n) => match self.ints.checked_add(n) {
                Some(ints) => {
                    self.ints = ints;
                    self.seen = self.seen.max(1);
                    Ok(())
                }
                None if self.seen == 2 => self.add_float(n as f64),
                None => Err(reject("the sum overflows a 64-bit integer")),
            },
            Number::Float(x) => self.add_float(x),
        }
    }

    fn add_float(&mut self, x: f64) -> Result<(), Reject> {
        let floats = self.floats + x;
        if !(self.ints as f64 + floats).is_finite() {
            return Err(reject("the sum overflows a double"));
        }
        self.floats = floats;
        self.seen = 2;
        Ok(())
    }

    fn add_sum(&mut self, later: Sum) -> Result<(), Reject> {
        if later.seen == 2 {
            self.add_float(later.floats)?;
        }
        if later.seen > 0 {
            self.add(Number::Int(later.ints))
        } else {
            Ok(())
        }
    }
}

impl Measure<24> for Sum {
    #[inline]
    fn add(acc: &mut [u8; 24], number: Number) -> Result<(), Reject> {
        let mut sum = Sum::load(acc);
        sum.add(number)?;
        sum.store(acc);
        Ok(())
    }

    fn merge(acc: &mut [u8; 24], later: &[u8; 24]) -> Result<(), Reject> {
        let mut sum = Sum::load(acc);
        sum.add_sum(Sum::load(later))?;
        sum.store(acc);
        Ok(())
    }

    fn json(acc: &[u8; 24], out: &mut Vec<u8>) {
        write(Sum::load(acc).result(), out);
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
}

impl<const GREATEST: bool> Measure<16> for Extreme<GREATEST> {
    #[inline]
    fn add(acc: &mut [u8; 16], number: Number) -> Result<(), Reject> {
        let best = number_of(word(acc, 0), word(acc, 1));
        let (kind, bits) = words_of(further(best, number, Self::WANTED));
        set_word(acc, 0, kind);
        set_word(acc, 1, bits);
        Ok(())
    }

    fn merge(acc: &mut [u8; 16], later: &[u8; 16]) -> Result<(), Reject> {
        match number_of(word(later, 0), word(later, 1)) {
            Some(number) => Self::add(acc, number),
            None => Ok(()),
        }
    }

    fn json(acc: &[u8; 16], out: &mut Vec<u8>) {
        write(number_of(word(acc, 0), word(acc, 1)), out);
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

    fn merge(acc: &mut [u8; 32], later: &[u8; 32]) -> Result<(), Reject> {
        let (mut mean, later) = (Mean::load(acc), Mean::load(later));
        mean.count += later.count;
        mean.ints += later.ints;
        mean.floats += later.floats;
        mean.store(acc);
        Ok(())
    }

    fn json(acc: &[u8; 32], out: &mut Vec<u8>) {
        let mean = Mean::load(acc);
        let value = (mean.ints as f64 + mean.floats) / mean.count as f64;
        write((mean.count > 0).then_some(Number::Float(value)), out);
    }
}

/// All of them at once. Words: those of `Sum`, count, least, greatest; the kinds of the last two are in bytes
/// 1 and 2 of the word that says what the sum has seen.
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
        let mut sum = Sum::load(acc);
        let kinds = sum.seen;
        sum.seen &= 0xff;
        All {
            sum,
            count: word(acc, 3),
            least: number_of(kinds >> 8 & 0xff, word(acc, 4)),
            greatest: number_of(kinds >> 16 & 0xff, word(acc, 5)),
        }
    }

    #[inline]
    fn store(self, acc: &mut [u8; 48]) {
        let (least, least_bits) = self.least.map_or((0, 0), words_of);
        let (greatest, greatest_bits) = self.greatest.map_or((0, 0), words_of);
        let mut sum = self.sum;
        sum.seen |= least << 8 | greatest << 16;
        sum.store(acc);
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

    fn merge(acc: &mut [u8; 48], later: &[u8; 48]) -> Result<(), Reject> {
        let (mut all, later) = (All::load(acc), All::load(later));
        all.sum.add_sum(later.sum)?;
        all.count += later.count;
        if let Some(least) = later.least {
            all.least = Some(further(all.least, least, Ordering::Less));
        }
        if let Some(greatest) = later.greatest {
            all.greatest = Some(further(all.greatest, greatest, Ordering::Greater));
        }
        all.store(acc);
        Ok(())
    }

    fn json(acc: &[u8; 48], out: &mut Vec<u8>) {
        let all = All::load(acc);
        let sum = all.sum.result();
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
