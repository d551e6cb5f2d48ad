//! Reading text many bytes at a time.
//!
//! In the sandbox each turn of a loop asks whether the host wants the call to end. Loops whose turn is a byte, as those
//! of `str::parse` and `str::split`, pay for that most. Here a turn is 8 or 16 bytes: digits are read as in Daniel
//! Lemire's "Quickly parsing eight digits", separators are found as in the crate `memchr`, but all of 16 bytes at once.
//!
//! No more than what jobs do to each of their records is here; other text is `str`'s.

/// The integer that a text is: `text.trim().parse().ok()`, without a turn for each digit.
///
/// ```
/// use wasmill_plugin::text::integer;
///
/// assert_eq!(integer(" -42\r\n"), Some(-42));
/// assert_eq!(integer("4.2"), None);
/// ```
#[inline]
pub fn integer(text: impl AsRef<[u8]>) -> Option<i64> {
    let bytes = trimmed(text.as_ref())?;
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let size = unsigned(digits)?;
    if negative {
        0i64.checked_sub_unsigned(size)
    } else {
        i64::try_from(size).ok()
    }
}

/// Without the white space around it, of which there mostly is none.
#[inline]
fn trimmed(bytes: &[u8]) -> Option<&[u8]> {
    let visible = |byte: &u8| (b'!'..=b'~').contains(byte);
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if visible(first) && visible(last) => Some(bytes),
        _ => spaced(bytes),
    }
}

#[cold]
fn spaced(bytes: &[u8]) -> Option<&[u8]> {
    Some(std::str::from_utf8(bytes).ok()?.trim().as_bytes())
}

/// Of digits alone, at least one.
#[inline]
fn unsigned(digits: &[u8]) -> Option<u64> {
    if digits.len() <= 8 {
        return up_to_eight(digits);
    }
    long(digits)
}

fn long(digits: &[u8]) -> Option<u64> {
    let (rest, last) = digits.split_last_chunk::<8>()?;
    let low = eight(u64::from_le_bytes(*last))?;
    let high = match rest.split_last_chunk::<8>() {
        None => up_to_eight(rest)?,
        Some(([], middle)) => eight(u64::from_le_bytes(*middle))?,
        // Nineteen digits fit 64 bits.
        Some((first @ ([_] | [_, _] | [_, _, _]), middle)) => {
            up_to_eight(first)? * 100_000_000 + eight(u64::from_le_bytes(*middle))?
        }
        Some(_) => return very_long(digits),
    };
    Some(high * 100_000_000 + low)
}

