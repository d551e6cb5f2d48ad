//! `count`: the shortest way from a record to a result, so it works on the accumulators' bytes in place.

use wasmill_plugin::contract::{
    Batch, BytesCol, Descriptor, Failure, FunctionKind, Payload, Traits, Windows,
};
use wasmill_plugin::{Export, Function, Instance, NoConfig, Schema, config, each_row, host};

use crate::measure::chunks;
use crate::number::Number;

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
        let counts = chunks::<8>(&mut accs)?;
        each_row(groups.len(), |row| {
            let count = &mut counts[groups[row] as usize];
            *count = (i64::from_le_bytes(*count) + 1).to_le_bytes();
        });
        Ok(accs)
    }

    fn merge(&mut self, mut left: BytesCol, mut right: BytesCol) -> Result<BytesCol, Failure> {
        let right = chunks::<8>(&mut right)?;
        for (left, right) in chunks::<8>(&mut left)?.iter_mut().zip(right) {
            *left = (i64::from_le_bytes(*left) + i64::from_le_bytes(*right)).to_le_bytes();
        }
        Ok(left)
    }

    fn finish(&mut self, _: BytesCol, _: Windows, mut accs: BytesCol) -> Result<(), Failure> {
        let mut values = BytesCol::with_capacity(accs.len(), accs.len() * 4);
        for count in chunks::<8>(&mut accs)? {
            Number::Int(i64::from_le_bytes(*count)).write_json(&mut values.data);
            values.end_string();
        }
        host::emit(None, &Payload::Bytes(values), None, None);
        Ok(())
    }
}
