//! What the objects seen last looked like: which member comes after which, byte for byte.
//!
//! Records of one stream are alike. Where the next member stands as it stood before, one comparison of 16
//! bytes replaces finding the name's end, the colon and the name's meaning.

/// Members remembered of one object: more are scanned each time, which costs a few ns each.
const MEMBERS_MAX: usize = 64;

/// How many remembered members may be absent in a row before the next is looked for the long way.
const SKIPPED_MAX: usize = 4;

/// Stands for a node: nobody asks for the member.
pub(super) const NOBODY: u32 = u32::MAX;

/// Everything from the brace or comma before a member to its value: `,"name":`, with the white space.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The first 16 bytes, and which of them count.
    head: u128,
    mask: u128,
    /// What is beyond 16 bytes.
    tail: Box<[u8]>,
    len: usize,
    /// Where the value belongs, if someone asks for it; else `NOBODY`.
    node: u32,
}

impl Member {
    fn new(bytes: &[u8], node: u32) -> Member {
        let mut head = [0; 16];
        let short = bytes.len().min(16);
        head[..short].copy_from_slice(&bytes[..short]);
        let mask = if short == 16 {
            u128::MAX
        } else {
            (1 << (8 * short)) - 1
        };
        Member {
            head: u128::from_le_bytes(head),
            mask,
            tail: bytes[short..].into(),
            len: bytes.len(),
            node,
        }
    }

    /// How many bytes the member has, if it stands at the front of the data. (Near the end of the data it is not
    /// recognised.)
    #[inline]
    fn len_at(&self, data: &[u8], at: usize) -> Option<usize> {
        let here = u128::from_le_bytes(*data.get(at..)?.first_chunk()?);
        if (here ^ self.head) & self.mask != 0 {
            return None;
        }
        if self.len > 16 && data.get(at + 16..at + self.len) != Some(&*self.tail) {
            return None;
        }
        Some(self.len)
    }
}

/// Members of one object, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    members: Vec<Member>,
}

impl Shape {
    /// If a member stands at `at` that was seen at or shortly behind place `next`: its bytes, and where its value
    /// belongs. `next` moves behind it.
    #[inline]
    pub fn expect(&self, next: &mut usize, data: &[u8], at: usize) -> Option<(usize, u32)> {
        let member = self.members.get(*next)?;
        if let Some(len) = member.len_at(data, at) {
            *next += 1;
            return Some((len, member.node));
        }
        self.expect_later(next, data, at)
    }

    #[inline(never)]
    fn expect_later(&self, next: &mut usize, data: &[u8], at: usize) -> Option<(usize, u32)> {
        let later = self
            .members
            .iter()
            .enumerate()
            .skip(*next + 1)
            .take(SKIPPED_MAX);
        let (place, len, node) = later
            .into_iter()
            .find_map(|(i, member)| Some((i + 1, member.len_at(data, at)?, member.node)))?;
        *next = place;
        Some((len, node))
    }

    /// Remembers a member at place `next`; the place behind it.
    #[cold]
    pub fn learn(&mut self, next: usize, bytes: &[u8], node: u32) -> usize {
        if self.members.len() >= MEMBERS_MAX {
            // Ever new names: start anew, with those that come now.
            self.members.clear();
        }
        let next = next.min(self.members.len());
        self.members.insert(next, Member::new(bytes, node));
        next + 1
    }
}
