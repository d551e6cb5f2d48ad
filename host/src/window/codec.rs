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

use crate::step::{StateEntry, StepError, key_group};

/// Version of the values' layout.
const VERSION: u8 = 1;

/// A group of a window, or a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupState {
    pub key: Option<Vec<u8>>,
    pub start: i64,
    pub end: i64,
    pub count: u64,
    pub newest: i64,
    pub acc: Vec<u8>,
}

/// A slice of sliding windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SliceState {
    pub key: Option<Vec<u8>>,
    pub start: i64,
    pub flags: u8,
    pub acc: Vec<u8>,
}

/// A key of count windows: (fires at, newest, accumulator) of each pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CountState {
    pub key: Option<Vec<u8>>,
    pub records: u64,
    pub panes: Vec<(u64, i64, Vec<u8>)>,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Group(GroupState),
    Slice(SliceState),
    Count(CountState),
}

/// Writes an entry.
pub(super) fn encode(state: &State, accs_version: u32) -> StateEntry {
    let mut name = Vec::new();
    let mut value = vec![VERSION];
    value.extend(accs_version.to_le_bytes());
    let key = match state {
        State::Group(g) => {
            name.push(b'G');
            name.extend(ordered(g.start));
            value.extend(g.end.to_le_bytes());
            value.extend(g.count.to_le_bytes());
            value.extend(g.newest.to_le_bytes());
            value.extend(&g.acc);
            &g.key
        }
        State::Slice(s) => {
            name.push(b'S');
            name.extend(ordered(s.start));
            value.push(s.flags);
            value.extend(&s.acc);
            &s.key
        }
        State::Count(c) => {
            name.push(b'C');
            value.extend(c.records.to_le_bytes());
            value.extend((c.panes.len() as u32).to_le_bytes());
            for (fires_at, newest, acc) in &c.panes {
                value.extend(fires_at.to_le_bytes());
                value.extend(newest.to_le_bytes());
                value.extend((acc.len() as u32).to_le_bytes());
                value.extend(acc);
            }
            &c.key
        }
    };
    name.push(u8::from(key.is_some()));
    name.extend(key.as_deref().unwrap_or_default());
    StateEntry {
        key_group: key_group(key.as_deref().unwrap_or_default()),
        key: name,
        value: Some(value),
    }
}

/// Reads an entry, and the version of its accumulators.
pub(super) fn decode(entry: &StateEntry) -> Result<(State, u32), StepError> {
    let mut name = Reader(&entry.key);
    let mut value = Reader(
        entry
            .value
            .as_deref()
            .ok_or_else(|| broken("it has no value"))?,
    );
    let kind = name.array::<1>("name")?[0];
    let start = if kind == b'C' {
        0
    } else {
        unordered(name.array("name")?)
    };
    let key = match name.array::<1>("name")?[0] {
        0 if name.0.is_empty() => None,
        1 => Some(name.0.to_vec()),
        _ => return Err(broken("its name has no key")),
    };
    if key_group(key.as_deref().unwrap_or_default()) != entry.key_group {
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
        b'G' => {
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
                acc: value.0.to_vec(),
            })
        }
        b'S' => {
            let flags = value.array::<1>("flags")?[0];
            State::Slice(SliceState {
                key,
                start,
                flags,
                acc: value.0.to_vec(),
            })
        }
        b'C' => {
            let records = u64::from_le_bytes(value.array("records")?);
            let len = u32::from_le_bytes(value.array("panes")?);
            let mut panes = Vec::new();
            for _ in 0..len {
                let fires_at = u64::from_le_bytes(value.array("pane")?);
                let newest = i64::from_le_bytes(value.array("pane")?);
                let len = u32::from_le_bytes(value.array("pane")?);
                panes.push((
                    fires_at,
                    newest,
                    value.bytes(len as usize, "accumulator")?.to_vec(),
                ));
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

/// Eight bytes that sort like the number.
fn ordered(n: i64) -> [u8; 8] {
    (n as u64 ^ (1 << 63)).to_be_bytes()
}

fn unordered(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
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
