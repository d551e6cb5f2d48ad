//! Checks of columns that a guest hands out, as if an enemy wrote them. Every answer says which column
//! and which row. Nothing here allocates on the way to "fine".

/// Says what is wrong with a column, in words that follow its name.
pub type Check = Result<(), String>;

/// Offsets of n strings in `data_len` bytes: n + 1 of them, from 0, never falling, up to `data_len`.
pub fn offsets(offsets: &[u32], data_len: usize) -> Check {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        return Err("has no offsets (n strings have n + 1)".into());
    };
    if first != 0 {
        return Err(format!("starts at offset {first}, not 0"));
    }
    if last as usize != data_len {
        return Err(format!(
            "ends at offset {last}, but has {data_len} bytes of data"
        ));
    }
    // One pass without branches, which vectorises; the row is looked for only when something is wrong.
    let falls = offsets.windows(2).fold(false, |bad, w| bad | (w[1] < w[0]));
    if falls {
        let row = offsets
            .windows(2)
            .position(|w| w[1] < w[0])
            .expect("one pair falls");
        return Err(format!(
            "row {row}: its end, offset {}, lies before its start, {}",
            offsets[row + 1],
            offsets[row]
        ));
    }
    Ok(())
}

/// As many entries as there are rows.
pub fn length(found: usize, expected: usize) -> Check {
    if found == expected {
        Ok(())
    } else {
        Err(format!("has {found} entries for {expected} rows"))
    }
}

/// Bytes that are 0 or 1.
pub fn marks(bytes: &[u8]) -> Check {
    let all = bytes.iter().fold(0u8, |all, b| all | b);
    if all > 1 {
        let row = bytes
            .iter()
            .position(|b| *b > 1)
            .expect("one byte is above 1");
        return Err(format!("row {row}: byte {} is neither 0 nor 1", bytes[row]));
    }
    Ok(())
}

/// UTF-8 text cut at characters. `offsets` are checked already.
pub fn utf8(offsets: &[u32], data: &[u8]) -> Check {
    let Ok(text) = simdutf8::basic::from_utf8(data) else {
        let at = std::str::from_utf8(data)
            .err()
            .map_or(0, |e| e.valid_up_to());
        let row = offsets
            .partition_point(|o| *o as usize <= at)
            .saturating_sub(1);
        return Err(format!(
            "row {row}: not UTF-8 at byte {}",
            at - offsets[row] as usize
        ));
    };
    // All ASCII: every byte is a boundary.
    if data.is_ascii() {
        return Ok(());
    }
    match offsets
        .iter()
        .position(|o| !text.is_char_boundary(*o as usize))
    {
        None => Ok(()),
        Some(i) => Err(format!(
            "row {}: starts in the middle of a character",
            i.min(offsets.len() - 2)
        )),
    }
}

/// Numbers below a bound.
pub fn below(rows: &[u32], bound: u32, what: &str) -> Check {
    let largest = rows.iter().fold(0u32, |m, r| m.max(*r));
    if !rows.is_empty() && largest >= bound {
        let i = rows
            .iter()
            .position(|r| *r >= bound)
            .expect("one is too large");
        return Err(format!(
            "entry {i}: there is no {what} {} (there are {bound})",
            rows[i]
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_fall_are_named_by_row() {
        assert_eq!(
            offsets(&[0, 3, 2, 4], 4).unwrap_err(),
            "row 1: its end, offset 2, lies before its start, 3"
        );
        assert_eq!(
            offsets(&[], 0).unwrap_err(),
            "has no offsets (n strings have n + 1)"
        );
        assert_eq!(
            offsets(&[1, 2], 2).unwrap_err(),
            "starts at offset 1, not 0"
        );
        assert_eq!(
            offsets(&[0, 2], 3).unwrap_err(),
            "ends at offset 2, but has 3 bytes of data"
        );
        assert!(offsets(&[0], 0).is_ok() && offsets(&[0, 0, 2], 2).is_ok());
    }

    #[test]
    fn broken_utf8_is_named_by_row_and_byte() {
        assert_eq!(
            utf8(&[0, 2, 4], b"abc\xff").unwrap_err(),
            "row 1: not UTF-8 at byte 1"
        );
        assert_eq!(
            utf8(&[0, 1, 2], "é".as_bytes()).unwrap_err(),
            "row 1: starts in the middle of a character"
        );
        assert!(utf8(&[0, 2, 2, 3], "éa".as_bytes()).is_ok());
        assert!(utf8(&[0], b"").is_ok());
    }

    #[test]
    fn row_numbers_out_of_range_are_named_by_entry() {
        assert_eq!(
            below(&[0, 7, 1], 3, "input row").unwrap_err(),
            "entry 1: there is no input row 7 (there are 3)"
        );
        assert!(below(&[], 0, "input row").is_ok());
    }
}
