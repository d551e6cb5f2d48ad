//! A descriptor as a guest answers it becomes the host's `Descriptor`, or the reason why not.

use std::sync::Arc;

use super::types::{
    Columns, DescriptorOut, EmitSpecOut, FieldSpecOut, FunctionKindOut, FunctionOut, KindOut,
    OnBadOut, Traits,
};
use crate::plugin::limits;
use crate::plugin::{ColumnSet, Descriptor, FieldRead, FunctionInfo, FunctionKind, OnBad, Reads};
use crate::record::{EmitField, FieldSpec, Kind};

/// [a-z][a-z0-9-]{0,62}
pub fn is_name(name: &str) -> bool {
    name.len() <= limits::NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The function list, checked.
pub fn functions(answer: Vec<FunctionOut>) -> Result<Vec<FunctionInfo>, String> {
    if answer.is_empty() {
        return Err("it names no function".into());
    }
    if answer.len() > limits::FUNCTIONS_MAX {
        return Err(format!(
            "it names {} functions, more than {}",
            answer.len(),
            limits::FUNCTIONS_MAX
        ));
    }
    let mut functions: Vec<FunctionInfo> = Vec::with_capacity(answer.len());
    for f in answer {
        if !is_name(&f.name) {
            return Err(format!(
                "function name {:?} is not [a-z][a-z0-9-]{{0,62}}",
                short(&f.name)
            ));
        }
        if functions.iter().any(|known| known.name == f.name) {
            return Err(format!("it names the function {} twice", f.name));
        }
        if f.doc.len() > limits::DOC_BYTES_MAX || f.config_schema.len() > limits::SCHEMA_BYTES_MAX {
            return Err(format!(
                "function {}: doc of {} bytes (at most {}), config schema of {} bytes (at most {})",
                f.name,
                f.doc.len(),
                limits::DOC_BYTES_MAX,
                f.config_schema.len(),
                limits::SCHEMA_BYTES_MAX
            ));
        }
        if !f.config_schema.is_empty() {
            serde_json::from_str::<serde::de::IgnoredAny>(&f.config_schema)
                .map_err(|e| format!("function {}: its config schema is not JSON: {e}", f.name))?;
        }
        let kind = match f.kind {
            FunctionKindOut::Transform => FunctionKind::Transform,
            FunctionKindOut::Filter => FunctionKind::Filter,
            FunctionKindOut::Aggregate => FunctionKind::Aggregate,
            FunctionKindOut::Join => FunctionKind::Join,
            FunctionKindOut::Process => FunctionKind::Process,
        };
        functions.push(FunctionInfo {
            name: f.name,
            kind,
            doc: f.doc,
            config_schema: f.config_schema,
        });
    }
    Ok(functions)
}

/// What `open` answered, checked for a function of this kind.
pub fn descriptor(answer: DescriptorOut, kind: FunctionKind) -> Result<Descriptor, String> {
    let reads = reads("fields", answer.needs, answer.fields)?;
    let right = self::reads("right-fields", answer.right_needs, answer.right_fields)?;
    if kind != FunctionKind::Join && right != Reads::default() {
        return Err(format!("it reads a right side, and is a {}", kind.name()));
    }
    let emits = emits(answer.emits)?;
    if kind == FunctionKind::Filter && !emits.is_empty() {
        return Err("a filter emits nothing, yet it names fields to emit".into());
    }
    if answer.ports.len() > limits::PORTS_MAX {
        return Err(format!(
            "it names {} ports, more than {}",
            answer.ports.len(),
            limits::PORTS_MAX
        ));
    }
    if !answer.ports.is_empty() && !matches!(kind, FunctionKind::Transform | FunctionKind::Process)
    {
        return Err(format!(
            "it names ports, and is a {} (only transform and process have them)",
            kind.name()
        ));
    }
    for (i, port) in answer.ports.iter().enumerate() {
        if !is_name(port) || port == "errors" || port == "late" {
            return Err(format!(
                "port name {:?} is not [a-z][a-z0-9-]{{0,62}}, or is errors or late",
                short(port)
            ));
        }
        if answer.ports[..i].contains(port) {
            return Err(format!("it names the port {port} twice"));
        }
    }
    let has = |flag: Traits| answer.traits.contains(flag);
    let sets = has(Traits::SETS_KEYS) || has(Traits::SETS_TIMESTAMPS);
    if sets && !matches!(kind, FunctionKind::Transform | FunctionKind::Process) {
        return Err(format!(
            "it says that it sets keys or timestamps, and is a {}",
            kind.name()
        ));
    }
    if (has(Traits::MERGEABLE) || has(Traits::ORDER_DEPENDENT)) && kind != FunctionKind::Aggregate {
        return Err(format!(
            "it says mergeable or order-dependent, and is a {}",
            kind.name()
        ));
    }
    Ok(Descriptor {
        reads,
        right,
        emits: emits.into(),
        sets_keys: has(Traits::SETS_KEYS),
        sets_timestamps: has(Traits::SETS_TIMESTAMPS),
        mergeable: has(Traits::MERGEABLE),
        order_dependent: has(Traits::ORDER_DEPENDENT),
        ports: answer.ports,
        state_version: answer.state_version,
        max_records: answer.max_records,
    })
}

fn reads(what: &str, needs: Columns, fields: Vec<FieldSpecOut>) -> Result<Reads, String> {
    if fields.len() > limits::FIELDS_MAX {
        return Err(format!(
            "{what}: {} fields, more than {}",
            fields.len(),
            limits::FIELDS_MAX
        ));
    }
    let columns = ColumnSet {
        values: needs.contains(Columns::VALUES),
        keys: needs.contains(Columns::KEYS),
        timestamps: needs.contains(Columns::TIMESTAMPS),
    };
    let fields = fields
        .into_iter()
        .map(|f| {
            if !is_pointer(&f.pointer) {
                return Err(format!(
                    "{what}: {:?} is not a JSON pointer (RFC 6901)",
                    short(&f.pointer)
                ));
            }
            Ok(FieldRead {
                spec: FieldSpec {
                    pointer: Arc::from(f.pointer),
                    kind: kind_of(f.kind),
                },
                missing: on_bad(f.missing),
                mismatch: on_bad(f.mismatch),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Reads { columns, fields })
}

fn emits(specs: Vec<EmitSpecOut>) -> Result<Vec<EmitField>, String> {
    if specs.len() > limits::FIELDS_MAX {
        return Err(format!(
            "emits: {} fields, more than {}",
            specs.len(),
            limits::FIELDS_MAX
        ));
    }
    let mut emits: Vec<EmitField> = Vec::with_capacity(specs.len());
    for e in specs {
        if e.name.len() > limits::POINTER_BYTES_MAX {
            return Err(format!(
                "emits: a name of {} bytes, more than {}",
                e.name.len(),
                limits::POINTER_BYTES_MAX
            ));
        }
        if emits.iter().any(|known| *known.name == *e.name) {
            return Err(format!("emits: the member {:?} twice", short(&e.name)));
        }
        emits.push(EmitField {
            name: Arc::from(e.name),
            kind: kind_of(e.kind),
        });
    }
    Ok(emits)
}

/// RFC 6901: "" or segments each begun by /, with ~ only in ~0 and ~1.
fn is_pointer(pointer: &str) -> bool {
    let escapes = |p: &str| {
        p.split('~')
            .skip(1)
            .all(|rest| rest.starts_with(['0', '1']))
    };
    pointer.len() <= limits::POINTER_BYTES_MAX
        && (pointer.is_empty() || pointer.starts_with('/'))
        && escapes(pointer)
}

fn kind_of(kind: KindOut) -> Kind {
    match kind {
        KindOut::Text => Kind::Text,
        KindOut::Ints => Kind::Ints,
        KindOut::Floats => Kind::Floats,
        KindOut::Bools => Kind::Bools,
        KindOut::Json => Kind::Json,
    }
}

fn on_bad(policy: OnBadOut) -> OnBad {
    match policy {
        OnBadOut::Null => OnBad::Null,
        OnBadOut::Reject => OnBad::Reject,
        OnBadOut::Fail => OnBad::Fail,
    }
}

fn short(text: &str) -> &str {
    crate::plugin::host::cut(text, 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_pointers_follow_the_contract() {
        assert!(is_name("a") && is_name("split-words2"));
        assert!(!is_name("") && !is_name("A") && !is_name("1a") && !is_name(&"a".repeat(64)));
        assert!(is_pointer("") && is_pointer("/a/b~0c~1"));
        assert!(!is_pointer("a") && !is_pointer("/a~") && !is_pointer("/~2"));
    }
}
