//! `filter`: keeps records by comparing one field with a value.

use std::cmp::Ordering;

use serde_json::Value;
use wasmill_plugin::contract::{Batch, Descriptor, Failure, FieldSpec, FunctionKind, Kind, OnBad};
use wasmill_plugin::{Export, Function, Instance, Reject, Schema, config, host, reject};

use crate::field::{Strings, Wanted};
use crate::number::{Number, Numbers, specs};
use crate::numeric::pointer;

/// How to compare.
#[config]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal; values of different types are not.
    #[serde(rename = "=")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// Present and not null.
    #[serde(rename = "exists")]
    Exists,
}

impl Op {
    /// Whether it takes an order, which only numbers and strings have, each among themselves.
    fn orders(self) -> bool {
        !matches!(self, Op::Equal | Op::NotEqual | Op::Exists)
    }

    #[inline]
    fn holds(self, order: Ordering) -> bool {
        match self {
            Op::Equal => order.is_eq(),
            Op::NotEqual => order.is_ne(),
            Op::Less => order.is_lt(),
            Op::LessOrEqual => order.is_le(),
            Op::Greater => order.is_gt(),
            Op::GreaterOrEqual => order.is_ge(),
            Op::Exists => true,
        }
    }
}

/// Config of `filter`.
#[config]
pub struct FilterConfig {
    /// JSON pointer; without it, the whole value
    field: Option<String>,
    /// = != < <= > >= or exists
    op: Op,
    /// What to compare with; not for exists
    #[serde(default, deserialize_with = "given")]
    value: Option<Value>,
}

/// A `null` that is written is a value.
fn given<'de, D: wasmill_plugin::serde::Deserializer<'de>>(
    de: D,
) -> Result<Option<Value>, D::Error> {
    wasmill_plugin::serde::Deserialize::deserialize(de).map(Some)
}

/// Function `filter`.
#[expect(
    non_camel_case_types,
    reason = "a function's type is named like the function"
)]
pub enum filter {}

impl Export for filter {
    const FUNCTION: Function = Function {
        name: "filter",
        kind: FunctionKind::Filter,
        doc: "keeps records whose field compares so with a value",
        schema: FilterConfig::schema,
        open: |config| {
            let config = config::read::<FilterConfig>(config)?;
            let opened = open(config).map_err(|e| Failure::new(format!("config: {e}")))?;
            Ok(Box::new(opened))
        },
    };
}

/// What is compared, and how the field is read for it.
enum Test {
    Exists(Wanted),
    Number {
        pointer: String,
        value: Number,
    },
    Json {
        wanted: Wanted,
        value: Value,
        text: String,
    },
}

struct Filtering {
    op: Op,
    test: Test,
}

fn open(config: FilterConfig) -> Result<Filtering, String> {
    let pointer = pointer(config.field)?;
    let wanted = Wanted::of(&Some(pointer.clone()));
    let test = match (config.op, config.value) {
        (Op::Exists, None) => Test::Exists(wanted),
        (Op::Exists, Some(_)) => return Err("exists takes no value".into()),
        (_, None) => return Err("value is missing".into()),
        (_, Some(Value::Number(n))) => Test::Number {
            pointer,
            value: Number::of_json(&n),
        },
        (op, Some(value)) if op.orders() && !value.is_string() => {
            return Err("only numbers and strings have an order".into());
        }
        (_, Some(value)) => Test::Json {
            wanted,
            text: value.to_string(),
            value,
        },
    };
    Ok(Filtering {
        op: config.op,
        test,
    })
}

/// Equality of JSON values: numbers by their value, whatever their spelling.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            Number::of_json(a).order(Number::of_json(b)).is_eq()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

/// The field's JSON text against the value, whose own text is `text`.
fn compare(op: Op, json: &str, value: &Value, text: &str) -> Result<bool, Reject> {
    if op.orders() {
        let string: String = serde_json::from_str(json).map_err(|_| {
            reject("the field is no string, so it has no order with the filter's value")
        })?;
        return Ok(op.holds(string.as_str().cmp(value.as_str().unwrap_or_default())));
    }
    let plain = json.starts_with('"') && !json.contains('\\');
    let same = json == text || (!plain && equal(&serde_json::from_str(json)?, value));
    Ok(same == (op == Op::Equal))
}

