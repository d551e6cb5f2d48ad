//! Files of state: entries of one step from one task, and whose they are.
//!
//! Layout, all integers little-endian; must stay stable:
//!
//! | bytes | what |
//! |---|---|
//! | any | entries (`state::StateBuffer`) |
//! | n | name of the step |
//! | 4 | n |
//! | 4 | number of the task |
//! | 8 | epoch at whose end it was taken |
//! | 8 | xxh3-64 of the job's name, a zero byte and the run |
//! | 8 | checksum of the file that it builds on; 0: it is a base |
//! | 8 | number of entries that it sets |
//! | 4 | `WMS2` |
//! | 8 | xxh3-64 of all before |
//!
//! The foot is behind the entries so that these are written where they stand, and nothing is copied. It makes a file
//! that was put in another's place be noticed, even if the manifest that names it says nothing wrong.
//!
//! Version 1 (read, not written any more): `WMS1`, the number of entries (8), the entries (likewise, without
//! deletions), the checksum.

use std::io;
use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

use crate::state::Bytes;

const MAGIC: &[u8; 4] = b"WMS2";
const MAGIC_1: &[u8; 4] = b"WMS1";
/// Bytes of the foot beside the step's name.
const FOOT: usize = 4 + 4 + 8 + 8 + 8 + 8 + 4 + 8;

/// Whose state a file holds, and what it builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Name of the job.
    pub job: &'a str,
    /// The run.
    pub run: &'a str,
    /// Name of the step.
    pub step: &'a str,
    /// The task that wrote it.
    pub task: u32,
    /// The epoch at whose end it was taken.
    pub epoch: u64,
    /// Checksum of the file before it; none: it is a base.
    pub builds_on: Option<u64>,
}

impl Binding<'_> {
    fn owner(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(self.job.as_bytes());
        hash.update(&[0]);
        hash.update(self.run.as_bytes());
        hash.digest()
    }

    /// Everything of the foot before the number of entries.
    fn bytes(&self) -> Vec<u8> {
        let name = u32::try_from(self.step.len()).expect("names of steps are short");
        let mut bytes = Vec::with_capacity(self.step.len() + FOOT);
        bytes.extend_from_slice(self.step.as_bytes());
        bytes.extend_from_slice(&name.to_le_bytes());
        bytes.extend_from_slice(&self.task.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.owner().to_le_bytes());
        bytes.extend_from_slice(&self.builds_on.unwrap_or(0).to_le_bytes());
        bytes
    }
}

/// Bytes of the foot.
pub fn foot_bytes(binding: &Binding<'_>) -> u64 {
    (binding.step.len() + FOOT) as u64
}

/// What follows the entries in their file, and the checksum of the whole file, which the file behind builds on. `hash`:
/// has heard of the entries.
pub fn foot(mut hash: Xxh3, count: u64, binding: &Binding<'_>) -> (Vec<u8>, u64) {
    let mut foot = binding.bytes();
    foot.extend_from_slice(&count.to_le_bytes());
    foot.extend_from_slice(MAGIC);
    hash.update(&foot);
    let sum = hash.digest().to_le_bytes();
    foot.extend_from_slice(&sum);
    hash.update(&sum);
    (foot, hash.digest())
}

/// What a file that is not in memory turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Bytes of its entries, which come first.
    pub entries: u64,
    /// xxh3-64 of these.
    pub entries_sum: u64,
    /// xxh3-64 of all of it.
    pub sum: u64,
}

