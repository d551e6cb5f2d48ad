use std::io;
use std::sync::Arc;

use super::StateRef;
use super::stored::{Bytes, Hear};
use crate::room::Room;

/// Length of value that says: the entry is gone.
const GONE: u32 = u32::MAX;
/// Length of value that says: all entries are gone whose names begin with the key, in all key groups.
const ALL_GONE: u32 = u32::MAX - 1;
/// Bytes before an entry's key.
const HEAD: usize = 10;

/// Entries one after the other, in one buffer: writing one allocates nothing.
///
/// Layout, all integers little-endian. Must stay stable, checkpoints hold it:
///
/// | bytes | what |
/// |---|---|
/// | 2 | key group |
/// | 4 | n, length of the key |
/// | 4 | m, length of the value; 2³²−1: the entry is gone; 2³²−2: all are gone whose names begin with the key |
/// | n, m | key, value |
///
/// In a buffer each key is set at most once. That it is gone, or all that begin like it, is said of earlier buffers
/// only, wherever in the buffer it stands: a key may be gone and set in the same one, and is set then.
///
/// A buffer that was given room elsewhere holds a part of its bytes only: the last.
#[derive(Debug, Default)]
pub struct StateBuffer {
    bytes: Vec<u8>,
    entries: u64,
    gone: u64,
    /// Least and greatest key group of what it speaks of.
    groups: Option<(u16, u16)>,
    without_shared: bool,
    elsewhere: Option<Box<Elsewhere>>,
    /// Where its memory goes when it is of no use any more.
    room: Option<Arc<Room>>,
}

/// The next buffer of the same kind gets its memory.
impl Drop for StateBuffer {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            room.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

/// Room for bytes that memory is too small for.
pub trait Overflow: Bytes {
    /// Puts bytes behind those that are there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

#[derive(Debug)]
struct Elsewhere {
    room: Box<dyn Overflow>,
    /// Bytes in memory from which on they move there.
    bytes_max: usize,
    failed: Option<io::Error>,
}

/// What stands in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The entry is this now.
    Set(StateRef<'a>),
    /// It is no more.
    Gone(u16, &'a [u8]),
    /// None is any more that begins so.
    AllGone(&'a [u8]),
}

impl StateBuffer {
    /// A buffer for a task that is not to tell what all tasks of its step have alike (`Step::is_shared`).
    pub fn without_shared() -> StateBuffer {
        let mut buffer = StateBuffer::default();
        buffer.without_shared = true;
        buffer
    }

    /// From now on no more than about so many bytes stay in memory, others go there.
    pub fn set_overflow(&mut self, bytes_max: usize, room: Box<dyn Overflow>) {
        self.elsewhere = Some(Box::new(Elsewhere {
            room,
            bytes_max,
            failed: None,
        }));
    }

    /// So many bytes are to come, about: room for them is made at once, in memory that a buffer before it had if that fits.
    pub fn expect(&mut self, bytes: usize, room: &Arc<Room>) {
        let bytes_max = self.elsewhere.as_ref().map_or(usize::MAX, |e| e.bytes_max);
        self.bytes = room.take(bytes.min(bytes_max));
        self.room = Some(Arc::clone(room));
    }

    /// The error that came between, if one did: then the buffer is of no use.
    pub fn check(&mut self) -> io::Result<()> {
        let failed = self.elsewhere.as_mut().and_then(|e| e.failed.take());
        failed.map_or(Ok(()), Err)
    }

    #[inline]
    fn make_room(&mut self) {
        if let Some(elsewhere) = &mut self.elsewhere
            && self.bytes.len() >= elsewhere.bytes_max
        {
            if elsewhere.failed.is_none() {
                elsewhere.failed = elsewhere.room.append(&self.bytes).err();
            }
            self.bytes.clear();
        }
    }

    /// Whether entries that all tasks have alike belong here.
    pub fn takes_shared(&self) -> bool {
        !self.without_shared
    }

    /// Appends an entry; both functions append to what they get.
    ///
    /// # Panics
    /// If key or value have 4 GiB.
    #[inline]
    pub fn set(
        &mut self,
        key_group: u16,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        self.speak_of(key_group);
        let (start, key_end) = self.head(key_group, key);
        value(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - key_end)
            .ok()
            .filter(|&n| n < ALL_GONE)
            .expect("values are bounded far below 4 GiB");
        self.bytes[start + 6..start + HEAD].copy_from_slice(&length.to_le_bytes());
        self.entries += 1;
    }

    /// Appends an entry whose key and value have two parts each: as `set` does, at a third of the time for small ones.
    ///
    /// # Panics
    /// If key or value have 4 GiB.
    #[inline]
    pub fn set_parts(&mut self, key_group: u16, key: [&[u8]; 2], value: [&[u8]; 2]) {
        let length = |parts: [&[u8]; 2]| {
            u32::try_from(parts[0].len() + parts[1].len())
                .ok()
                .filter(|&n| n < ALL_GONE)
                .expect("keys and values are bounded far below 4 GiB")
        };
        let (n, m) = (length(key), length(value));
        self.make_room();
        self.speak_of(key_group);
        let mut head = [0; HEAD];
        head[..2].copy_from_slice(&key_group.to_le_bytes());
        head[2..6].copy_from_slice(&n.to_le_bytes());
        head[6..].copy_from_slice(&m.to_le_bytes());
        self.bytes.reserve(HEAD + n as usize + m as usize);
        self.bytes.extend_from_slice(&head);
        for part in [key[0], key[1], value[0], value[1]] {
            self.bytes.extend_from_slice(part);
        }
        self.entries += 1;
    }

    /// The entry of this key is gone.
    pub fn delete(&mut self, key_group: u16, key: impl FnOnce(&mut Vec<u8>)) {
        self.speak_of(key_group);
        let (start, _) = self.head(key_group, key);
        self.bytes[start + 6..start + HEAD].copy_from_slice(&GONE.to_le_bytes());
        self.gone += 1;
    }

    /// All entries are gone whose names begin so.
    pub fn delete_all(&mut self, prefix: &[u8]) {
        let (start, _) = self.head(0, |name| name.extend_from_slice(prefix));
        self.bytes[start + 6..start + HEAD].copy_from_slice(&ALL_GONE.to_le_bytes());
        self.gone += 1;
    }

    #[inline]
    fn speak_of(&mut self, key_group: u16) {
        let (least, most) = self.groups.unwrap_or((key_group, key_group));
        self.groups = Some((least.min(key_group), most.max(key_group)));
    }

    /// Least and greatest key group of the entries that it sets or deletes; none: there are no such.
    pub fn groups(&self) -> Option<(u16, u16)> {
        self.groups
    }

    /// Where the entry starts, and its key ends.
    #[inline]
    fn head(&mut self, key_group: u16, key: impl FnOnce(&mut Vec<u8>)) -> (usize, usize) {
        self.make_room();
        let start = self.bytes.len();
        let mut head = [0; HEAD];
        head[..2].copy_from_slice(&key_group.to_le_bytes());
        self.bytes.extend_from_slice(&head);
        key(&mut self.bytes);
        let end = self.bytes.len();
        let length = u32::try_from(end - start - HEAD).expect("keys are bounded far below 4 GiB");
        self.bytes[start + 2..start + 6].copy_from_slice(&length.to_le_bytes());
        (start, end)
    }

    /// All of it, where nothing went elsewhere.
    pub fn in_memory(&self) -> Option<&[u8]> {
        let elsewhere = self.elsewhere.as_ref().map_or(0, |e| e.room.len());
        (elsewhere == 0).then_some(&self.bytes)
    }

    /// All of it, of a buffer that was given no room elsewhere.
    ///
    /// # Panics
    /// If bytes went elsewhere.
    pub fn bytes(&self) -> &[u8] {
        self.in_memory().expect("nothing went elsewhere")
    }

    /// All of it, by itself.
    pub fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        match self.in_memory() {
            Some(_) => Ok(std::mem::take(&mut self.bytes)),
            None => {
                let mut all = vec![0; Bytes::len(&self) as usize];
                self.read(0, &mut all)?;
                Ok(all)
            }
        }
    }

    /// How many entries it sets.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How many deletions it holds.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        Bytes::len(self) == 0
    }
}

impl Bytes for StateBuffer {
    fn len(&self) -> u64 {
        self.elsewhere.as_ref().map_or(0, |e| e.room.len()) + self.bytes.len() as u64
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let (mut at, mut into) = (at, into);
        if let Some(elsewhere) = &self.elsewhere {
            let there = elsewhere.room.len();
            if at < there {
                let n = (there - at).min(into.len() as u64) as usize;
                let (first, rest) = into.split_at_mut(n);
                elsewhere.room.read(at, first)?;
                (at, into) = (there, rest);
            }
            at -= there;
        }
        self.bytes.read(at, into)
    }

