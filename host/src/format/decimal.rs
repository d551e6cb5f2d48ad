//! Integers as decimal digits, eight at a time: no loop over digits, no table.

/// Bytes of the longest integer.
pub(crate) const LEN_MAX: usize = 20;

/// Bytes that may be written to behind an integer's end.
pub(crate) const ROOM: usize = 8;

/// Writes an integer at a place; the place behind it. `LEN_MAX + ROOM` bytes from there on are written over.
#[inline]
pub(crate) fn write(out: &mut [u8], mut at: usize, int: i64) -> usize {
    if int < 0 {
        out[at] = b'-';
        at += 1;
    }
    let n = int.unsigned_abs();
    if n < HIGH {
        return first(out, at, n);
    }
    if n < HIGH * HIGH {
        let at = first(out, at, n / HIGH);
        return eight(out, at, n % HIGH);
    }
    let at = first(out, at, n / (HIGH * HIGH));
    let at = eight(out, at, n / HIGH % HIGH);
    eight(out, at, n % HIGH)
}

/// One with eight zeros.
const HIGH: u64 = 100_000_000;

/// Without leading zeros.
#[inline]
fn first(out: &mut [u8], at: usize, n: u64) -> usize {
    let digits = digits(n);
    // A zero has one digit, the last.
    let leading = ((digits | 1 << 56).trailing_zeros() / 8) as usize;
    put(out, at, (digits | ZEROS) >> (8 * leading));
    at + 8 - leading
}

/// With them.
#[inline]
fn eight(out: &mut [u8], at: usize, n: u64) -> usize {
    put(out, at, digits(n) | ZEROS);
    at + 8
}

const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

#[inline]
fn put(out: &mut [u8], at: usize, bytes: u64) {
    out[at..at + 8].copy_from_slice(&bytes.to_le_bytes());
}

/// Eight digits (0..=9 each), the most significant in the lowest byte, of a number below `HIGH`.
#[inline]
fn digits(n: u64) -> u64 {
    // Halves of four digits, then of two, then of one; each step is one multiplication for all halves at once: by
    // 10,486 / 2^20 a number below 10,000 is divided by 100, by 103 / 2^10 one below 100 by 10.
    let fours = (n / 10_000) | ((n % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(int: i64) -> String {
        let mut out = [b'x'; LEN_MAX + ROOM];
        let end = write(&mut out, 0, int);
        String::from_utf8(out[..end].to_vec()).expect("digits")
    }

    #[test]
    fn integers_of_every_length_and_at_every_edge_are_as_the_standard_library_has_them() {
        let mut ints = vec![0, i64::MIN, i64::MAX];
        for power in (0..19).map(|digits| 10i64.pow(digits)) {
            for factor in 1..=9 {
                let Some(int) = power.checked_mul(factor) else {
                    continue;
                };
                ints.extend([int - 1, int, int + 1, -int, 1 - int, -1 - int]);
            }
        }
        for int in ints {
            assert_eq!(written(int), int.to_string());
        }
    }

    #[test]
    fn all_halves_of_four_digits_are_right() {
        for n in 0..10_000u64 {
            for n in [n, n * 10_000, n * 10_001] {
                let all = format!("{n:08}");
                let wanted: Vec<u8> = all.bytes().map(|digit| digit - b'0').collect();
                assert_eq!(digits(n).to_le_bytes(), wanted[..], "{n}");
            }
        }
    }
}