/// Checks a file as `open` does, a piece at a time. Not for files of version 1.
pub fn check(file: &dyn Bytes, binding: &Binding<'_>) -> io::Result<Result<Checked, String>> {
    let expected = binding.bytes();
    let foot = foot_bytes(binding);
    let Some(entries) = file.len().checked_sub(foot) else {
        return Ok(Err("it is too short".into()));
    };
    let mut hash = Xxh3::new();
    First(file, entries).each_piece(&mut |piece| {
        hash.update(piece);
        Ok(())
    })?;
    let entries_sum = hash.digest();
    let mut foot = vec![0; foot as usize];
    file.read(entries, &mut foot)?;
    let (body, sum) = foot.split_at(foot.len() - 8);
    hash.update(body);
    if !body.ends_with(MAGIC) {
        return Ok(Err("it is no file of state, or cut off".into()));
    }
    if hash.digest().to_le_bytes() != sum {
        return Ok(Err(
            "its checksum does not match: it is torn or was changed".into(),
        ));
    }
    hash.update(sum);
    if !body.starts_with(&expected) {
        return Ok(Err(misplaced(binding)));
    }
    Ok(Ok(Checked {
        entries,
        entries_sum,
        sum: hash.digest(),
    }))
}

/// The first bytes of something.
#[derive(Debug)]
struct First<'a>(&'a dyn Bytes, u64);

impl Bytes for First<'_> {
    fn len(&self) -> u64 {
        self.1
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(at, into)
    }
}

fn misplaced(binding: &Binding<'_>) -> String {
    format!(
        "it is not the state of step {:?} and task {} at epoch {}, or not what belongs behind the file before it: another file was put in its place",
        binding.step, binding.task, binding.epoch
    )
}

/// Checks a file, and answers where in it the entries are. `binding`: what it must be; none: it is of version 1. The
/// error says what is wrong with the file.
pub fn open(bytes: &[u8], binding: Option<&Binding<'_>>) -> Result<Range<usize>, String> {
    open_summed(bytes, &Sums::of(bytes), binding)
}

/// Checksums of a file in memory, of one look at its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// xxh3-64 of what stands before its own checksum.
    body: u64,
    /// xxh3-64 of all of it.
    pub whole: u64,
}

impl Sums {
    /// Of a file.
    pub fn of(bytes: &[u8]) -> Sums {
        let (body, sum) = bytes.split_at(bytes.len().saturating_sub(8));
        let mut hash = Xxh3::new();
        hash.update(body);
        let body = hash.digest();
        hash.update(sum);
        Sums {
            body,
            whole: hash.digest(),
        }
    }
}

