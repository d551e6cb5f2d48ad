//! Where some bytes stand in a block of 64, as bits.

/// Bytes looked at together.
pub(crate) const BLOCK: usize = 64;

/// Bit i is set where byte i of the block is one of the needles.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[inline]
pub(crate) fn any_of<const N: usize>(block: &[u8; BLOCK], needles: [u8; N]) -> u64 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
        _mm_setzero_si128,
    };
    let word = |at: usize| i64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"));
    // SAFETY: these instructions need SSE2, which the `cfg` above says is there; none of them touches memory.
    unsafe {
        let needles = needles.map(|n| _mm_set1_epi8(n as i8));
        let mut mask = 0;
        for i in 0..4 {
            let bytes = _mm_set_epi64x(word(16 * i + 8), word(16 * i));
            let mut hits = _mm_setzero_si128();
            for needle in needles {
                hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, needle));
            }
            mask |= u64::from(_mm_movemask_epi8(hits) as u16) << (16 * i);
        }
        mask
    }
}

/// Bit i is set where byte i of the block is one of the needles.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
#[inline]
pub(crate) fn any_of<const N: usize>(block: &[u8; BLOCK], needles: [u8; N]) -> u64 {
    block.iter().enumerate().fold(0, |mask, (i, byte)| {
        mask | (u64::from(needles.contains(byte)) << i)
    })
}

/// Bit i is set where byte i cannot simply stand in a JSON string: a quote, a backslash, a control character.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[inline]
pub(crate) fn special(bytes: &[u8; 16]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };
    let bytes = u128::from_le_bytes(*bytes);
    // SAFETY: as above.
    unsafe {
        let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
    }
}

/// Bit i is set where byte i cannot simply stand in a JSON string: a quote, a backslash, a control character.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
#[inline]
pub(crate) fn special(bytes: &[u8; 16]) -> u32 {
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    bytes
        .iter()
        .enumerate()
        .fold(0, |mask, (i, &byte)| mask | (u32::from(special(byte)) << i))
}

/// Whether all of the bytes can simply stand in a JSON string.
#[inline]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(16);
    let special = |chunk: &[u8]| special(chunk.try_into().expect("sixteen bytes"));
    if !chunks.by_ref().all(|chunk| special(chunk) == 0) {
        return false;
    }
    let rest = chunks.remainder();
    let mut last = [b' '; 16];
    last[..rest.len()].copy_from_slice(rest);
    special(&last) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_the_bytes_are() {
        let mut block = [b'x'; BLOCK];
        for (i, byte) in [(0, b','), (15, b'\n'), (16, b','), (40, 0xff), (63, b'\n')] {
            block[i] = byte;
        }
        assert_eq!(
            any_of(&block, [b',', b'\n']),
            1 | 1 << 15 | 1 << 16 | 1 << 63
        );
        assert_eq!(any_of(&block, [0xff]), 1 << 40);
        assert_eq!(
            special(b"\"ab\x1f \xff\x80\\xyz\0\x7f!12"),
            1 | 1 << 3 | 1 << 7 | 1 << 11
        );
    }
}
