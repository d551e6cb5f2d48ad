//! Files of state: entries of one step, one after the other.
//!
//! Layout, all integers little-endian; must stay stable:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `WMS1` |
//! | 8 | number of entries |
//! | per entry: 2, 4, 4, n, m | key group, n, m, the entry's key, its value |
//! | 8 | xxh3-64 of all before |

use crate::step::StateEntry;

const MAGIC: &[u8; 4] = b"WMS1";

/// Writes entries; those without value (deletions) are left out: this is a whole base.
#[derive(Debug)]
pub struct StateWriter {
    bytes: Vec<u8>,
    entries: u64,
}

impl Default for StateWriter {
    fn default() -> StateWriter {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(0u64.to_le_bytes());
        StateWriter { bytes, entries: 0 }
    }
}

impl StateWriter {
    /// Appends an entry.
    pub fn push(&mut self, entry: &StateEntry) {
        let Some(value) = &entry.value else { return };
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len())
                .expect("keys and values are bounded far below 4 GiB")
                .to_le_bytes()
        };
        self.bytes.extend(entry.key_group.to_le_bytes());
        self.bytes.extend(length(&entry.key));
        self.bytes.extend(length(value));
        self.bytes.extend(&entry.key);
        self.bytes.extend(value);
        self.entries += 1;
    }

    /// How many so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The file's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[4..12].copy_from_slice(&self.entries.to_le_bytes());
        let sum = xxhash_rust::xxh3::xxh3_64(&self.bytes);
        self.bytes.extend(sum.to_le_bytes());
        self.bytes
    }
}

/// Reads a file of state, entry by entry. The error says what is wrong with the file.
pub fn read(
    bytes: &[u8],
    each: &mut dyn FnMut(StateEntry) -> Result<(), String>,
) -> Result<(), String> {
    let body = bytes
        .len()
        .checked_sub(8)
        .filter(|&n| n >= 12)
        .ok_or("it is too short")?;
    if &bytes[..4] != MAGIC {
        return Err("it does not begin like a file of state".into());
    }
    let (body, sum) = bytes.split_at(body);
    if xxhash_rust::xxh3::xxh3_64(body).to_le_bytes() != sum {
        return Err("its checksum does not match: it is torn or was changed".into());
    }
    let mut cursor = Cursor { bytes: &body[4..] };
    let count = u64::from_le_bytes(cursor.array()?);
    for _ in 0..count {
        let key_group = u16::from_le_bytes(cursor.array()?);
        let key = u32::from_le_bytes(cursor.array()?) as usize;
        let value = u32::from_le_bytes(cursor.array()?) as usize;
        let key = cursor.take(key)?.to_vec();
        let value = Some(cursor.take(value)?.to_vec());
        each(StateEntry {
            key_group,
            key,
            value,
        })?;
    }
    if cursor.bytes.is_empty() {
        Ok(())
    } else {
        Err("there is something after its last entry".into())
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self
            .bytes
            .split_at_checked(n)
            .ok_or("an entry reaches past its end")?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("take gives as many as asked for"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[StateEntry]) -> Vec<u8> {
        let mut writer = StateWriter::default();
        entries.iter().for_each(|e| writer.push(e));
        writer.finish()
    }

    fn entries(bytes: &[u8]) -> Result<Vec<StateEntry>, String> {
        let mut all = Vec::new();
        read(bytes, &mut |e| {
            all.push(e);
            Ok(())
        })?;
        Ok(all)
    }

    fn sample() -> Vec<StateEntry> {
        let entry = |key_group, key: &[u8], value: &[u8]| StateEntry {
            key_group,
            key: key.to_vec(),
            value: Some(value.to_vec()),
        };
        vec![
            entry(0, b"", b""),
            entry(127, b"key", b"a value"),
            entry(5, b"\xff", &[7; 300]),
        ]
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        assert_eq!(entries(&file(&sample())), Ok(sample()));
        assert_eq!(entries(&file(&[])), Ok(Vec::new()));
    }

    #[test]
    fn bytes_of_version_1_are_read_for_ever() {
        let fixture =
            b"WMS1\x01\0\0\0\0\0\0\0\x05\0\x01\0\0\0\x02\0\0\0kvv\xed\x81\x4f\x22\x00\x00\x00\x00";
        let written = file(&[StateEntry {
            key_group: 5,
            key: b"k".to_vec(),
            value: Some(b"vv".to_vec()),
        }]);
        assert_eq!(written[..written.len() - 8], fixture[..fixture.len() - 8]);
    }

    #[test]
    fn a_file_cut_anywhere_or_with_a_flipped_bit_is_refused() {
        let whole = file(&sample());
        for length in 0..whole.len() {
            assert!(entries(&whole[..length]).is_err(), "cut to {length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(entries(&broken).is_err(), "bit {bit}");
        }
    }
}