/// Zeros before others may be as many as one likes.
#[cold]
fn very_long(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    // A sign has been read before.
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

/// One to eight digits: zeros are put before them.
#[inline]
fn up_to_eight(digits: &[u8]) -> Option<u64> {
    let missing = 8 - digits.len() as u32;
    let text = match digits {
        [] => return None,
        // First, middle and last of up to three are all of them; two at the same place are the same.
        [first] | [first, _] | [first, _, _] => {
            let middle = digits.len() / 2;
            let last = digits[digits.len() - 1];
            u64::from(*first) << (8 * missing)
                | u64::from(digits[middle]) << (8 * (missing + middle as u32))
                | u64::from(last) << 56
        }
        // The first four and the last four, which may overlap.
        _ => {
            let first = u32::from_le_bytes(*digits.first_chunk()?);
            let last = u32::from_le_bytes(*digits.last_chunk()?);
            u64::from(first) << (8 * missing) | u64::from(last) << 32
        }
    };
    let zeros = ZEROS & !(u64::MAX << (8 * missing));
    eight(text | zeros)
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Eight characters, the first in the lowest byte: their number, if all of them are digits.
#[inline]
fn eight(text: u64) -> Option<u64> {
    // A digit's upper half is 3, and stays so when 6 is added.
    const UPPER: u64 = 0xF0F0_F0F0_F0F0_F0F0;
    let above_nine = text.wrapping_add(0x0606_0606_0606_0606);
    if (text & UPPER) != ZEROS || (above_nine & UPPER) != ZEROS {
        return None;
    }
    let ones = text & 0x0F0F_0F0F_0F0F_0F0F;
    // Neighbours are put together: two, four, eight digits.
    let pairs = (ones.wrapping_mul(10 << 8 | 1) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_FFFF_0000_FFFF;
    Some(fours.wrapping_mul(10_000 << 32 | 1) >> 32)
}

/// Appends an integer as people and JSON write it.
///
/// ```
/// let mut text = b"n = ".to_vec();
/// wasmill_plugin::text::write_integer(-42, &mut text);
/// assert_eq!(text, b"n = -42");
/// ```
#[inline]
pub fn write_integer(n: i64, out: &mut Vec<u8>) {
    if n < 0 {
        out.push(b'-');
    }
    let size = n.unsigned_abs();
    if size < EIGHT_DIGITS {
        write_first(size as u32, out);
    } else {
        write_long(size, out);
    }
}

fn write_long(size: u64, out: &mut Vec<u8>) {
    let (high, low) = (size / EIGHT_DIGITS, size % EIGHT_DIGITS);
    if high < EIGHT_DIGITS {
        write_first(high as u32, out);
    } else {
        write_first((high / EIGHT_DIGITS) as u32, out);
        out.extend_from_slice(&(digits(high % EIGHT_DIGITS) | ZEROS).to_le_bytes());
    }
    out.extend_from_slice(&(digits(low) | ZEROS).to_le_bytes());
}

/// Numbers below it have eight digits at most.
const EIGHT_DIGITS: u64 = 100_000_000;

/// Without zeros before it. Eight bytes are written however few remain: a copy of a length that is not known is a call
/// of the host's.
#[inline]
fn write_first(n: u32, out: &mut Vec<u8>) {
    let digits = digits(u64::from(n));
    // The last is written if it is zero, too.
    let zeros = (digits | 1 << 56).trailing_zeros() / 8;
    let text = (digits | ZEROS) >> (8 * zeros);
    out.extend_from_slice(&text.to_le_bytes());
    out.truncate(out.len() - zeros as usize);
}

/// A number below 100,000,000 as eight digits, a byte each, the first in the lowest.
#[inline]
fn digits(n: u64) -> u64 {
    // Fours, pairs and digits, all of a kind at once. Products with these constants, shifted, are quotients: by 10,000 for
    // all numbers here, by 100 below 10,000, by 10 below 100.
    let fours = (n / 10_000) | ((n % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let pairs = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((pairs - tens * 10) << 8)
}

/// The parts of a text between separators: `text.split(separator)`.
///
/// ```
/// use wasmill_plugin::text::split;
///
/// let mut parts = split("https://a.example/shop/item", b'/').skip(3);
/// assert_eq!(parts.next(), Some("shop"));
/// ```
///
/// # Panics
/// If the separator is no ASCII character.
#[inline]
pub fn split(text: &str, separator: u8) -> Split<'_> {
    assert!(separator.is_ascii(), "a separator is an ASCII character");
    Split {
        text,
        separator,
        start: Some(0),
        block: 0,
        found: 0,
        searched: 0,
    }
}

/// What [`split`] gives.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    text: &'a str,
    separator: u8,
    /// Where the next part starts. None after the last.
    start: Option<usize>,
    /// Where the bytes of `found` start.
    block: usize,
    /// The separators in them that were not passed yet: a bit each.
    found: u16,
    /// Bytes of the text that are in this block or before it.
    searched: usize,
}

/// Bytes that are looked at together.
const BLOCK: usize = 16;

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let start = self.start?;
        while self.found == 0 {
            let Some(rest) = self.text.as_bytes().get(self.searched..) else {
                self.start = None;
                return self.text.get(start..);
            };
            self.block = self.searched;
            self.searched += BLOCK;
            self.found = match rest.first_chunk() {
                Some(block) => places(block, self.separator),
                None => places_in_last(rest, self.separator),
            };
        }
        let end = self.block + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        self.start = Some(end + 1);
        self.text.get(start..end)
    }
}

/// Where in these the byte is: bit 0 is the first.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn places(block: &[u8; BLOCK], byte: u8) -> u16 {
    use std::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, u64x2};
    let all = u128::from_le_bytes(*block);
    let bytes = u64x2(all as u64, (all >> 64) as u64);
    u8x16_bitmask(u8x16_eq(bytes, u8x16_splat(byte)))
}

