//! Keys from values: a string is its text, any other value its compact JSON; several pointers make a JSON
//! array. Null or absent (also one part) rejects the record.

use arrow_array::BinaryArray;

use super::decode::at;
use super::found::{Found, unescape};
use super::strings::Strings;
use super::write;
use crate::config::plan::KeyPointers;

/// Builds the keys of a batch.
#[derive(Debug)]
pub(crate) struct KeyBuilder<'p> {
    pointers: &'p KeyPointers,
    slots: Vec<usize>,
    keys: Strings,
}

impl<'p> KeyBuilder<'p> {
    /// For so many rows; the parts are at `slots`.
    pub fn new(pointers: &'p KeyPointers, slots: Vec<usize>, rows: usize) -> KeyBuilder<'p> {
        KeyBuilder {
            pointers,
            slots,
            keys: Strings::new(rows),
        }
    }

    /// The next row's key, or why it has none (then it is null).
    #[inline]
    pub fn push(&mut self, found: &[Found<'_>]) -> Result<(), String> {
        match self.pointers {
            KeyPointers::One(_) => self.push_one(at(found, self.slots[0])),
            KeyPointers::Many(_) => self.push_many(found),
        }
    }

    #[inline]
    fn push_one(&mut self, found: Found<'_>) -> Result<(), String> {
        match found {
            Found::Text(text) | Found::Cell(text, _) => self.keys.push(text.as_bytes()),
            Found::Int(_, token) if !token.is_empty() => self.keys.push(token.as_bytes()),
            _ => return self.push_other(found),
        }
        Ok(())
    }

    #[cold]
    fn push_other(&mut self, found: Found<'_>) -> Result<(), String> {
        if let Some(why) = self.refusal(0, found) {
            self.keys.push_null();
            return Err(why);
        }
        match found {
            Found::Escaped(json) => match unescape(json) {
                Some(text) => self.keys.push(text.as_bytes()),
                None => {
                    self.keys.push_null();
                    return Err(format!(
                        "key {}: {} is not text",
                        self.pointer(0),
                        found.describe()
                    ));
                }
            },
            _ => {
                write::canonical(&mut self.keys.data, found);
                self.keys.end();
            }
        }
        Ok(())
    }

    fn push_many(&mut self, found: &[Found<'_>]) -> Result<(), String> {
        let refusal = self
            .slots
            .iter()
            .enumerate()
            .find_map(|(part, &slot)| self.refusal(part, at(found, slot)));
        if let Some(why) = refusal {
            self.keys.push_null();
            return Err(why);
        }
        for (part, &slot) in self.slots.iter().enumerate() {
            self.keys.data.push(if part == 0 { b'[' } else { b',' });
            write::canonical(&mut self.keys.data, at(found, slot));
        }
        self.keys.data.push(b']');
        self.keys.end();
        Ok(())
    }

    fn refusal(&self, part: usize, found: Found<'_>) -> Option<String> {
        let what = match found {
            Found::Missing => "is missing",
            Found::Null => "is null",
            _ => return None,
        };
        Some(format!("key {}: {what}", self.pointer(part)))
    }

    fn pointer(&self, part: usize) -> &str {
        match self.pointers {
            KeyPointers::One(pointer) => pointer,
            KeyPointers::Many(all) => &all[part],
        }
    }

    /// The next row has no key.
    pub fn push_null(&mut self) {
        self.keys.push_null();
    }

    /// The column.
    pub fn finish(self) -> BinaryArray {
        self.keys.into_binary()
    }
}