/// Compares a column of integers with one: plain loops, which become vector code.
fn compare_ints(op: Op, ints: &[i64], value: i64) -> Vec<u8> {
    match op {
        Op::Equal => each_int(ints, |n| n == value),
        Op::NotEqual => each_int(ints, |n| n != value),
        Op::Less => each_int(ints, |n| n < value),
        Op::LessOrEqual => each_int(ints, |n| n <= value),
        Op::Greater => each_int(ints, |n| n > value),
        Op::GreaterOrEqual => each_int(ints, |n| n >= value),
        Op::Exists => each_int(ints, |_| true),
    }
}

/// One byte a row. A loop of its own for each test: called through a pointer, a test costs more than the rest.
fn each_int(ints: &[i64], test: impl Fn(i64) -> bool) -> Vec<u8> {
    let mut kept = vec![0; ints.len()];
    let (ints, last) = ints.as_chunks::<8>();
    let (kept_of, kept_last) = kept.as_chunks_mut::<8>();
    for (kept, ints) in kept_of.iter_mut().zip(ints) {
        *kept = ints.map(|n| u8::from(test(n)));
    }
    for (kept, n) in kept_last.iter_mut().zip(last) {
        *kept = u8::from(test(*n));
    }
    kept
}

impl Filtering {
    fn row(
        &self,
        strings: &Strings<'_>,
        value: &Value,
        text: &str,
        row: usize,
    ) -> Result<bool, Reject> {
        if strings.is_whole() && strings.get(row).is_none() {
            return Err(reject("the value is null"));
        }
        compare(self.op, &strings.json(row)?, value, text)
    }
}

impl Instance for Filtering {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::default();
        match &self.test {
            Test::Exists(Wanted::At(pointer)) => descriptor.fields.push(FieldSpec {
                pointer: pointer.clone(),
                kind: Kind::Json,
                missing: OnBad::Null,
                mismatch: OnBad::Null,
            }),
            Test::Exists(whole) => whole.need_json(&mut descriptor),
            Test::Number { pointer, .. } => {
                let mismatch = if self.op.orders() {
                    OnBad::Reject
                } else {
                    OnBad::Null
                };
                descriptor
                    .fields
                    .extend(specs(pointer, OnBad::Reject, mismatch));
            }
            Test::Json { wanted, .. } => wanted.need_json(&mut descriptor),
        }
        descriptor
    }

    fn filter(&mut self, input: Batch) -> Result<Vec<u8>, Failure> {
        let rows = 0..input.len as usize;
        let settle = |row: usize, kept: Result<bool, Reject>| match kept {
            Ok(kept) => u8::from(kept),
            Err(reason) => {
                host::reject(row as u32, reason.reason());
                0
            }
        };
        Ok(match &self.test {
            Test::Exists(wanted) => {
                let strings = Strings::of(wanted, &input, 0);
                rows.map(|row| u8::from(strings.get(row).is_some_and(|bytes| bytes != b"null")))
                    .collect()
            }
            Test::Number { pointer, value } => {
                let numbers = Numbers::of(&input, 0);
                if let (Some(ints), Number::Int(value)) = (numbers.all_ints(), *value) {
                    return Ok(compare_ints(self.op, ints, value));
                }
                let one = |row| match numbers.get(row) {
                    Some(number) => Ok(self.op.holds(number.order(*value))),
                    None if self.op.orders() => Err(reject(format!("{pointer} is null"))),
                    None => Ok(self.op == Op::NotEqual),
                };
                rows.map(|row| settle(row, one(row))).collect()
            }
            Test::Json {
                wanted,
                value,
                text,
            } => {
                let strings = Strings::of(wanted, &input, 0);
                rows.map(|row| settle(row, self.row(&strings, value, text, row)))
                    .collect()
            }
        })
    }
}
