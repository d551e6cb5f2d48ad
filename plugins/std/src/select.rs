//! `select`: an object of some fields. They are handed on by reference, so a call costs the same for any
//! number of records.

use wasmill_plugin::contract::{
    Batch, Column, Descriptor, EmitSpec, Failure, Field, FieldSpec, FunctionKind, Kind, OnBad,
    Payload,
};
use wasmill_plugin::{Export, Function, Instance, Schema, config, host};

use crate::numeric::pointer;

/// Config of `select`.
#[config]
pub struct SelectConfig {
    /// JSON pointers; their last names are the members of the object
    fields: Vec<String>,
}

/// Function `select`.
#[expect(
    non_camel_case_types,
    reason = "a function's type is named like the function"
)]
pub enum select {}

impl Export for select {
    const FUNCTION: Function = Function {
        name: "select",
        kind: FunctionKind::Transform,
        doc: "an object of the given fields",
        schema: SelectConfig::schema,
        open: |config| {
            let config = config::read::<SelectConfig>(config)?;
            let descriptor =
                descriptor(config).map_err(|e| Failure::new(format!("config: {e}")))?;
            Ok(Box::new(Selecting { descriptor }))
        },
    };
}

/// The last name of a pointer.
fn last_name(pointer: &str) -> Option<String> {
    let (_, last) = pointer.rsplit_once('/')?;
    Some(last.replace("~1", "/").replace("~0", "~"))
}

fn descriptor(config: SelectConfig) -> Result<Descriptor, String> {
    let mut descriptor = Descriptor::default();
    if config.fields.is_empty() {
        return Err("fields is empty".into());
    }
    for field in config.fields {
        let pointer = pointer(Some(field))?;
        let name = last_name(&pointer).ok_or("the whole value has no name to select it by")?;
        if descriptor.emits.iter().any(|e| e.name == name) {
            return Err(format!("two fields are named `{name}`"));
        }
        descriptor.emits.push(EmitSpec {
            name,
            kind: Kind::Json,
        });
        descriptor.fields.push(FieldSpec {
            pointer,
            kind: Kind::Json,
            missing: OnBad::Reject,
            mismatch: OnBad::Reject,
        });
    }
    Ok(descriptor)
}

struct Selecting {
    descriptor: Descriptor,
}

impl Instance for Selecting {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn transform(&mut self, input: Batch) -> Result<(), Failure> {
        let fields = (0..input.fields.len() as u32).map(|i| Field {
            valid: None,
            data: Column::Input(i),
        });
        host::emit(None, &Payload::Fields(fields.collect()), None, None);
        Ok(())
    }
}
