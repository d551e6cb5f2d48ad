//! `pair`: both sides of a join in one object.

use std::borrow::Cow;

use wasmill_plugin::contract::{
    Batch, BytesCol, Columns, Descriptor, Failure, FunctionKind, NO_ROW, Nulls, Payload,
};
use wasmill_plugin::{Export, Function, Instance, NoConfig, Reject, Schema, config, host};

use crate::field::json_of;

/// Function `pair`.
#[expect(
    non_camel_case_types,
    reason = "a function's type is named like the function"
)]
pub enum pair {}

impl Export for pair {
    const FUNCTION: Function = Function {
        name: "pair",
        kind: FunctionKind::Join,
        doc: "{\"left\": .., \"right\": ..}, null for an absent side",
        schema: NoConfig::schema,
        open: |config| {
            config::read::<NoConfig>(config)?;
            Ok(Box::new(Pairing))
        },
    };
}

struct Pairing;

/// One side's values.
struct Side {
    values: BytesCol,
    nulls: Option<Vec<u8>>,
}

impl Side {
    fn of(batch: Batch, nulls: Nulls) -> Side {
        Side {
            values: batch.values.unwrap_or_default(),
            nulls: nulls.values,
        }
    }

    fn json(&self, row: u32) -> Result<Cow<'_, str>, Reject> {
        if row == NO_ROW
            || self
                .nulls
                .as_ref()
                .is_some_and(|nulls| nulls[row as usize] != 0)
        {
            return Ok(Cow::Borrowed("null"));
        }
        json_of(self.values.get(row as usize))
    }
}

impl Instance for Pairing {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            needs: Columns::VALUES,
            right_needs: Columns::VALUES,
            ..Descriptor::default()
        }
    }

    fn join(
        &mut self,
        left: Batch,
        right: Batch,
        left_rows: Vec<u32>,
        right_rows: Vec<u32>,
    ) -> Result<(), Failure> {
        let (left, right) = (
            Side::of(left, host::input_nulls()),
            Side::of(right, host::right_nulls()),
        );
        let mut values = BytesCol::with_capacity(left_rows.len(), left_rows.len() * 64);
        let mut source = Vec::with_capacity(left_rows.len());
        for (i, (l, r)) in left_rows.iter().zip(&right_rows).enumerate() {
            match (left.json(*l), right.json(*r)) {
                (Ok(l), Ok(r)) => {
                    for part in ["{\"left\":", &l, ",\"right\":", &r, "}"] {
                        values.data.extend_from_slice(part.as_bytes());
                    }
                    values.end_string();
                    source.push(i as u32);
                }
                (Err(reason), _) | (_, Err(reason)) => host::reject(i as u32, reason.reason()),
            }
        }
        host::emit(Some(&source), &Payload::Bytes(values), None, None);
        Ok(())
    }
}
