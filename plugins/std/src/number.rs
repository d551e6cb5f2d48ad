//! JSON numbers as they are: integers stay integers, all others are doubles.

use std::cmp::Ordering;

use wasmill_plugin::State;
use wasmill_plugin::contract::{Batch, Column, FieldSpec, Kind, OnBad};

/// A number.
#[derive(Clone, Copy, Debug, State)]
pub enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    /// Appends its JSON text, written as serde_json does.
    pub fn write_json(self, out: &mut Vec<u8>) {
        let written = match self {
            Number::Int(n) => serde_json::to_writer(out, &n),
            Number::Float(x) => serde_json::to_writer(out, &x),
        };
        written.expect("writing to memory works");
    }

    /// As a double; large integers lose their last digits.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }

    /// Of a serde_json number.
    pub fn of_json(n: &serde_json::Number) -> Number {
        match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Number::Int(n),
            (None, x) => Number::Float(x.unwrap_or(f64::NAN)),
        }
    }

    /// The order of the numbers themselves: 2^53 + 1 is greater than 2^53 as a double.
    pub fn order(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Number::Int(a), Number::Float(b)) => int_to_float(a, b),
            (Number::Float(a), Number::Int(b)) => int_to_float(b, a).reverse(),
        }
    }
}

fn int_to_float(int: i64, float: f64) -> Ordering {
    // Doubles at and beyond 2^63 compare by size alone; below, the whole part fits an integer.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float >= LIMIT {
        return Ordering::Less;
    }
    if float < -LIMIT {
        return Ordering::Greater;
    }
    let whole = float.floor();
    int.cmp(&(whole as i64)).then(if float > whole {
        Ordering::Less
    } else {
        Ordering::Equal
    })
}

/// The two field specs that a number is read by: as an integer, else as a double.
pub fn specs(pointer: &str, missing: OnBad, mismatch: OnBad) -> [FieldSpec; 2] {
    let spec = |kind, mismatch| FieldSpec {
        pointer: pointer.into(),
        kind,
        missing,
        mismatch,
    };
    [spec(Kind::Ints, OnBad::Null), spec(Kind::Floats, mismatch)]
}

/// Numbers of all rows, from fields `at` and `at + 1` of the batch.
pub struct Numbers<'a> {
    ints: &'a [i64],
    int_valid: Option<&'a [u8]>,
    floats: &'a [f64],
    float_valid: Option<&'a [u8]>,
}

impl<'a> Numbers<'a> {
    /// The columns of [`specs`].
    pub fn of(batch: &'a Batch, at: usize) -> Numbers<'a> {
        let (ints, floats) = (&batch.fields[at], &batch.fields[at + 1]);
        let (int_valid, float_valid) = (ints.valid.as_deref(), floats.valid.as_deref());
        let (Column::Ints(ints), Column::Floats(floats)) = (&ints.data, &floats.data) else {
            panic!("the host gave other columns than ints and floats");
        };
        Numbers {
            ints,
            int_valid,
            floats,
            float_valid,
        }
    }

    /// The integers, where all rows are integers.
    pub fn all_ints(&self) -> Option<&'a [i64]> {
        self.int_valid.is_none().then_some(self.ints)
    }

    /// The number in this row; none = null (or no number).
    #[inline]
    pub fn get(&self, row: usize) -> Option<Number> {
        if self.int_valid.is_none_or(|v| v[row] != 0) {
            Some(Number::Int(self.ints[row]))
        } else if self.float_valid.is_none_or(|v| v[row] != 0) {
            Some(Number::Float(self.floats[row]))
        } else {
            None
        }
    }
}
