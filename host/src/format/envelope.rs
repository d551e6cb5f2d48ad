//! Records as lines: the JSON envelope (`key`, `value`, `timestamp`, `window`, `error`; absent parts left
//! out), and the bare value.
//!
//! A key or value that is valid JSON is embedded as it is, other UTF-8 is a string, other bytes are base64
//! (`value_base64`, `key_base64`). Must stay stable: people's programs read these lines.

use arrow_array::{Array, BinaryArray, Int64Array};

use super::json::{self, Shown};
use super::{row, value_bytes, write};
use crate::record::{Batch, ErrorInfo, Form};

/// Writes the envelopes of a batch.
pub struct Envelopes<'b> {
    batch: &'b Batch,
    values: BinaryArray,
    /// How each value is shown; none: all are documents.
    values_shown: Option<Vec<Shown>>,
    /// The host wrote them: each is one line.
    written_here: bool,
    /// How each key is shown.
    keys_shown: Vec<Shown>,
}

impl<'b> Envelopes<'b> {
    /// For this batch; its values become bytes, if they are not yet.
    ///
    /// # Panics
    /// If the plan had the values left out before.
    pub fn of(batch: &'b mut Batch) -> Envelopes<'b> {
        let values = value_bytes(batch);
        let written_here = matches!(batch.value.form, Form::Row(_) | Form::Csv(_));
        let documents = written_here || batch.value.documents;
        let values_shown = (!documents).then(|| json::shown(&values));
        let keys_shown = batch.keys.as_ref().map(json::shown).unwrap_or_default();
        Envelopes {
            batch,
            values,
            values_shown,
            written_here,
            keys_shown,
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
        let start = out.len();
        self.write_content(row, out);
        self.write_time(row, start, out);
        if let Some(errors) = &self.batch.errors {
            comma(out, start);
            out.extend_from_slice(b"\"error\":");
            error(out, &errors[row]);
        }
    }

    /// Key and value.
    #[inline]
    fn write_content(&self, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        if let Some(keys) = self.batch.keys.as_ref().filter(|keys| keys.is_valid(row)) {
            embed(out, b"\"key", keys.value(row), self.keys_shown[row]);
        }
        if self.values.is_valid(row) {
            comma(out, start);
            let shown = self.values_shown.as_ref().map(|shown| shown[row]);
            match shown {
                Some(shown) => embed(out, b"\"value", self.values.value(row), shown),
                None if self.written_here => {
                    out.extend_from_slice(b"\"value\":");
                    out.extend_from_slice(self.values.value(row));
                }
                None => embed(out, b"\"value", self.values.value(row), Shown::Document),
            }
        }
    }

    /// Timestamp and window.
    #[inline]
    fn write_time(&self, row: usize, start: usize, out: &mut Vec<u8>) {
        if let Some(timestamps) = self
            .batch
            .timestamps
            .as_ref()
            .filter(|timestamps| timestamps.is_valid(row))
        {
            comma(out, start);
            out.extend_from_slice(b"\"timestamp\":");
            write::int(out, timestamps.value(row));
        }
        if let Some(windows) = self
            .batch
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
    }

    /// Whether timestamp and window of a row are those of the row before. (Where they are null, the values do
    /// not count; then the answer may be no.)
    #[inline]
    fn same_time(&self, row: usize) -> bool {
        let same = |array: &Int64Array| {
            array.values()[row] == array.values()[row - 1]
                && array.is_valid(row)
                && array.is_valid(row - 1)
        };
        row > 0
            && self.batch.timestamps.as_ref().is_none_or(same)
            && self
                .batch
                .windows
                .as_ref()
                .is_none_or(|w| same(&w.starts) && same(&w.ends))
    }
}

/// Appends all records as envelopes, one a line.
pub fn write_envelopes(batch: &mut Batch, out: &mut Vec<u8>) {
    let len = batch.len;
    let envelopes = Envelopes::of(batch);
    if envelopes.batch.errors.is_some() {
        for row in 0..len {
            envelopes.write(row, out);
            out.push(b'\n');
        }
        return;
    }
    // Results of one window come together: what they share is copied from the line before.
    let mut time = 0..0;
    let mut alone = true;
    for row in 0..len {
        out.push(b'{');
        let start = out.len();
        envelopes.write_content(row, out);
        let content = out.len();
        let first = content == start;
        if first == alone && envelopes.same_time(row) {
            out.extend_from_within(time);
        } else {
            envelopes.write_time(row, start, out);
            out.extend_from_slice(b"}\n");
        }
        alone = first;
        time = content..out.len();
    }
}

/// Appends all values as they are, one a line. A null is an empty line; JSON that stands on several
/// lines is made one.
pub fn write_values(batch: &mut Batch, out: &mut Vec<u8>) {
    if let (Form::Row(rows), None) = (&batch.value.form, &batch.value.bytes) {
        return row::write_lines(rows, batch.len, out);
    }
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
fn embed(out: &mut Vec<u8>, name: &[u8], bytes: &[u8], shown: Shown) {
    out.extend_from_slice(name);
    match shown {
        Shown::Document => {
            out.extend_from_slice(b"\":");
            embed_json(out, bytes);
        }
        Shown::Text => {
            out.extend_from_slice(b"\":\"");
            write::escaped(out, bytes);
            out.push(b'"');
        }
        Shown::Bytes => {
            out.extend_from_slice(b"_base64\":\"");
            base64(out, bytes);
            out.push(b'"');
        }
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
    use std::sync::Arc;

    use super::*;
    use crate::record::{Value, Windows};

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

    fn lines(mut batch: Batch) -> Vec<String> {
        let mut out = Vec::new();
        write_envelopes(&mut batch, &mut out);
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(str::to_string)
            .collect()
    }

    fn bytes(values: &[Option<&[u8]>]) -> Batch {
        Batch::of(
            values.len(),
            Value::new(Form::Bytes(values.iter().copied().collect())),
        )
    }

    #[test]
    fn documents_that_were_checked_when_they_were_read_are_not_looked_at_again() {
        use crate::format::{Wanted, decode};
        let wanted = Wanted {
            documents: true,
            ..Wanted::default()
        };
        let good: [Option<&[u8]>; 4] = [Some(b"{\"a\":1}"), None, Some(b" \"x\"\r"), Some(b"7")];
        let mut batch = bytes(&good);
        let unread = lines(batch.clone());
        assert_eq!(decode(&mut batch, &wanted), []);
        assert!(batch.value.documents);
        assert_eq!(lines(batch.clone()), unread);
        let part = batch.take(&[2, 0]);
        assert!(part.value.documents);
        assert_eq!(lines(part), [&unread[2][..], &unread[0]]);
        // One that is none takes the mark from all: dead letters show it as the text that it is.
        let mut mixed = bytes(&[Some(b"1"), Some(b"{")]);
        assert_eq!(decode(&mut mixed, &wanted).len(), 1);
        assert!(!mixed.value.documents);
        assert_eq!(lines(mixed.clone()), [r#"{"value":1}"#, r#"{"value":"{"}"#]);
        assert!(!Batch::concat(vec![batch, mixed]).value.documents);
    }

    #[test]
    fn valid_json_is_embedded_other_text_is_a_string_and_other_bytes_are_base64() {
        let mut batch = bytes(&[
            Some(b"{\"a\":\n1}"),
            Some(b"EWR"),
            Some(b"\xff"),
            None,
            Some(b""),
            Some(b"null"),
            Some("ä\"".as_bytes()),
        ]);
        batch.keys = Some(
            [
                Some(&b"[\"EWR\",\"UA\"]"[..]),
                Some(b"12"),
                Some(b"01"),
                Some(b"k"),
                None,
                None,
                Some(b"\xfe"),
            ]
            .into_iter()
            .collect(),
        );
        let expected = [
            r#"{"key":["EWR","UA"],"value":{"a": 1}}"#,
            r#"{"key":12,"value":"EWR"}"#,
            r#"{"key":"01","value_base64":"/w=="}"#,
            r#"{"key":"k"}"#,
            r#"{"value":""}"#,
            r#"{"value":null}"#,
            r#"{"key_base64":"/g==","value":"ä\""}"#,
        ];
        assert_eq!(lines(batch), expected);
    }

    #[test]
    fn time_and_window_come_behind_the_value_and_absent_parts_are_left_out() {
        let mut batch = bytes(&[Some(b"1"), Some(b"2"), None, None, None, Some(b"3")]);
        batch.timestamps = Some(vec![Some(9), Some(9), Some(9), Some(9), None, None].into());
        batch.windows = Some(Windows {
            starts: vec![0, 0, 0, 0, 0, 0].into(),
            ends: vec![10, 10, 10, 10, 10, 10].into(),
        });
        let window = r#""window":{"start":0,"end":10}}"#;
        let both = format!(r#""timestamp":9,{window}"#);
        let expected = [
            format!(r#"{{"value":1,{both}"#),
            format!(r#"{{"value":2,{both}"#),
            format!("{{{both}"),
            format!("{{{both}"),
            format!("{{{window}"),
            format!(r#"{{"value":3,{window}"#),
        ];
        assert_eq!(lines(batch), expected);
        assert_eq!(lines(bytes(&[None])), ["{}"]);
    }

    #[test]
    fn a_dead_letter_says_what_was_wrong() {
        let mut batch = bytes(&[Some(b"oops"), Some(b"x")]);
        let error = ErrorInfo {
            step: "parse".into(),
            function: Some("p.parse".into()),
            plugin_sha256: Some("ab".into()),
            kind: "rejected",
            message: "a \"bad\" one".into(),
            source: Some("in".into()),
            partition: Some(2),
            offset: Some(u64::MAX),
            log: vec!["one".into(), "two".into()],
        };
        let bare = ErrorInfo {
            function: None,
            plugin_sha256: None,
            source: None,
            partition: None,
            offset: None,
            log: vec![],
            ..error.clone()
        };
        batch.errors = Some(Arc::from([error, bare]));
        let expected = [
            r#"{"value":"oops","error":{"step":"parse","function":"p.parse","plugin_sha256":"ab","kind":"rejected","message":"a \"bad\" one","source":"in","partition":2,"offset":18446744073709551615,"log":["one","two"]}}"#,
            r#"{"value":"x","error":{"step":"parse","kind":"rejected","message":"a \"bad\" one"}}"#,
        ];
        assert_eq!(lines(batch), expected);
    }

    #[test]
    fn bare_values_stand_one_a_line() {
        let mut out = Vec::new();
        write_values(
            &mut bytes(&[Some(b"{\"a\":\n1}"), None, Some(b"text")]),
            &mut out,
        );
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\": 1}\n\ntext\n");
    }
}
