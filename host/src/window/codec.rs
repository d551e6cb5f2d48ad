//! How window state is written into checkpoints. All of this must stay stable: a new layout takes a new version byte,
//! and the old one is still read.
//!
//! Numbers are little endian, except in names, where their order must be that of bytes.
//!
//! | entry          | name                                           | value                                                       |
//! |----------------|------------------------------------------------|-------------------------------------------------------------|
//! | window, session| `G`, start (8 bytes, big endian, sign flipped), key | 1, accumulators' version (4), end (8), records since it fired (8), newest timestamp (8), accumulator |
//! | slice          | `S`, start (likewise), key                     | 1, accumulators' version (4), flags (1), accumulator        |
//! | count window   | `C`, key                                       | 1, accumulators' version (4), records (8), panes (4), each: fires at (8), newest (8), length (4), accumulator |
//!
//! A key in a name: 0 for none, else 1 and its bytes.

use crate::record::NO_TIMESTAMP;
use crate::record::codec::{ordered, unordered};
use crate::state::{StateBuffer, StateRef};
use crate::step::{StepError, key_group};

/// Version of the values' layout.
const VERSION: u8 = 1;

/// A group of a window, or a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupState<'a> {
    pub key: Option<&'a [u8]>,
    pub start: i64,
    pub end: i64,
    pub count: u64,
    pub newest: i64,
    pub acc: &'a [u8],
}

/// A slice of sliding windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SliceState<'a> {
    pub key: Option<&'a [u8]>,
    pub start: i64,
    pub flags: u8,
    pub acc: &'a [u8],
}

impl<'a> SliceState<'a> {
    /// As slices keep it.
    pub fn as_group(&self, end: i64) -> GroupState<'a> {
        GroupState {
            key: self.key,
            start: self.start,
            end,
            count: u64::from(self.flags & 1),
            newest: NO_TIMESTAMP,
            acc: self.acc,
        }
    }
}

