//! Looks into a checkpoint: what it has of a step, or of one key. Only reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::checkpoint::load::load_group;
use crate::checkpoint::store::Unread;
use crate::checkpoint::{CheckpointStore, Manifest};
use crate::keyed::key_of_entry;
use crate::state::{StateRef, StoredError, Wanted, replay_stored};
use crate::step::key_group;
use crate::{process, window};

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The checkpoint has no such step: what it has.
    #[error("it has no step {name:?} with state; it has: {}", known.join(", "))]
    NoStep {
        /// What was named.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A file is not whole, or cannot be read.
    #[error("{0}")]
    Unread(String),
}

impl From<StoredError> for InspectError {
    fn from(e: StoredError) -> InspectError {
        InspectError::Unread(match e {
            StoredError::Malformed(_) => {
                "a file of state has something in it that is no entry".into()
            }
            e => format!("a file of state: {e}"),
        })
    }
}

/// What a checkpoint has of a key in a step: an object an entry, as the kind of step has it. Reads the files
/// that tell of the key's group, a piece at a time.
pub fn state_of_key(
    store: &CheckpointStore,
    manifest: &Manifest,
    step: &str,
    key: &[u8],
) -> Result<Vec<Value>, InspectError> {
    let steps = &manifest.identity.steps;
    let node = steps.iter().find(|s| s.name == step);
    let has_files = manifest.files.iter().any(|f| f.step == step);
    if node.is_none() && !has_files {
        return Err(InspectError::NoStep {
            name: step.to_owned(),
            known: steps.iter().map(|s| s.name.clone()).collect(),
        });
    }
    let kind = node.map_or("", |s| s.kind.as_str());
    let group = key_group(key);
    let chains = load_group(store, manifest, step, group).map_err(|e| match e {
        Unread::Damaged(why) => InspectError::Unread(why),
        Unread::Failed(e) => InspectError::Unread(e.to_string()),
    })?;
    let mut found = Vec::new();
    for chain in &chains {
        let wanted = Wanted {
            groups: &|of| of == group,
            knows_names: false,
        };
        replay_stored::<InspectError>(&chain.parts, &wanted, &mut |entries| {
            for &entry in entries {
                found.extend(describe(kind, entry, key)?);
            }
            Ok(())
        })?;
    }
    found.sort_by_cached_key(Value::to_string);
    Ok(found)
}

/// An entry of the key; none: it is another key's.
fn describe(kind: &str, entry: StateRef<'_>, key: &[u8]) -> Result<Option<Value>, InspectError> {
    let unread = |e: String| InspectError::Unread(format!("an entry of state does not read: {e}"));
    if kind == "window" {
        let (of, value) =
            window::inspect::describe(entry, &shown).map_err(|e| unread(e.to_string()))?;
        return Ok((of == Some(key)).then_some(value));
    }
    if key_in(kind, entry.key) != Some(key) {
        return Ok(None);
    }
    Ok(Some(match kind {
        "process" => process::inspect::describe(entry, &shown).map_err(unread)?,
        _ => json!({ "entry": shown(entry.key), "value": shown(entry.value) }),
    }))
}

/// The key in an entry's name, as the kind of step has it there; none: the entry is nobody's, or of no key.
fn key_in<'a>(kind: &str, name: &'a [u8]) -> Option<&'a [u8]> {
    match (kind, name) {
        // A row of a join: side and number stand before the key.
        ("join", [b'r', _, rest @ ..]) => rest.get(8..),
        // A table's row, or a record that waits.
        ("lookup", [b't' | b'w', rest @ ..]) => key_of_entry(rest).flatten(),
        // One of those that wait: two numbers stand before the key.
        ("lookup", [b'a', rest @ ..]) => rest.get(16..).and_then(key_of_entry).flatten(),
        _ => key_of_entry(name).flatten(),
    }
}

/// Bytes as text where they are plain text, else in base 64.
fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => json!(text),
        _ => json!({ "base64": STANDARD.encode(bytes) }),
    }
}
