//! Entries in a block, one after the other: names without what they share with the name before.
//!
//! An entry: length shared with the name before, length of the rest, length of the value plus one (0: deleted), all
//! varints; the rest of the name; the value. The first name of a block stands whole.

/// Writes entries behind each other.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    pub bytes: Vec<u8>,
    last: Vec<u8>,
}

impl BlockWriter {
    /// Empties it.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.last.clear();
    }

    /// Appends an entry.
    pub fn push(&mut self, name: &[u8], value: Option<&[u8]>) {
        let pairs = self.last.iter().zip(name);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        put(&mut self.bytes, shared);
        put(&mut self.bytes, name.len() - shared);
        put(&mut self.bytes, value.map_or(0, |v| v.len() + 1));
        self.bytes.extend_from_slice(&name[shared..]);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.last.truncate(shared);
        self.last.extend_from_slice(&name[shared..]);
    }
}

fn put(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads entries of a block, in order.
#[derive(Debug, Default)]
pub(super) struct BlockReader {
    at: usize,
    /// Name of the entry.
    pub name: Vec<u8>,
    /// Where in the block its value is; none: deleted.
    pub value: Option<(usize, usize)>,
}

impl BlockReader {
    /// Begins a block.
    pub fn start(&mut self, at: usize) {
        self.at = at;
        self.name.clear();
    }

    /// Moves to the next entry of a block that ends at `end`; none: there is no more, or the bytes make no sense.
    #[inline]
    pub fn next(&mut self, bytes: &[u8], end: usize) -> Option<()> {
        if self.at >= end {
            return None;
        }
        let shared = self.varint(bytes)?;
        let rest = self.varint(bytes)?;
        let value = self.varint(bytes)?;
        let name = bytes.get(self.at..self.at.checked_add(rest)?)?;
        self.at += rest;
        self.name.truncate(shared);
        self.name.extend_from_slice(name);
        self.value = match value.checked_sub(1) {
            None => None,
            Some(len) => {
                let from = self.at;
                self.at = from.checked_add(len).filter(|at| *at <= end)?;
                Some((from, self.at))
            }
        };
        Some(())
    }

    #[inline]
    fn varint(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut n = 0usize;
        let mut shift = 0;
        loop {
            let byte = *bytes.get(self.at)?;
            self.at += 1;
            n |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
            shift += 7;
            if shift > 56 {
                return None;
            }
        }
    }
}