/// As `open`, for who has the file's checksums.
pub fn open_summed(
    bytes: &[u8],
    sums: &Sums,
    binding: Option<&Binding<'_>>,
) -> Result<Range<usize>, String> {
    let body = bytes
        .len()
        .checked_sub(8)
        .filter(|&n| n >= 12)
        .ok_or("it is too short")?;
    let (body, sum) = bytes.split_at(body);
    let is_one = match binding {
        None => body.starts_with(MAGIC_1),
        Some(_) => body.ends_with(MAGIC),
    };
    if !is_one {
        return Err("it is no file of state, or cut off".into());
    }
    if sums.body.to_le_bytes() != sum {
        return Err("its checksum does not match: it is torn or was changed".into());
    }
    let Some(binding) = binding else {
        return Ok(12..body.len());
    };
    let foot = &body[..body.len() - MAGIC.len() - 8];
    match foot.strip_suffix(&binding.bytes()[..]) {
        Some(entries) => Ok(0..entries.len()),
        None => Err(misplaced(binding)),
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::state::{Item, StateBuffer, items};

    const BINDING: Binding<'_> = Binding {
        job: "job",
        run: "run",
        step: "counts",
        task: 3,
        epoch: 7,
        builds_on: Some(9),
    };

    fn sample() -> StateBuffer {
        let mut buffer = StateBuffer::default();
        buffer.set(0, |_| {}, |_| {});
        buffer.set(127, |k| k.extend(b"key"), |v| v.extend(b"a value"));
        buffer.set(5, |k| k.extend(b"\xff"), |v| v.extend([7; 300]));
        buffer.delete(5, |k| k.extend(b"gone"));
        buffer
    }

    fn file(buffer: &StateBuffer, binding: &Binding<'_>) -> Vec<u8> {
        let mut hash = Xxh3::new();
        hash.update(buffer.bytes());
        let (foot, sum) = foot(hash, buffer.entries(), binding);
        assert_eq!(foot.len() as u64, foot_bytes(binding));
        let file = [buffer.bytes(), &foot].concat();
        assert_eq!(xxh3_64(&file), sum);
        file
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        for buffer in [sample(), StateBuffer::default()] {
            let file = file(&buffer, &BINDING);
            assert_eq!(&file[open(&file, Some(&BINDING)).unwrap()], buffer.bytes());
            let checked = check(&file, &BINDING).unwrap().unwrap();
            let expected = Checked {
                entries: buffer.bytes().len() as u64,
                entries_sum: xxh3_64(buffer.bytes()),
                sum: xxh3_64(&file),
            };
            assert_eq!(checked, expected);
        }
    }

    #[test]
    fn bytes_of_version_1_are_read_for_ever() {
        let body = b"WMS1\x01\0\0\0\0\0\0\0\x05\0\x01\0\0\0\x02\0\0\0kvv";
        let file = [&body[..], &xxh3_64(body).to_le_bytes()].concat();
        let range = open(&file, None).unwrap();
        let all: Vec<_> = items(&file[range]).collect();
        let [Ok((_, Item::Set(entry)))] = all[..] else {
            panic!("one entry, not {all:?}")
        };
        assert_eq!(
            (entry.key_group, entry.key, entry.value),
            (5, &b"k"[..], &b"vv"[..])
        );
    }

    #[test]
    fn bytes_of_version_2_are_stable() {
        let mut buffer = StateBuffer::default();
        buffer.set(5, |k| k.push(b'k'), |v| v.extend(b"vv"));
        buffer.delete(6, |k| k.push(b'g'));
        buffer.delete_all(b"p");
        let file = file(&buffer, &BINDING);
        let entries = b"\x05\0\x01\0\0\0\x02\0\0\0kvv\x06\0\x01\0\0\0\xff\xff\xff\xffg\0\0\x01\0\0\0\xfe\xff\xff\xffp";
        let foot = b"counts\x06\0\0\0\x03\0\0\0\x07\0\0\0\0\0\0\0";
        assert!(file.starts_with(&[&entries[..], foot].concat()));
        let owner = xxh3_64(b"job\0run").to_le_bytes();
        let rest = [&owner[..], b"\x09\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0WMS2"].concat();
        assert!(file[..file.len() - 8].ends_with(&rest));
    }

    #[test]
    fn a_file_cut_anywhere_or_with_a_flipped_bit_is_refused() {
        let whole = file(&sample(), &BINDING);
        for length in 0..whole.len() {
            assert!(
                open(&whole[..length], Some(&BINDING)).is_err(),
                "cut to {length}"
            );
            let cut = whole[..length].to_vec();
            assert!(check(&cut, &BINDING).unwrap().is_err(), "cut to {length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&broken, Some(&BINDING)).is_err(), "bit {bit}");
            assert!(check(&broken, &BINDING).unwrap().is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_file_in_the_place_of_another_is_refused() {
        let whole = file(&sample(), &BINDING);
        for other in [
            Binding {
                job: "other",
                ..BINDING
            },
            Binding {
                run: "other",
                ..BINDING
            },
            Binding {
                step: "other",
                ..BINDING
            },
            Binding { task: 4, ..BINDING },
            Binding {
                epoch: 8,
                ..BINDING
            },
            Binding {
                builds_on: Some(8),
                ..BINDING
            },
            Binding {
                builds_on: None,
                ..BINDING
            },
        ] {
            let why = open(&whole, Some(&other)).unwrap_err();
            assert_eq!(check(&whole, &other).unwrap().unwrap_err(), why);
            assert!(why.contains("another file was put in its place"), "{why}");
        }
    }
}
