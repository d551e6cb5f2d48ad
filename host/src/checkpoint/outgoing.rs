//! Files of state on their way out: entries as they stand in their buffer, and the foot, which tells the checksum of what
//! was handed out before it. So each byte is looked at once, for its checksum and for the disk, and the first are on their
//! way before the last are looked at.

use std::io;

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::state::{Binding, foot, foot_bytes};
use crate::state::{Bytes, Hear, StateBuffer};

/// A file that is read once, from the front.
pub struct Outgoing<'a> {
    entries: &'a StateBuffer,
    binding: &'a Binding<'a>,
    told: Mutex<Told>,
}

/// What was handed out.
struct Told {
    hash: Xxh3,
    /// Bytes of entries.
    entries: u64,
    /// What follows all entries, and the checksum of the file.
    foot: Option<(Vec<u8>, u64)>,
}

impl std::fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("binding", self.binding)
            .finish_non_exhaustive()
    }
}

impl<'a> Outgoing<'a> {
    /// Of these entries.
    pub fn new(entries: &'a StateBuffer, binding: &'a Binding<'a>) -> Outgoing<'a> {
        let told = Told {
            hash: Xxh3::new(),
            entries: 0,
            foot: None,
        };
        Outgoing {
            entries,
            binding,
            told: Mutex::new(told),
        }
    }

    /// Takes note of entries that are handed out.
    fn tell(&self, at: u64, entries: &[u8]) -> io::Result<()> {
        let mut told = self.told.lock();
        if at != told.entries {
            return Err(io::Error::other("a file of state is read once, in order"));
        }
        told.hash.update(entries);
        told.entries += entries.len() as u64;
        Ok(())
    }

    /// What follows, once all entries were handed out.
    fn foot(&self) -> io::Result<Vec<u8>> {
        let mut told = self.told.lock();
        if told.entries != Bytes::len(self.entries) {
            return Err(io::Error::other("a file of state is read once, in order"));
        }
        let Told {
            hash, foot: made, ..
        } = &mut *told;
        let make = || foot(hash.clone(), self.entries.entries(), self.binding);
        Ok(made.get_or_insert_with(make).0.clone())
    }
}

impl Bytes for Outgoing<'_> {
    fn len(&self) -> u64 {
        Bytes::len(self.entries) + foot_bytes(self.binding)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let before = Bytes::len(self.entries);
        let first = before.saturating_sub(at).min(into.len() as u64) as usize;
        let (first, rest) = into.split_at_mut(first);
        if !first.is_empty() {
            self.entries.read(at, first)?;
            self.tell(at, first)?;
        }
        if !rest.is_empty() {
            self.foot()?.read(at.max(before) - before, rest)?;
        }
        Ok(())
    }

    fn each_piece(&self, each: Hear<'_>) -> io::Result<()> {
        let mut at = 0;
        self.entries.each_piece(&mut |piece| {
            self.tell(at, piece)?;
            at += piece.len() as u64;
            each(piece)
        })?;
        each(&self.foot()?)
    }

    /// Known when all was handed out.
    fn sum(&self) -> Option<u64> {
        self.told.lock().foot.as_ref().map(|(_, sum)| *sum)
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::checkpoint::state::open;

    const BINDING: Binding<'_> = Binding {
        job: "job",
        run: "run",
        step: "counts",
        task: 3,
        epoch: 7,
        builds_on: None,
    };

    fn sample() -> StateBuffer {
        let mut buffer = StateBuffer::default();
        for n in 0..9 {
            buffer.set(n, |k| k.extend(b"key"), |v| v.extend([7; 30]));
        }
        buffer
    }

    fn check(file: &Outgoing<'_>, bytes: &[u8]) {
        assert_eq!(bytes.len() as u64, file.len());
        assert_eq!(file.sum(), Some(xxh3_64(bytes)));
        let entries = open(bytes, Some(&BINDING)).expect("a whole file");
        assert_eq!(&bytes[entries], file.entries.bytes());
    }

    #[test]
    fn pieces_make_up_the_file_whatever_their_size() {
        for buffer in [sample(), StateBuffer::default()] {
            let file = Outgoing::new(&buffer, &BINDING);
            let mut bytes = Vec::new();
            file.each_piece(&mut |piece| {
                assert_eq!(file.sum().is_some(), bytes.len() == buffer.bytes().len());
                bytes.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            check(&file, &bytes);
            for size in [1, 7, 64, bytes.len()] {
                let file = Outgoing::new(&buffer, &BINDING);
                let mut again = vec![0; bytes.len()];
                for (number, piece) in again.chunks_mut(size).enumerate() {
                    file.read((number * size) as u64, piece).unwrap();
                }
                check(&file, &again);
                assert_eq!(again, bytes, "{size}");
            }
        }
    }

    #[test]
    fn what_is_not_read_in_order_has_no_checksum() {
        let buffer = sample();
        let file = Outgoing::new(&buffer, &BINDING);
        let mut piece = [0; 10];
        file.read(0, &mut piece).unwrap();
        assert!(file.read(20, &mut piece).is_err(), "entries were left out");
        assert!(file.read(0, &mut piece).is_err(), "entries came twice");
        assert!(file.read(file.len() - 10, &mut piece).is_err());
        assert_eq!(file.sum(), None);
    }
}
