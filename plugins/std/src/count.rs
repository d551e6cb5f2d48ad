//! `count`: the shortest way from a record to a result, so it works on the accumulators' bytes in place.

use wasmill_plugin::contract::{
    Batch, BytesCol, Descriptor, Failure, FunctionKind, Payload, Traits, Windows,
};
use wasmill_plugin::{Export, Function, Instance, NoConfig, Schema, config, host};

/// Function `count`.
#[expect(
    non_camel_case_types,
    reason = "a function's type is named like the function"
)]
pub enum count {}

impl Export for count {
    const FUNCTION: Function = Function {
        name: "count",
        kind: FunctionKind::Aggregate,
        doc: "how many records",
        schema: NoConfig::schema,
        open: |config| {
            config::read::<NoConfig>(config)?;
            Ok(Box::new(Counting))
        },
    };
}

struct Counting;

/// The accumulators as 8-byte integers, in place.
fn counts(accs: &mut BytesCol) -> Result<&mut [[u8; 8]], Failure> {
    let groups = accs.len();
    let (counts, rest) = accs.data.as_chunks_mut::<8>();
    if counts.len() != groups || !rest.is_empty() {
        return Err(Failure::new("an accumulator of `count` has 8 bytes"));
    }
    Ok(counts)
}

impl Instance for Counting {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            traits: Traits::MERGEABLE,
            ..Descriptor::default()
        }
    }

    fn init(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(0i64.to_le_bytes().into())
    }

    fn add(
        &mut self,
        _: Batch,
        _: Option<Vec<u32>>,
        groups: Vec<u32>,
        mut accs: BytesCol,
    ) -> Result<BytesCol, Failure> {
        let counts = counts(&mut accs)?;
        for group in groups {
            let count = &mut counts[group as usize];
            *count = (i64::from_le_bytes(*count) + 1).to_le_bytes();
        }
        Ok(accs)
    }

    fn merge(&mut self, mut left: BytesCol, mut right: BytesCol) -> Result<BytesCol, Failure> {
        let right = counts(&mut right)?;
        for (left, right) in counts(&mut left)?.iter_mut().zip(right) {
            *left = (i64::from_le_bytes(*left) + i64::from_le_bytes(*right)).to_le_bytes();
        }
        Ok(left)
    }

    fn finish(&mut self, _: BytesCol, _: Windows, mut accs: BytesCol) -> Result<(), Failure> {
        use std::io::Write;
        let mut values = BytesCol::with_capacity(accs.len(), accs.len() * 4);
        for count in counts(&mut accs)? {
            write!(values.data, "{}", i64::from_le_bytes(*count)).expect("writing to memory works");
            values.end_string();
        }
        host::emit(None, &Payload::Bytes(values), None, None);
        Ok(())
    }
}
