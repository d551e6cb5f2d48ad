//! `first`, `last`, `collect`, `distinct`, `top`: aggregates of values of any type.

use std::collections::BTreeSet;

use wasmill_plugin::contract::{Batch, Descriptor, FunctionKind, OnBad};
use wasmill_plugin::{Export, Function, Reject, Schema, config, reject};

use crate::field::{Strings, Wanted};
use crate::fold::{self, Fold};
use crate::number::{Number, Numbers, specs};
use crate::numeric::{OfField, pointer};

/// The first (or last) value, as JSON text.
pub struct End<const LAST: bool>(Wanted);

impl<const LAST: bool> Fold for End<LAST> {
    type Config = OfField;
    type Acc = Option<String>;
    type Columns<'a> = Strings<'a>;
    const ORDER_DEPENDENT: bool = true;

    fn open(config: OfField) -> Result<Self, String> {
        Ok(End(Wanted::of(&Some(pointer(config.field)?))))
    }

    fn read(&self, descriptor: &mut Descriptor) {
        self.0.need_json(descriptor);
    }

    fn columns<'a>(&self, batch: &'a Batch) -> Strings<'a> {
        Strings::of(&self.0, batch, 0)
    }

    fn init(&self) -> Option<String> {
        None
    }

    fn add(
        &self,
        acc: &mut Option<String>,
        columns: &Strings<'_>,
        row: usize,
    ) -> Result<(), Reject> {
        let value = columns.json(row)?;
        if LAST || acc.is_none() {
            *acc = Some(value.into_owned());
        }
        Ok(())
    }

    fn merge(&self, acc: &mut Option<String>, later: Option<String>) -> Result<(), Reject> {
        if acc.is_none() || (LAST && later.is_some()) {
            *acc = later;
        }
        Ok(())
    }

    fn finish(&self, acc: Option<String>) -> String {
        acc.unwrap_or_else(|| "null".into())
    }
}

/// All values, in order of arrival.
pub struct Collect(Wanted);

impl Fold for Collect {
    type Config = OfField;
    /// The inside of a JSON array.
    type Acc = String;
    type Columns<'a> = Strings<'a>;
    const ORDER_DEPENDENT: bool = true;

    fn open(config: OfField) -> Result<Self, String> {
        Ok(Collect(Wanted::of(&Some(pointer(config.field)?))))
    }

    fn read(&self, descriptor: &mut Descriptor) {
        self.0.need_json(descriptor);
    }

    fn columns<'a>(&self, batch: &'a Batch) -> Strings<'a> {
        Strings::of(&self.0, batch, 0)
    }

    fn init(&self) -> String {
        String::new()
    }

    fn add(&self, acc: &mut String, columns: &Strings<'_>, row: usize) -> Result<(), Reject> {
        let value = columns.json(row)?;
        if !acc.is_empty() {
            acc.push(',');
        }
        acc.push_str(&value);
        Ok(())
    }

    fn merge(&self, acc: &mut String, later: String) -> Result<(), Reject> {
        if !acc.is_empty() && !later.is_empty() {
            acc.push(',');
        }
        acc.push_str(&later);
        Ok(())
    }

    fn finish(&self, acc: String) -> String {
        format!("[{acc}]")
    }
}

/// How many different values: exact, so all of them are kept.
pub struct Distinct(Wanted);

/// One spelling for each value: members sorted, no spaces, no needless escapes; 1.0 and 1e0 are 1.
fn canonical(json: &str) -> Result<String, Reject> {
    match json.as_bytes().first() {
        Some(b'"') if !json.contains('\\') => Ok(json.into()),
        Some(b't' | b'f') => Ok(json.into()),
        _ => {
            let mut value: serde_json::Value = serde_json::from_str(json)?;
            unify_numbers(&mut value);
            sort_members(&mut value);
            Ok(value.to_string())
        }
    }
}

/// Whatever map serde_json was built with: one that sorts, or one that keeps the order of the text.
fn sort_members(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(sort_members),
        serde_json::Value::Object(members) => {
            let mut sorted: Vec<_> = std::mem::take(members).into_iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            sorted.iter_mut().for_each(|(_, v)| sort_members(v));
            members.extend(sorted);
        }
        _ => {}
    }
}

