use super::Extent;

/// Deltas of a chain. Each is a file to find, open and check at a restore; on an object store a request.
const DELTAS_MAX: u32 = 64;

/// Sizes of a base and the deltas behind it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainSizes {
    /// Of the base.
    pub base: u64,
    /// Of all deltas together.
    pub deltas: u64,
    /// How many deltas.
    pub count: u32,
    /// Of the last snapshot.
    pub last: u64,
}

impl ChainSizes {
    /// The chain with one more snapshot.
    pub fn add(&mut self, extent: Extent, bytes: u64) {
        match extent {
            Extent::Whole => {
                *self = ChainSizes {
                    base: bytes,
                    last: bytes,
                    ..ChainSizes::default()
                }
            }
            Extent::Changes => {
                self.last = bytes;
                self.deltas += bytes;
                self.count += u32::from(bytes > 0);
            }
        }
    }
}

/// What the next snapshot of a step should hold, given the chain so far and the bytes that the step keeps now
/// (roughly).
///
/// | chain | next |
/// |---|---|
/// | none | whole |
/// | deltas as large as the base | whole: what is read at a restore stays below twice the state, and what is written below twice the changes |
/// | most of the base is of the past: the state is less than half of it | whole: it costs little |
/// | `DELTAS_MAX` deltas | whole |
/// | else | changes |
pub fn next_extent(chain: Option<&ChainSizes>, live: u64) -> Extent {
    match chain {
        None => Extent::Whole,
        Some(c) if c.deltas >= c.base || live < c.base / 2 || c.count >= DELTAS_MAX => {
            Extent::Whole
        }
        Some(_) => Extent::Changes,
    }
}
