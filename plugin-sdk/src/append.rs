//! Appending short strings: what a column of them is made with.
//!
//! In Wasm each copy of a length that is not known beforehand leaves the guest for the host's `memory.copy`, whose way there
//! and back takes as long as copying hundreds of bytes.

/// Bytes of a block.
const BLOCK: usize = 16;

/// Bytes from which on the host's copying is faster.
const LONG: usize = 8 * BLOCK;

/// Appends bytes, short ones by a few moves of a known size.
#[inline]
pub(crate) fn append(data: &mut Vec<u8>, bytes: &[u8]) {
    let end = data.len() + bytes.len();
    match bytes.len() {
        0 => {}
        1..4 => data.extend(bytes),
        4..8 => {
            let [first, last] = ends::<4>(bytes).map(|end| u64::from(u32::from_le_bytes(end)));
            let both = first | last << (8 * (bytes.len() - 4));
            data.extend_from_slice(&both.to_le_bytes());
            data.truncate(end);
        }
        8..BLOCK => {
            let [first, last] = ends::<8>(bytes).map(|end| u128::from(u64::from_le_bytes(end)));
            let both = first | last << (8 * (bytes.len() - 8));
            data.extend_from_slice(&both.to_le_bytes());
            data.truncate(end);
        }
        BLOCK..LONG => {
            let blocks = bytes.as_chunks::<BLOCK>().0;
            blocks
                .iter()
                .for_each(|block| data.extend_from_slice(block));
            // What is left ends in a block that begins among what was copied.
            let [_, last] = ends::<BLOCK>(bytes);
            data.truncate(end - BLOCK);
            data.extend_from_slice(&last);
        }
        _ => data.extend_from_slice(bytes),
    }
}

/// So many bytes at the beginning and at the end of bytes that are at least as many.
#[inline]
fn ends<const N: usize>(bytes: &[u8]) -> [[u8; N]; 2] {
    let ends = bytes.first_chunk().zip(bytes.last_chunk());
    let (first, last) = ends.expect("as long as an end");
    [*first, *last]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_length_are_appended_whole() {
        let text: Vec<u8> = (0..3 * LONG).map(|at| at as u8).collect();
        let (mut data, mut all) = (Vec::new(), Vec::new());
        for len in (0..2 * LONG).chain((0..2 * LONG).rev()) {
            let bytes = &text[len % 7..][..len];
            append(&mut data, bytes);
            all.extend_from_slice(bytes);
            assert_eq!(data, all, "{len} bytes");
        }
    }
}
