//! Writing JSON, compact, digit for digit as serde_json does.

use super::found::{Found, unescape};
use super::mask;

/// A string with its quotes; escapes only what must be.
#[inline]
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text.as_bytes());
    out.push(b'"');
}

/// The inside of a string, given as UTF-8.
#[inline]
pub(crate) fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if mask::is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        escape_each(out, bytes);
    }
}

#[cold]
fn escape_each(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}

/// What stands before each value of an object with these members: `{"first":`, then `,"second":` …
pub(crate) fn member_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Vec<u8>> {
    let named = names.enumerate().map(|(i, name)| {
        let mut bytes = vec![if i == 0 { b'{' } else { b',' }];
        string(&mut bytes, name);
        bytes.push(b':');
        bytes
    });
    named.collect()
}

/// An integer.
#[inline]
pub(crate) fn int(out: &mut Vec<u8>, int: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(int).as_bytes());
}

/// A float; null if it is not finite, as JSON has no word for that.
#[inline]
pub(crate) fn float(out: &mut Vec<u8>, float: f64) {
    if float.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(float).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// A boolean.
#[inline]
pub(crate) fn bool(out: &mut Vec<u8>, bool: bool) {
    out.extend_from_slice(if bool { b"true" } else { b"false" });
}

/// Whatever was found, as JSON: tokens as they were written; missing as null.
pub(crate) fn found(out: &mut Vec<u8>, found: Found<'_>) {
    match found {
        Found::Missing | Found::Null => out.extend_from_slice(b"null"),
        Found::Bool(b) => bool(out, b),
        Found::Int(i, "") => int(out, i),
        Found::Int(_, token)
        | Found::Number(token)
        | Found::Escaped(token)
        | Found::Json(token) => {
            out.extend_from_slice(token.as_bytes());
        }
        Found::Float(f) => float(out, f),
        Found::Text(text) => string(out, text),
        Found::Cell(cell, numbers) => self::cell(out, cell, numbers),
    }
}

/// A CSV cell that is not null.
#[inline]
pub(crate) fn cell(out: &mut Vec<u8>, cell: &str, numbers: bool) {
    let first = cell.as_bytes().first();
    let number = numbers && matches!(first, Some(b'-' | b'0'..=b'9'));
    if number && super::number::is_json_number(cell.as_bytes()) {
        out.extend_from_slice(cell.as_bytes());
    } else {
        string(out, cell);
    }
}

/// Whatever was found, as compact JSON in one spelling: no white space, no needless escapes. For keys, where
/// equal values must give equal bytes. Numbers keep their token.
pub(crate) fn canonical(out: &mut Vec<u8>, found: Found<'_>) {
    match found {
        Found::Escaped(json) => match unescape(json) {
            Some(text) => string(out, &text),
            None => out.extend_from_slice(json.as_bytes()),
        },
        Found::Json(json) => compact(out, json),
        _ => self::found(out, found),
    }
}

/// Valid JSON without the white space between its tokens, and strings in their shortest spelling.
fn compact(out: &mut Vec<u8>, json: &str) {
    let bytes = json.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b' ' | b'\n' | b'\r' | b'\t' => i += 1,
            b'"' => {
                let start = i;
                let mut escapes = false;
                i += 1;
                while bytes[i] != b'"' {
                    escapes |= bytes[i] == b'\\';
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                i += 1;
                let text = &json[start..i];
                canonical(
                    out,
                    if escapes {
                        Found::Escaped(text)
                    } else {
                        Found::Text(&text[1..text.len() - 1])
                    },
                );
            }
            byte => {
                out.push(byte);
                i += 1;
            }
        }
    }
}
