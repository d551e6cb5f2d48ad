//! State that need not be in memory: bytes read a piece at a time, and buffers wherever they are.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::buffer::{Malformed, item_length};

/// Bytes read at once; few in tests, so that entries lie across pieces.
const PIECE: usize = if cfg!(test) { 24 } else { 1 << 20 };

/// Bytes handed out at once of what is in memory: they stay in a core's cache while whoever hears of them looks at them twice.
const PIECE_HERE: usize = if cfg!(test) { 24 } else { 256 << 10 };

/// Hears of a piece of bytes, in order.
pub type Hear<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Bytes, somewhere.
pub trait Bytes: Send + Sync + Debug {
    /// How many.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `into` with those from `at` on.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// Hands out all of them once, in order, a piece at a time.
    fn each_piece(&self, each: Hear<'_>) -> io::Result<()> {
        let mut piece = Vec::new();
        let mut at = 0;
        while at < self.len() {
            piece.resize((self.len() - at).min(PIECE as u64) as usize, 0);
            self.read(at, &mut piece)?;
            each(&piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
    /// xxh3-64 of all, if it is known: who reads all holds it against what was read.
    fn sum(&self) -> Option<u64> {
        None
    }
}

impl Bytes for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = self.get(from..).and_then(|b| b.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn each_piece(&self, each: Hear<'_>) -> io::Result<()> {
        self.chunks(PIECE_HERE).try_for_each(each)
    }
}

/// A buffer of entries as it was kept.
#[derive(Clone, Debug)]
pub enum Stored {
    /// In memory: bytes, and where in them the entries are.
    Here(Vec<u8>, Range<usize>),
    /// Elsewhere: entries only.
    There(Arc<dyn Bytes>),
}

/// A base and what changed after it.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Their entries, base first.
    pub parts: Vec<Stored>,
    /// At most so many of them are left in the end; 0 if it is not known.
    pub entries: u64,
    /// Least and greatest key group that it speaks of; none: not known.
    pub groups: Option<(u16, u16)>,
}

impl Chain {
    /// Whether it may speak of one of these key groups.
    pub fn may_have(&self, wanted: &dyn Fn(u16) -> bool) -> bool {
        match self.groups {
            Some((least, most)) => (least..=most).any(wanted),
            None => true,
        }
    }
}

/// Why what a chain holds cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Bytes that are no entries.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They cannot be read any more.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// They are not what they were.
    #[error("it was changed while it was read")]
    Changed,
}

/// Hands out the bytes of a buffer of entries, cut between entries: all at once if they are in memory.
pub(super) fn each_segment<E: From<StoredError>>(
    part: Part<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let bytes = match part {
        Part::Here(bytes) => return each(bytes),
        Part::There(bytes) => bytes,
    };
    let (mut segment, mut before, mut at, mut sum) = (Vec::new(), 0, 0, Xxh3::new());
    while at < bytes.len() {
        let more = (bytes.len() - at).min(PIECE as u64) as usize;
        if segment.len() < before + more {
            segment.resize(before + more, 0);
        }
        let into = &mut segment[before..before + more];
        bytes.read(at, into).map_err(StoredError::from)?;
        if bytes.sum().is_some() {
            sum.update(into);
        }
        at += more as u64;
        let mut whole = 0;
        let read = before + more;
        while let Some(length) = item_length(&segment[whole..read]) {
            whole += length;
        }
        each(&segment[..whole])?;
        segment.copy_within(whole..read, 0);
        before = read - whole;
    }
    if before > 0 {
        return Err(StoredError::from(Malformed).into());
    }
    match bytes.sum().is_some_and(|expected| expected != sum.digest()) {
        true => Err(StoredError::Changed.into()),
        false => Ok(()),
    }
}

/// A buffer of entries, lent.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// In memory.
    Here(&'a [u8]),
    /// Elsewhere.
    There(&'a dyn Bytes),
}

impl Stored {
    pub(super) fn part(&self) -> Part<'_> {
        match self {
            Stored::Here(bytes, range) => Part::Here(&bytes[range.clone()]),
            Stored::There(bytes) => Part::There(&**bytes),
        }
    }
}