    fn each_piece(&self, each: Hear<'_>) -> io::Result<()> {
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.room.each_piece(each)?;
        }
        self.bytes.each_piece(each)
    }
}

/// Bytes that are no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry reaches past the end")]
pub struct Malformed;

/// What stands in the bytes of a buffer, in order, and where. An error is the last item.
pub fn items(bytes: &[u8]) -> impl Iterator<Item = Result<(usize, Item<'_>), Malformed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == bytes.len() {
            return None;
        }
        let start = at;
        let Some((item, length)) = item_at(bytes, start) else {
            at = bytes.len();
            return Some(Err(Malformed));
        };
        at += length;
        Some(Ok((start, item)))
    })
}

/// The item there, and its length.
#[inline]
fn item_at(bytes: &[u8], at: usize) -> Option<(Item<'_>, usize)> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<HEAD>()?;
    let key_group = u16::from_le_bytes([head[0], head[1]]);
    let key = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
    let value = u32::from_le_bytes([head[6], head[7], head[8], head[9]]);
    let (key, rest) = rest.split_at_checked(key)?;
    let length = HEAD + key.len();
    Some(match value {
        GONE => (Item::Gone(key_group, key), length),
        ALL_GONE => (Item::AllGone(key), length),
        n => {
            let value = rest.get(..n as usize)?;
            let entry = StateRef {
                key_group,
                key,
                value,
            };
            (Item::Set(entry), length + value.len())
        }
    })
}

/// The length of the item that these bytes begin with, if they have all of it.
#[inline]
pub(super) fn item_length(bytes: &[u8]) -> Option<usize> {
    item_at(bytes, 0).map(|(_, length)| length)
}
