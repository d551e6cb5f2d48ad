//! `sum`, `min`, `max`, `mean`, `stats`: aggregates of numbers. Nulls are passed over.

use std::cmp::Ordering;

use wasmill_plugin::contract::{Batch, Descriptor, FunctionKind, OnBad};
use wasmill_plugin::{Export, Function, Reject, Schema, State, config, reject};

use crate::fold::{self, Fold};
use crate::number::{Number, Numbers, specs};

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

/// What one of these aggregates makes of numbers.
pub trait Measure: 'static {
    type Acc: State + Default;
    fn add(acc: &mut Self::Acc, number: Number) -> Result<(), Reject>;
    fn merge(acc: &mut Self::Acc, later: Self::Acc) -> Result<(), Reject>;
    fn json(acc: &Self::Acc) -> String;
}

/// A measure over a field.
pub struct Over<M> {
    pointer: String,
    measure: std::marker::PhantomData<M>,
}

impl<M: Measure> Fold for Over<M> {
    type Config = OfField;
    type Acc = M::Acc;
    type Columns<'a> = Numbers<'a>;

    fn open(config: OfField) -> Result<Self, String> {
        Ok(Over {
            pointer: pointer(config.field)?,
            measure: std::marker::PhantomData,
        })
    }

    fn read(&self, descriptor: &mut Descriptor) {
        descriptor
            .fields
            .extend(specs(&self.pointer, OnBad::Reject, OnBad::Reject));
    }

    fn columns<'a>(&self, batch: &'a Batch) -> Numbers<'a> {
        Numbers::of(batch, 0)
    }

    fn init(&self) -> M::Acc {
        M::Acc::default()
    }

    #[inline]
    fn add(&self, acc: &mut M::Acc, columns: &Numbers<'_>, row: usize) -> Result<(), Reject> {
        match columns.get(row) {
            Some(number) => M::add(acc, number),
            None => Ok(()),
        }
    }

    fn merge(&self, acc: &mut M::Acc, later: M::Acc) -> Result<(), Reject> {
        M::merge(acc, later)
    }

    fn finish(&self, acc: M::Acc) -> String {
        M::json(&acc)
    }
}

fn json(number: Option<Number>) -> String {
    number.map_or("null".into(), Number::json)
}

/// A sum: integers apart from doubles, so that it stays an integer as long as all are.
#[derive(Clone, Copy, Default, State)]
pub struct Sum {
    ints: i64,
    floats: f64,
    /// 0: nothing yet, 1: integers only, 2: doubles too.
    seen: u8,
}

impl Sum {
    fn result(&self) -> Option<Number> {
        match self.seen {
            0 => None,
            1 => Some(Number::Int(self.ints)),
            _ => Some(Number::Float(self.ints as f64 + self.floats)),
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
}

impl Measure for Sum {
    type Acc = Sum;

    #[inline]
    fn add(acc: &mut Sum, number: Number) -> Result<(), Reject> {
        match number {
            Number::Int(n) => match acc.ints.checked_add(n) {
                Some(ints) => {
                    acc.ints = ints;
                    acc.seen = acc.seen.max(1);
                    Ok(())
                }
                None if acc.seen == 2 => acc.add_float(n as f64),
                None => Err(reject("the sum overflows a 64-bit integer")),
            },
            Number::Float(x) => acc.add_float(x),
        }
    }

    fn merge(acc: &mut Sum, later: Sum) -> Result<(), Reject> {
        if later.seen == 2 {
            acc.add_float(later.floats)?;
        }
        if later.seen > 0 {
            Sum::add(acc, Number::Int(later.ints))
        } else {
            Ok(())
        }
    }

    fn json(acc: &Sum) -> String {
        json(acc.result())
    }
}

/// Keeps the number of this order; of equal ones the integer, so that order does not matter.
fn keep(best: &mut Option<Number>, number: Number, wanted: Ordering) {
    let better = best.is_none_or(|b| match number.order(b) {
        Ordering::Equal => matches!(number, Number::Int(_)),
        order => order == wanted,
    });
    if better {
        *best = Some(number);
    }
}

macro_rules! extreme {
    ($name:ident, $wanted:ident) => {
        /// The number furthest to one side.
        pub enum $name {}

        impl Measure for $name {
            type Acc = Option<Number>;
            #[inline]
            fn add(acc: &mut Option<Number>, number: Number) -> Result<(), Reject> {
                keep(acc, number, Ordering::$wanted);
                Ok(())
            }
            fn merge(acc: &mut Option<Number>, later: Option<Number>) -> Result<(), Reject> {
                if let Some(number) = later {
                    keep(acc, number, Ordering::$wanted);
                }
                Ok(())
            }
            fn json(acc: &Option<Number>) -> String {
                json(*acc)
            }
        }
    };
}

extreme!(Min, Less);
extreme!(Max, Greater);

/// A mean: integers are summed exactly.
#[derive(Default, State)]
pub struct Mean {
    count: u64,
    ints: i128,
    floats: f64,
}

impl Measure for Mean {
    type Acc = Mean;

    #[inline]
    fn add(acc: &mut Mean, number: Number) -> Result<(), Reject> {
        match number {
            Number::Int(n) => acc.ints += i128::from(n),
            Number::Float(x) if (acc.floats + x).is_finite() => acc.floats += x,
            Number::Float(_) => return Err(reject("the sum overflows a double")),
        }
        acc.count += 1;
        Ok(())
    }

    fn merge(acc: &mut Mean, later: Mean) -> Result<(), Reject> {
        acc.count += later.count;
        acc.ints += later.ints;
        acc.floats += later.floats;
        Ok(())
    }

    fn json(acc: &Mean) -> String {
        let mean = (acc.ints as f64 + acc.floats) / acc.count as f64;
        json((acc.count > 0).then_some(Number::Float(mean)))
    }
}

/// All of them at once.
#[derive(Default, State)]
pub struct Stats {
    sum: Sum,
    min: Option<Number>,
    max: Option<Number>,
    mean: Mean,
}

impl Measure for Stats {
    type Acc = Stats;

    #[inline]
    fn add(acc: &mut Stats, number: Number) -> Result<(), Reject> {
        Sum::add(&mut acc.sum, number)?;
        Min::add(&mut acc.min, number)?;
        Max::add(&mut acc.max, number)?;
        Mean::add(&mut acc.mean, number)
    }

    fn merge(acc: &mut Stats, later: Stats) -> Result<(), Reject> {
        Sum::merge(&mut acc.sum, later.sum)?;
        Min::merge(&mut acc.min, later.min)?;
        Max::merge(&mut acc.max, later.max)?;
        Mean::merge(&mut acc.mean, later.mean)
    }

    fn json(acc: &Stats) -> String {
        format!(
            r#"{{"count":{},"sum":{},"min":{},"max":{},"mean":{}}}"#,
            acc.mean.count,
            Sum::json(&acc.sum),
            Min::json(&acc.min),
            Max::json(&acc.max),
            Mean::json(&acc.mean)
        )
    }
}

macro_rules! function {
    ($ident:ident, $measure:ident, $doc:literal) => {
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
                open: fold::open::<Over<$measure>>,
            };
        }
    };
}

function!(sum, Sum, "sum of the numbers in a field");
function!(min, Min, "least number in a field");
function!(max, Max, "greatest number in a field");
function!(mean, Mean, "mean of the numbers in a field");
function!(
    stats,
    Stats,
    "count, sum, min, max and mean of the numbers in a field"
);
