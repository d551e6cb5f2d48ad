//! One CSV row, byte by byte: for rows with quotes, headers, and the last row of a stream.
//!
//! A quote opens a quoted cell only at the cell's start; inside, two quotes are one; what follows a closing
//! quote up to the delimiter belongs to the cell as it is. (As the `csv` crate reads.) Rows end at LF or CRLF.

/// What came of trying to read a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// A row: bytes it took, and line ends among them.
    Whole { used: usize, lines: u64 },
    /// Its end is not among the bytes.
    Open,
}

/// Reads the row at the front of `bytes`. Each cell is handed over by `cell(bytes of it)`, unquoted.
/// `end`: the stream ends with these bytes, so an open row is whole.
pub(super) fn read(bytes: &[u8], delimiter: u8, end: bool, mut cell: impl FnMut(&[u8])) -> Row {
    let mut text = Vec::new();
    let mut at = 0;
    let mut lines = 0;
    loop {
        text.clear();
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                match bytes.get(at) {
                    Some(b'"') if bytes.get(at + 1) == Some(&b'"') => {
                        text.push(b'"');
                        at += 2;
                    }
                    // Whether it closes the cell depends on the next byte.
                    Some(b'"') if at + 1 == bytes.len() && !end => return Row::Open,
                    Some(b'"') => {
                        at += 1;
                        break;
                    }
                    Some(&byte) => {
                        lines += u64::from(byte == b'\n');
                        text.push(byte);
                        at += 1;
                    }
                    None if end => break,
                    None => return Row::Open,
                }
            }
        }
        let rest = &bytes[at..];
        let stop = rest.iter().position(|&b| b == delimiter || b == b'\n');
        match stop {
            Some(n) => {
                text.extend_from_slice(&rest[..n]);
                at += n + 1;
                if rest[n] == delimiter {
                    cell(&text);
                    continue;
                }
                if text.last() == Some(&b'\r') && n > 0 {
                    text.pop();
                }
                cell(&text);
                return Row::Whole {
                    used: at,
                    lines: lines + 1,
                };
            }
            None if end => {
                text.extend_from_slice(rest);
                if text.last() == Some(&b'\r') && !rest.is_empty() {
                    text.pop();
                }
                cell(&text);
                return Row::Whole {
                    used: bytes.len(),
                    lines,
                };
            }
            None => return Row::Open,
        }
    }
}
