//! Reading values: fields, key and timestamp of all rows, in one pass over the documents.

use std::sync::Arc;

use super::fields::FieldBuilder;
use super::found::Found;
use super::json::{self, Malformed, Visit};
use super::keys::KeyBuilder;
use super::pointer::{NOWHERE, Tree};
use super::timestamps::TimestampBuilder;
use super::{csv, row, whole};
use crate::config::plan::{KeyPointers, TimestampSpec};
use crate::plugin::{RejectKind, Rejected};
use crate::record::{Batch, FieldSpec, Form};

/// What is to be read of values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Fields, for `Value::extracted`.
    pub fields: &'a [FieldSpec],
    /// The key, for `Batch::keys`.
    pub key: Option<&'a KeyPointers>,
    /// The timestamp, for `Batch::timestamps`.
    pub timestamp: Option<&'a TimestampSpec>,
    /// Values must be JSON documents: rows that are not are rejected.
    pub documents: bool,
}

/// Reads what is wanted and not there yet, in one pass. Keys and timestamps are set; rows whose key or timestamp
/// cannot be read (null there), or which are no documents, come back as rejected, each once, in order. A bad
/// field rejects no row: it is an issue of the field. Where all values were found to be documents, the batch says so.
///
/// # Panics
/// If values are asked for that the plan had left out before.
pub fn decode(batch: &mut Batch, wanted: &Wanted<'_>) -> Vec<Rejected> {
    let mut specs: Vec<&FieldSpec> = Vec::new();
    for spec in wanted.fields {
        if batch.value.extracted(spec).is_some() || specs.contains(&spec) {
            continue;
        }
        let there = if let Form::Row(rows) = &batch.value.form {
            row::by_reference(rows, spec)
        } else {
            None
        };
        match there {
            Some(field) => batch.value.extracted.push((spec.clone(), field)),
            None => specs.push(spec),
        }
    }
    let check = wanted.documents && matches!(batch.value.form, Form::Bytes(_));
    if specs.is_empty() && wanted.key.is_none() && wanted.timestamp.is_none() && !check {
        return Vec::new();
    }
    if let Form::Bytes(values) = &batch.value.form
        && wanted.key.is_none()
        && wanted.timestamp.is_none()
        && let Some(read) = whole::numbers(values, &specs)
    {
        let read = specs.into_iter().cloned().zip(read);
        batch.value.extracted.extend(read);
        batch.value.documents |= check;
        return Vec::new();
    }
    let mut pointers: Vec<&str> = specs.iter().map(|spec| &*spec.pointer).collect();
    let keys_at = pointers.len();
    match wanted.key {
        None => {}
        Some(KeyPointers::One(pointer)) => pointers.push(pointer),
        Some(KeyPointers::Many(all)) => pointers.extend(all.iter().map(|p| &**p)),
    }
    let timestamp_at = pointers.len();
    pointers.extend(wanted.timestamp.map(|spec| &*spec.pointer));
    let (tree, slots) = Tree::of(pointers);

    let mut outputs = Outputs {
        fields: specs
            .iter()
            .zip(&slots)
            .map(|(spec, &slot)| (slot, FieldBuilder::new((*spec).clone(), batch.len)))
            .collect(),
        key: wanted
            .key
            .map(|key| KeyBuilder::new(key, slots[keys_at..timestamp_at].to_vec(), batch.len)),
        timestamp: wanted
            .timestamp
            .map(|spec| TimestampBuilder::new(spec, slots[timestamp_at], batch.len)),
        documents: check,
        rejected: Vec::new(),
    };
    match &batch.value.form {
        Form::Null => {
            let mut nothing = vec![Found::Missing; tree.slots];
            tree.find_in_null(&mut nothing);
            (0..batch.len).for_each(|row| outputs.found(row, &nothing));
        }
        Form::Bytes(values) => json::visit(values, &tree, &mut outputs),
        Form::Row(rows) => row::visit(rows, batch.len, &tree, &mut outputs),
        Form::Csv(rows) => csv::visit(rows, &tree, &mut outputs),
        Form::Pruned => panic!(
            "the plan left the values out before {} was read",
            outputs.first_pointer()
        ),
    }
    debug_assert!(outputs.rejected.is_sorted_by_key(|r| r.row));
    batch.value.documents |= check && outputs.rejected.is_empty();
    batch
        .value
        .extracted
        .extend(outputs.fields.into_iter().map(|(_, field)| field.finish()));
    if let Some(key) = outputs.key {
        batch.keys = Some(key.finish());
    }
    if let Some(timestamp) = outputs.timestamp {
        batch.timestamps = Some(timestamp.finish());
    }
    outputs.rejected
}

/// Everything that is made in one pass.
struct Outputs<'w> {
    fields: Vec<(usize, FieldBuilder)>,
    key: Option<KeyBuilder<'w>>,
    timestamp: Option<TimestampBuilder<'w>>,
    documents: bool,
    rejected: Vec<Rejected>,
}

/// What is at a slot.
#[inline]
pub(crate) fn at<'a>(found: &[Found<'a>], slot: usize) -> Found<'a> {
    if slot == NOWHERE {
        Found::Missing
    } else {
        found[slot]
    }
}

impl Outputs<'_> {
    fn first_pointer(&self) -> String {
        self.fields.first().map_or_else(
            || "the key or timestamp".into(),
            |(_, f)| format!("field {:?}", f.spec.pointer),
        )
    }

    fn reject(&mut self, row: usize, message: String) {
        self.rejected.push(Rejected {
            row: row as u32,
            kind: RejectKind::Field,
            message,
            log: Vec::new(),
        });
    }
}

impl Visit for Outputs<'_> {
    #[inline]
    fn found(&mut self, row: usize, found: &[Found<'_>]) {
        for (slot, field) in &mut self.fields {
            field.push(row, at(found, *slot));
        }
        let bad_key = self.key.as_mut().and_then(|key| key.push(found).err());
        let bad_time = self
            .timestamp
            .as_mut()
            .and_then(|timestamp| timestamp.push(found).err());
        if let Some(message) = bad_key.or(bad_time) {
            self.reject(row, message);
        }
    }

    fn malformed(&mut self, row: usize, why: &Malformed) {
        let message: Arc<str> = why.0.as_str().into();
        for (_, field) in &mut self.fields {
            field.push_malformed(row, &message);
        }
        if let Some(key) = &mut self.key {
            key.push_null();
        }
        if let Some(timestamp) = &mut self.timestamp {
            timestamp.push_null();
        }
        if self.documents || self.key.is_some() || self.timestamp.is_some() {
            self.reject(row, why.0.clone());
        }
    }
}

/// Whether the values are all null, so that nothing can be read of them.
pub(crate) fn null_rows(nulls: Option<&arrow_buffer::NullBuffer>) -> impl Fn(usize) -> bool {
    let nulls = nulls.filter(|n| n.null_count() > 0).cloned();
    move |row| nulls.as_ref().is_some_and(|n| n.is_null(row))
}