/// Where in these the byte is: bit 0 is the first.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline]
fn places(block: &[u8; BLOCK], byte: u8) -> u16 {
    let bit = |(at, found): (usize, &u8)| u16::from(*found == byte) << at;
    block
        .iter()
        .enumerate()
        .map(bit)
        .fold(0, |all, bit| all | bit)
}

/// The same of fewer.
#[inline]
fn places_in_last(rest: &[u8], byte: u8) -> u16 {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    places(&block, byte) & !(u16::MAX << rest.len())
}

#[cfg(test)]
mod tests {
    use super::{EIGHT_DIGITS, ZEROS, digits, integer, split, write_integer};

    #[test]
    fn parts_are_those_of_the_standard_library() {
        let mut texts = vec![
            String::new(),
            "//".repeat(40),
            "é/é".repeat(11),
            "\0/\0".into(),
        ];
        for len in 0..70 {
            for step in 1..20 {
                let byte = |at| if at % step == 0 { '/' } else { 'x' };
                texts.push((0..len).map(byte).collect());
                texts.push((1..=len).map(byte).collect());
            }
        }
        for text in texts {
            for separator in [b'/', b'x', b'\0'] {
                let plain: Vec<&str> = text.split(char::from(separator)).collect();
                assert_eq!(
                    split(&text, separator).collect::<Vec<_>>(),
                    plain,
                    "{text:?}"
                );
            }
        }
    }

    fn plain(text: &str) -> Option<i64> {
        text.trim().parse().ok()
    }

    #[test]
    fn integers_are_read_as_the_standard_library_reads_them() {
        let mut texts: Vec<String> = [
            "",
            "-",
            "+",
            "+-1",
            "-+1",
            "--1",
            "++1",
            "+1",
            "-0",
            "007",
            " 5",
            "5\t",
            "\u{a0}5\u{3000}",
            "1 2",
            "5.0",
            "1e3",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "9999999999999999999",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999",
            "00000000000000000000000000000000000042",
            "-00000000000000000000000000000000000042",
            "+0000000000000000000000+42",
            "é",
            "1é",
            "é1",
            "٣",
        ]
        .map(String::from)
        .to_vec();
        for len in 1..=20 {
            texts.push("1234567890123456789012"[..len].into());
            // Each byte that is next to the digits, at each place.
            for at in 0..len {
                for byte in ['/', ':', '0', '9', 'p', ' ', '\0', '\u{7f}'] {
                    let mut text: Vec<char> = "9876543210987654321098"[..len].chars().collect();
                    text[at] = byte;
                    texts.push(text.into_iter().collect());
                }
            }
        }
        for text in texts {
            for text in [text.clone(), format!("-{text}"), format!(" {text}\n")] {
                assert_eq!(integer(&text), plain(&text), "{text:?}");
            }
        }
        assert_eq!(integer(b"1\xff"), None);
        assert_eq!(integer(b"\xff"), None);
    }

    #[test]
    fn eight_digits_are_those_of_the_number() {
        for n in (0..EIGHT_DIGITS)
            .step_by(997)
            .chain(0..20_000)
            .chain([EIGHT_DIGITS - 1])
        {
            assert_eq!(
                (digits(n) | ZEROS).to_le_bytes(),
                format!("{n:08}").as_bytes()
            );
        }
    }

    #[test]
    fn integers_of_all_sizes_come_back() {
        let mut n = 1u64;
        for step in 0..100_000u64 {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
            let n = (n >> (step % 64)) as i64;
            let plain = n.to_string();
            assert_eq!(integer(&plain), Some(n));
            let mut text = b"x".to_vec();
            write_integer(n, &mut text);
            assert_eq!(text, format!("x{plain}").as_bytes());
        }
    }
}
