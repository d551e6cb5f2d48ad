//! Records as lines: the JSON envelope (`key`, `value`, `timestamp`, `window`, `error`; absent parts left
//! out), and the bare value.
//!
//! A key or value that is valid JSON is embedded as it is, other UTF-8 is a string, other bytes are base64
//! (`value_base64`, `key_base64`). Must stay stable: people's programs read these lines.

use arrow_array::{Array, BinaryArray};

use super::{json, value_bytes, write};
use crate::record::{Batch, ErrorInfo, Form};

/// Writes the envelopes of a batch.
pub struct Envelopes<'b> {
    batch: &'b Batch,
    values: BinaryArray,
    /// The host wrote the values itself: they need no check.
    values_are_json: bool,
}

impl<'b> Envelopes<'b> {
    /// For this batch; its values become bytes, if they are not yet.
    ///
    /// # Panics
    /// If the plan had the values left out before.
    pub fn of(batch: &'b mut Batch) -> Envelopes<'b> {
        let values = value_bytes(batch);
        let values_are_json = matches!(batch.value.form, Form::Row(_) | Form::Csv(_));
        Envelopes {
            batch,
            values,
            values_are_json,
        }
    }

    /// The batch.
    pub fn batch(&self) -> &Batch {
        self.batch
    }

    /// Appends row `row`'s envelope, without a line end.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_parts(row, out);
        out.push(b'}');
    }

    /// Appends the members of row `row`'s envelope, separated by commas, without braces: for lines that have
    /// further members.
    pub fn write_parts(&self, row: usize, out: &mut Vec<u8>) {
        let batch = self.batch;
        let start = out.len();
        if let Some(keys) = batch.keys.as_ref().filter(|keys| keys.is_valid(row)) {
            embed(out, b"\"key", keys.value(row), false);
        }
        if self.values.is_valid(row) {
            comma(out, start);
            embed(
                out,
                b"\"value",
                self.values.value(row),
                self.values_are_json,
            );
        }
        if let Some(timestamps) = batch
            .timestamps
            .as_ref()
            .filter(|timestamps| timestamps.is_valid(row))
        {
            comma(out, start);
            out.extend_from_slice(b"\"timestamp\":");
            write::int(out, timestamps.value(row));
        }
        if let Some(windows) = batch
            .windows
            .as_ref()
            .filter(|w| w.starts.is_valid(row) && w.ends.is_valid(row))
        {
            comma(out, start);
            out.extend_from_slice(b"\"window\":{\"start\":");
            write::int(out, windows.starts.value(row));
            out.extend_from_slice(b",\"end\":");
            write::int(out, windows.ends.value(row));
            out.push(b'}');
        }
        if let Some(errors) = &batch.errors {
            comma(out, start);
            out.extend_from_slice(b"\"error\":");
            error(out, &errors[row]);
        }
    }
}

/// Appends all records as envelopes, one a line.
pub fn write_envelopes(batch: &mut Batch, out: &mut Vec<u8>) {
    let len = batch.len;
    let envelopes = Envelopes::of(batch);
    for row in 0..len {
        envelopes.write(row, out);
        out.push(b'\n');
    }
}

/// Appends all values as they are, one a line. A null is an empty line; JSON that stands on several
/// lines is made one.
pub fn write_values(batch: &mut Batch, out: &mut Vec<u8>) {
    let values = value_bytes(batch);
    out.reserve(values.value_data().len() + values.len());
    for row in 0..values.len() {
        let value = if values.is_valid(row) {
            values.value(row)
        } else {
            b""
        };
        if memchr::memchr2(b'\n', b'\r', value).is_some() && json::is_document(value) {
            embed_json(out, value);
        } else {
            out.extend_from_slice(value);
        }
        out.push(b'\n');
    }
}

/// A comma, unless nothing was written since `start`.
#[inline]
fn comma(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

/// A member; `name` has its opening quote only.
#[inline]
fn embed(out: &mut Vec<u8>, name: &[u8], bytes: &[u8], is_json: bool) {
    out.extend_from_slice(name);
    if is_json {
        out.extend_from_slice(b"\":");
        out.extend_from_slice(bytes);
    } else if json::is_document(bytes) {
        out.extend_from_slice(b"\":");
        embed_json(out, bytes);
    } else if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        out.extend_from_slice(b"\":");
        write::string(out, text);
    } else {
        out.extend_from_slice(b"_base64\":\"");
        base64(out, bytes);
        out.push(b'"');
    }
}

/// A document as it is, but on one line.
#[inline]
fn embed_json(out: &mut Vec<u8>, document: &[u8]) {
    if memchr::memchr2(b'\n', b'\r', document).is_none() {
        out.extend_from_slice(document);
    } else {
        // Line ends stand between tokens only: inside strings they are escaped.
        out.extend(
            document
                .iter()
                .map(|&b| if b == b'\n' || b == b'\r' { b' ' } else { b }),
        );
    }
}

fn error(out: &mut Vec<u8>, error: &ErrorInfo) {
    let text = |out: &mut Vec<u8>, name: &str, text: &str| {
        out.extend_from_slice(name.as_bytes());
        write::string(out, text);
    };
    text(out, "{\"step\":", &error.step);
    if let Some(function) = &error.function {
        text(out, ",\"function\":", function);
    }
    if let Some(sha256) = &error.plugin_sha256 {
        text(out, ",\"plugin_sha256\":", sha256);
    }
    text(out, ",\"kind\":", error.kind);
    text(out, ",\"message\":", &error.message);
    if let Some(source) = &error.source {
        text(out, ",\"source\":", source);
    }
    if let Some(partition) = error.partition {
        out.extend_from_slice(b",\"partition\":");
        write::int(out, i64::from(partition));
    }
    if let Some(offset) = error.offset {
        out.extend_from_slice(b",\"offset\":");
        out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
    }
    if !error.log.is_empty() {
        out.extend_from_slice(b",\"log\":");
        for (i, line) in error.log.iter().enumerate() {
            text(out, if i == 0 { "[" } else { "," }, line);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Base64 with the standard alphabet and padding (RFC 4648).
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let bits = (u32::from(chunk[0]) << 16)
            | (u32::from(chunk.get(1).copied().unwrap_or(0)) << 8)
            | u32::from(chunk.get(2).copied().unwrap_or(0));
        for i in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { digit } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_the_standard_examples_do() {
        let of = |s: &str| {
            let mut out = Vec::new();
            base64(&mut out, s.as_bytes());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            ["", "f", "fo", "foo", "foob"].map(of),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
        );
    }
}