fn unify_numbers(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(n) => {
            if let Number::Float(x) = Number::of_json(n) {
                // Doubles without fraction within i64: the cast is exact.
                if x.fract() == 0.0 && x.abs() < 9.0e18 {
                    *value = (x as i64).into();
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(unify_numbers),
        serde_json::Value::Object(members) => members.values_mut().for_each(unify_numbers),
        _ => {}
    }
}

impl Fold for Distinct {
    type Config = OfField;
    type Acc = BTreeSet<String>;
    type Columns<'a> = Strings<'a>;

    fn open(config: OfField) -> Result<Self, String> {
        Ok(Distinct(Wanted::of(&Some(pointer(config.field)?))))
    }

    fn read(&self, descriptor: &mut Descriptor) {
        self.0.need_json(descriptor);
    }

    fn columns<'a>(&self, batch: &'a Batch) -> Strings<'a> {
        Strings::of(&self.0, batch, 0)
    }

    fn init(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn add(
        &self,
        acc: &mut BTreeSet<String>,
        columns: &Strings<'_>,
        row: usize,
    ) -> Result<(), Reject> {
        let value = columns.json(row)?;
        if value != "null" {
            acc.insert(canonical(&value)?);
        }
        Ok(())
    }

    fn merge(&self, acc: &mut BTreeSet<String>, later: BTreeSet<String>) -> Result<(), Reject> {
        acc.extend(later);
        Ok(())
    }

    fn finish(&self, acc: BTreeSet<String>) -> String {
        acc.len().to_string()
    }
}

/// Config of `top`.
#[config]
pub struct TopConfig {
    /// How many
    n: u32,
    /// JSON pointer of the number that orders
    by: String,
    /// JSON pointer of the value to keep; without it, the whole value
    field: Option<String>,
}

/// The values with the largest numbers.
pub struct Top {
    n: usize,
    by: String,
    wanted: Wanted,
}

/// More would make accumulators that are copied with each batch too large.
const TOP_MAX: u32 = 10_000;

impl Top {
    fn insert(
        &self,
        acc: &mut Vec<(Number, String)>,
        number: Number,
        value: impl FnOnce() -> String,
    ) {
        // Behind all that are as large: ties stay in order of arrival.
        let at = acc.partition_point(|(other, _)| other.order(number).is_ge());
        if at < self.n {
            acc.truncate(self.n - 1);
            acc.insert(at, (number, value()));
        }
    }
}

impl Fold for Top {
    type Config = TopConfig;
    type Acc = Vec<(Number, String)>;
    type Columns<'a> = (Numbers<'a>, Strings<'a>);
    const ORDER_DEPENDENT: bool = true;

    fn open(config: TopConfig) -> Result<Self, String> {
        if config.n == 0 || config.n > TOP_MAX {
            return Err(format!("n is 1 to {TOP_MAX}"));
        }
        let wanted = Wanted::of(&Some(pointer(config.field)?));
        Ok(Top {
            n: config.n as usize,
            by: pointer(Some(config.by))?,
            wanted,
        })
    }

    fn read(&self, descriptor: &mut Descriptor) {
        descriptor
            .fields
            .extend(specs(&self.by, OnBad::Reject, OnBad::Reject));
        self.wanted.need_json(descriptor);
    }

    fn columns<'a>(&self, batch: &'a Batch) -> (Numbers<'a>, Strings<'a>) {
        (Numbers::of(batch, 0), Strings::of(&self.wanted, batch, 2))
    }

    fn init(&self) -> Vec<(Number, String)> {
        Vec::new()
    }

    fn add(
        &self,
        acc: &mut Vec<(Number, String)>,
        (numbers, values): &(Numbers<'_>, Strings<'_>),
        row: usize,
    ) -> Result<(), Reject> {
        let number = numbers
            .get(row)
            .ok_or_else(|| reject(format!("{} is null", self.by)))?;
        let value = values.json(row)?;
        self.insert(acc, number, || value.into_owned());
        Ok(())
    }

    fn merge(
        &self,
        acc: &mut Vec<(Number, String)>,
        later: Vec<(Number, String)>,
    ) -> Result<(), Reject> {
        for (number, value) in later {
            self.insert(acc, number, || value);
        }
        Ok(())
    }

    fn finish(&self, acc: Vec<(Number, String)>) -> String {
        let values: Vec<&str> = acc.iter().map(|(_, value)| value.as_str()).collect();
        format!("[{}]", values.join(","))
    }
}

macro_rules! function {
    ($ident:ident, $fold:ty, $config:ty, $doc:literal) => {
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
                schema: <$config>::schema,
                open: fold::open::<$fold>,
            };
        }
    };
}

function!(first, End<false>, OfField, "the first value of a field");
function!(last, End<true>, OfField, "the last value of a field");
function!(
    collect,
    Collect,
    OfField,
    "all values of a field as an array, in order of arrival"
);
function!(
    distinct,
    Distinct,
    OfField,
    "how many different values a field has, exactly"
);
function!(
    top,
    Top,
    TopConfig,
    "the values with the n largest numbers, descending"
);
