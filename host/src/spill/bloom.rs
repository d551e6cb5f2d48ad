//! Which names a run may hold: a Bloom filter in blocks of one cache line each.

/// Bits for each name: about one name in a hundred that is not there is looked for in vain.
const BITS_PER_NAME: usize = 10;
/// Bits set for each name.
const PROBES: u32 = 6;
const WORDS_PER_LINE: usize = 8;

/// A filter for so many names.
#[derive(Debug)]
pub(super) struct Bloom {
    words: Vec<u64>,
}

impl Bloom {
    /// For at most so many names.
    pub fn with_capacity(names: usize) -> Bloom {
        let lines = (names * BITS_PER_NAME).div_ceil(64 * WORDS_PER_LINE).max(1);
        Bloom {
            words: vec![0; lines * WORDS_PER_LINE],
        }
    }

    #[inline]
    fn line(&self, hash: u64) -> usize {
        let lines = (self.words.len() / WORDS_PER_LINE) as u128;
        ((u128::from(hash) * lines) >> 64) as usize * WORDS_PER_LINE
    }

    /// The bits of a name within its line: nine bits of a second hash each.
    #[inline]
    fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..PROBES).map(move |probe| {
            let bit = (hash >> (probe * 9)) & 511;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    /// Takes a name in.
    pub fn insert(&mut self, hash: u64) {
        let line = self.line(hash);
        for (word, bit) in Bloom::bits(hash) {
            self.words[line + word] |= bit;
        }
    }

    /// Whether the name may be there.
    #[inline]
    pub fn may_have(&self, hash: u64) -> bool {
        let line = &self.words[self.line(hash)..][..WORDS_PER_LINE];
        Bloom::bits(hash).all(|(word, bit)| line[word] & bit != 0)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}
