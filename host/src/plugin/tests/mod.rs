//! Plugins as fixtures in WAT (no tool-chain needed), and exact endings.

mod aggregate;
mod join;
mod load;
mod process;
mod rust;
mod transform;
mod wasi;

use std::sync::{Arc, OnceLock};

use arrow_array::{BinaryArray, Int64Array};

use super::*;
use crate::record::{Batch, Form, Value};

pub const PLAIN: &str = include_str!("../../../../tests/fixtures/plugins/plain.wat");
pub const LETTERS: &str = include_str!("../../../../tests/fixtures/plugins/letters.wat");
pub const TYPED: &str = include_str!("../../../../tests/fixtures/plugins/typed.wat");
pub const COUNTS: &str = include_str!("../../../../tests/fixtures/plugins/counts.wat");
pub const PAIRS: &str = include_str!("../../../../tests/fixtures/plugins/pairs.wat");
pub const STATES: &str = include_str!("../../../../tests/fixtures/plugins/states.wat");

/// One engine for all tests, without cache.
pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE
        .get_or_init(|| {
            Engine::new(EngineOptions {
                cache: CacheDir::Off,
                ..EngineOptions::new(Compiler::InProcess)
            })
            .unwrap()
        })
        .clone()
}

pub fn load(wat: &str) -> Plugin {
    load_with(wat, Limits::default())
}

pub fn load_with(wat: &str, limits: Limits) -> Plugin {
    engine()
        .load(
            wat.as_bytes(),
            &LoadOptions {
                name: "test".into(),
                limits,
            },
        )
        .unwrap()
}

pub fn tag() -> InstanceTag {
    InstanceTag {
        job: "job".into(),
        step: "step".into(),
        partition: 0,
    }
}

pub fn transform_of(plugin: &Plugin, function: &str) -> Box<dyn Transform> {
    let descriptor = plugin.open(function, "{}").unwrap();
    plugin
        .transform(function, "{}", &descriptor, tag())
        .unwrap()
}

pub fn values(values: &[&str]) -> Batch {
    Batch::of(
        values.len(),
        Value::new(Form::Bytes(BinaryArray::from_iter_values(values))),
    )
}

/// With keys k0, k1, … and timestamps 0, 1, …
pub fn records(all: &[&str]) -> Batch {
    let mut batch = values(all);
    batch.keys = Some(BinaryArray::from_iter_values(
        (0..all.len()).map(|i| format!("k{i}")),
    ));
    batch.timestamps = Some(Int64Array::from_iter_values(0..all.len() as i64));
    batch
}

pub fn bytes_of(batch: &Batch) -> BinaryArray {
    crate::format::value_bytes(&mut batch.clone())
}

pub fn texts(batch: &Batch) -> Vec<String> {
    bytes_of(batch)
        .iter()
        .map(|v| v.map_or("null".into(), |v| String::from_utf8_lossy(v).into_owned()))
        .collect()
}

pub fn keys(batch: &Batch) -> Vec<String> {
    let keys = batch.keys.as_ref().unwrap();
    keys.iter()
        .map(|k| k.map_or("null".into(), |k| String::from_utf8_lossy(k).into_owned()))
        .collect()
}

/// `row kind: message` of each.
pub fn words(rejected: &[Rejected]) -> Vec<String> {
    rejected
        .iter()
        .map(|r| format!("{} {}: {}", r.row, r.kind.name(), r.message))
        .collect()
}