/// A key of count windows: (fires at, newest, accumulator) of each pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CountState<'a> {
    pub key: Option<&'a [u8]>,
    pub records: u64,
    pub panes: Vec<(u64, i64, &'a [u8])>,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State<'a> {
    Group(GroupState<'a>),
    Slice(SliceState<'a>),
    Count(CountState<'a>),
}

/// Kinds of entries.
pub(super) const GROUP: u8 = b'G';
pub(super) const SLICE: u8 = b'S';
const COUNT: u8 = b'C';

/// How the names of all entries of a window (or slice) begin.
pub(super) fn prefix(kind: u8, start: i64) -> [u8; 9] {
    let mut prefix = [kind; 9];
    prefix[1..].copy_from_slice(&ordered(start));
    prefix
}

/// What stands before the key in such a name.
fn name_head(kind: u8, start: i64, key: Option<&[u8]>) -> [u8; 10] {
    let mut head = [u8::from(key.is_some()); 10];
    head[..9].copy_from_slice(&prefix(kind, start));
    head
}

/// The name of a window's group, or of a session.
pub(super) fn put_name(name: &mut Vec<u8>, kind: u8, start: i64, key: Option<&[u8]>) {
    name.extend_from_slice(&prefix(kind, start));
    put_key(name, key);
}

/// The name of a key of count windows.
pub(super) fn put_count_name(name: &mut Vec<u8>, key: Option<&[u8]>) {
    name.push(COUNT);
    put_key(name, key);
}

/// The key in a name.
pub(super) fn key_in(name: &[u8]) -> &[u8] {
    let at = if name.first() == Some(&COUNT) { 2 } else { 10 };
    name.get(at..).unwrap_or_default()
}

fn put_key(name: &mut Vec<u8>, key: Option<&[u8]>) {
    name.push(u8::from(key.is_some()));
    name.extend_from_slice(key.unwrap_or_default());
}

impl State<'_> {
    /// Writes the entry.
    #[inline]
    pub fn put(&self, accs_version: u32, into: &mut StateBuffer) {
        let mut head = [VERSION; 5];
        head[1..].copy_from_slice(&accs_version.to_le_bytes());
        match self {
            State::Group(g) => {
                let mut value = [0; 29];
                value[..5].copy_from_slice(&head);
                value[5..13].copy_from_slice(&g.end.to_le_bytes());
                value[13..21].copy_from_slice(&g.count.to_le_bytes());
                value[21..].copy_from_slice(&g.newest.to_le_bytes());
                let key = g.key.unwrap_or_default();
                into.set_parts(
                    key_group(key),
                    [&name_head(GROUP, g.start, g.key), key],
                    [&value, g.acc],
                );
            }
            State::Slice(s) => {
                let mut value = [s.flags; 6];
                value[..5].copy_from_slice(&head);
                let key = s.key.unwrap_or_default();
                into.set_parts(
                    key_group(key),
                    [&name_head(SLICE, s.start, s.key), key],
                    [&value, s.acc],
                );
            }
            State::Count(c) => into.set(
                key_group(c.key.unwrap_or_default()),
                |name| put_count_name(name, c.key),
                |value| {
                    value.extend_from_slice(&head);
                    value.extend_from_slice(&c.records.to_le_bytes());
                    value.extend_from_slice(&(c.panes.len() as u32).to_le_bytes());
                    for (fires_at, newest, acc) in &c.panes {
                        value.extend_from_slice(&fires_at.to_le_bytes());
                        value.extend_from_slice(&newest.to_le_bytes());
                        value.extend_from_slice(&(acc.len() as u32).to_le_bytes());
                        value.extend_from_slice(acc);
                    }
                },
            ),
        }
    }
}

/// Reads an entry, and the version of its accumulators.
pub(super) fn decode(entry: StateRef<'_>) -> Result<(State<'_>, u32), StepError> {
    let mut name = Reader(entry.key);
    let mut value = Reader(entry.value);
    let kind = name.array::<1>("name")?[0];
    let start = if kind == COUNT {
        0
    } else {
        unordered(name.array("name")?)
    };
    let key = match name.array::<1>("name")?[0] {
        0 if name.0.is_empty() => None,
        1 => Some(name.0),
        _ => return Err(broken("its name has no key")),
    };
    if key_group(key.unwrap_or_default()) != entry.key_group {
        return Err(broken("its key is of another key group"));
    }
    let version = value.array::<1>("version")?[0];
    if version != VERSION {
        return Err(broken(&format!(
            "its layout has version {version}, this host reads {VERSION}"
        )));
    }
    let accs_version = u32::from_le_bytes(value.array("accumulators' version")?);
    let state = match kind {
        GROUP => {
            let end = i64::from_le_bytes(value.array("end")?);
            let count = u64::from_le_bytes(value.array("records")?);
            let newest = i64::from_le_bytes(value.array("newest timestamp")?);
            if end <= start {
                return Err(broken("its window ends before it starts"));
            }
            State::Group(GroupState {
                key,
                start,
                end,
                count,
                newest,
                acc: value.0,
            })
        }
        SLICE => {
            let flags = value.array::<1>("flags")?[0];
            State::Slice(SliceState {
                key,
                start,
                flags,
                acc: value.0,
            })
        }
        COUNT => {
            let records = u64::from_le_bytes(value.array("records")?);
            let len = u32::from_le_bytes(value.array("panes")?);
            let mut panes = Vec::new();
            for _ in 0..len {
                let fires_at = u64::from_le_bytes(value.array("pane")?);
                let newest = i64::from_le_bytes(value.array("pane")?);
                let len = u32::from_le_bytes(value.array("pane")?);
                panes.push((fires_at, newest, value.bytes(len as usize, "accumulator")?));
            }
            if !value.0.is_empty() {
                return Err(broken("bytes follow its last pane"));
            }
            State::Count(CountState {
                key,
                records,
                panes,
            })
        }
        other => return Err(broken(&format!("its kind is {other}, not one of G, S, C"))),
    };
    Ok((state, accs_version))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize, what: &str) -> Result<&'a [u8], StepError> {
        let (bytes, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| broken(&format!("its {what} is cut off")))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], StepError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N, what)?);
        Ok(array)
    }
}

/// The error for an entry that does not hold what it should.
pub(super) fn broken(why: &str) -> StepError {
    StepError::Failed(format!(
        "a piece of window state in the checkpoint is not usable: {why}"
    ))
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
