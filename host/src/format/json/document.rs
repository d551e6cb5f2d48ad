//! One document, read with serde_json: slow and complete. It says what is right; the scanner is fast where
//! both agree.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{DEPTH_MAX, Malformed};
use crate::format::found::Found;
use crate::format::pointer::{Node, Tree, index};

/// A document whose grammar, encoding and depth were checked.
pub(crate) struct Document<'a>(&'a RawValue);

impl<'a> Document<'a> {
    /// Checks the bytes.
    pub fn of(bytes: &'a [u8]) -> Result<Document<'a>, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            Malformed(format!(
                "not JSON: invalid UTF-8 at byte {}",
                e.valid_up_to()
            ))
        })?;
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|e| Malformed(format!("not JSON: {e}")))?;
        if depth(bytes) > DEPTH_MAX {
            return Err(Malformed(format!(
                "not JSON that is read here: nested more than {DEPTH_MAX} deep"
            )));
        }
        Ok(Document(raw))
    }

    /// Finds what the tree asks for. Slots hold `Found::Missing` before.
    pub fn find(&self, tree: &Tree, found: &mut [Found<'a>]) -> Result<(), Malformed> {
        find(self.0.get(), tree, 0, found).map_err(|e| Malformed(format!("not JSON: {e}")))
    }
}

/// The deepest nesting of a valid document.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut i) = (0usize, 0, 0);
    while i < bytes.len() {
        match bytes[i] {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                i += 1;
                while bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
            }
            _ => {}
        }
        i += 1;
    }
    deepest
}

/// Finds what is asked for in the value `json`, which stands at `node`.
pub(crate) fn find<'a>(
    json: &'a str,
    tree: &Tree,
    node: usize,
    found: &mut [Found<'a>],
) -> serde_json::Result<()> {
    let here = &tree.nodes[node];
    found[here.slots.clone()].fill(Found::Missing);
    if let Some(slot) = here.slot {
        found[slot] = Found::of_json(json);
    }
    if here.children.is_empty() {
        Ok(())
    } else {
        find_below(json, tree, here, found)
    }
}

/// Finds what is asked for inside the value `json`, which stands at `node`.
pub(crate) fn find_below<'a>(
    json: &'a str,
    tree: &Tree,
    node: &Node,
    found: &mut [Found<'a>],
) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let walk = Walk { tree, node, found };
    match json.as_bytes().first() {
        Some(b'{') => reader.deserialize_map(walk),
        Some(b'[') => reader.deserialize_seq(walk),
        _ => Ok(()),
    }
}

struct Walk<'t, 'f, 'a> {
    tree: &'t Tree,
    node: &'t Node,
    found: &'f mut [Found<'a>],
}

impl<'a> Visitor<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object or array")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        use serde::de::Error;
        let children = &self.node.children;
        while let Some((key, value)) = map.next_entry::<&'a RawValue, &'a RawValue>()? {
            // A name with half a surrogate pair is no text: nobody can ask for it.
            let Ok(key) = serde_json::from_str::<String>(key.get()) else {
                continue;
            };
            if let Some((_, child)) = children.iter().find(|(name, _)| **name == *key) {
                find(value.get(), self.tree, *child, self.found).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        use serde::de::Error;
        let children = &self.node.children;
        let mut at = 0;
        while let Some(value) = seq.next_element::<&'a RawValue>()? {
            for (_, child) in children.iter().filter(|(name, _)| index(name) == Some(at)) {
                find(value.get(), self.tree, *child, self.found).map_err(A::Error::custom)?;
            }
            at += 1;
        }
        Ok(())
    }
}
