//! One line of a test script: parsed, checked against the job's sources, nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A record for a source's partition.
    Record(ScriptRecord),
    /// Everything else: it flushes first.
    Control(Control),
}

/// A record as written.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptRecord {
    /// Name of the source.
    pub source: String,
    /// Partition.
    pub partition: u32,
    /// Given key: none = the line has none, and the source's pointers apply.
    pub key: Option<Option<Vec<u8>>>,
    /// The value; none: null.
    pub value: Option<Vec<u8>>,
    /// Given timestamp: likewise.
    pub timestamp: Option<Option<i64>>,
}

/// A control line.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// A watermark by hand.
    Watermark {
        source: String,
        partition: u32,
        watermark: i64,
    },
    /// A partition falls silent, or (`false`) speaks again.
    Idle {
        source: String,
        partition: u32,
        idle: bool,
    },
    /// Partitions 0..n exist.
    Partitions { source: String, partitions: u32 },
    /// Processing time.
    Now(i64),
    /// A boundary.
    Flush,
    /// Remember this point.
    Checkpoint,
    /// Back to the last checkpoint, perhaps at another parallelism.
    Restart { parallelism: Option<usize> },
    /// End of input.
    End,
}

const PARTITIONS_MAX: u32 = 65_536;
/// As many as a job may have.
const PARALLELISM_MAX: usize = crate::step::KEY_GROUPS as usize;

/// Members of a line with their values as written.
type Members<'a> = Vec<(String, &'a RawValue)>;

/// Parses a line. The error says what is wrong and what is allowed.
pub fn parse(text: &str) -> Result<Line, String> {
    let members: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))?;
    let members: Members<'_> = members.into_iter().collect();
    let has = |name: &str| members.iter().any(|(n, _)| n == name);
    if !has("source") {
        return control(&members).map(Line::Control);
    }
    let source: String = member(&members, "source")?.ok_or("source needs a name")?;
    let partition: Option<u32> = member(&members, "partition")?;
    if partition.is_some_and(|p| p >= PARTITIONS_MAX) {
        return Err(format!("partition is past the limit of {PARTITIONS_MAX}"));
    }
    let partition = partition.unwrap_or(0);
    if has("watermark") {
        only(&members, &["source", "partition", "watermark"])?;
        let watermark = member(&members, "watermark")?.ok_or("watermark needs a number")?;
        return Ok(Line::Control(Control::Watermark {
            source,
            partition,
            watermark,
        }));
    }
    if has("idle") {
        only(&members, &["source", "partition", "idle"])?;
        let idle = member(&members, "idle")?.ok_or("idle needs true or false")?;
        return Ok(Line::Control(Control::Idle {
            source,
            partition,
            idle,
        }));
    }
    if has("partitions") {
        only(&members, &["source", "partitions"])?;
        let partitions = member(&members, "partitions")?.ok_or("partitions needs a number")?;
        if partitions > PARTITIONS_MAX {
            return Err(format!("partitions is past the limit of {PARTITIONS_MAX}"));
        }
        return Ok(Line::Control(Control::Partitions { source, partitions }));
    }
    only(
        &members,
        &[
            "source",
            "partition",
            "key",
            "key_base64",
            "value",
            "value_base64",
            "timestamp",
        ],
    )?;
    let timestamp = if has("timestamp") {
        Some(member(&members, "timestamp")?)
    } else {
        None
    };
    let key = if has("key") || has("key_base64") {
        Some(bytes(&members, "key", "key_base64")?)
    } else {
        None
    };
    let value = bytes(&members, "value", "value_base64")?;
    Ok(Line::Record(ScriptRecord {
        source,
        partition,
        key,
        value,
        timestamp,
    }))
}

fn control(members: &Members<'_>) -> Result<Control, String> {
    let [(name, value)] = members.as_slice() else {
        return Err("a line is a record (it has source) or one of watermark, idle, partitions (with source), now, flush, checkpoint, restart, end".into());
    };
    let holds = || match value.get() {
        "true" => Ok(()),
        other => Err(format!("{name} takes true, not {other}")),
    };
    match name.as_str() {
        "now" => Ok(Control::Now(
            member(members, "now")?.ok_or("now needs milliseconds")?,
        )),
        "flush" => holds().map(|()| Control::Flush),
        "checkpoint" => holds().map(|()| Control::Checkpoint),
        "end" => holds().map(|()| Control::End),
        "restart" if value.get() == "true" => Ok(Control::Restart { parallelism: None }),
        "restart" => {
            #[derive(serde::Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Options {
                parallelism: usize,
            }
            let options: Options = serde_json::from_str(value.get())
                .map_err(|e| format!("restart takes true or {{\"parallelism\": n}}: {e}"))?;
            if options.parallelism == 0 || options.parallelism > PARALLELISM_MAX {
                return Err(format!("parallelism must be 1 to {PARALLELISM_MAX}"));
            }
            Ok(Control::Restart {
                parallelism: Some(options.parallelism),
            })
        }
        other => Err(format!(
            "unknown line {other:?}: allowed are source, now, flush, checkpoint, restart, end"
        )),
    }
}

fn member<T: serde::de::DeserializeOwned>(
    members: &Members<'_>,
    name: &str,
) -> Result<Option<T>, String> {
    match members.iter().find(|(n, _)| n == name) {
        Some((_, raw)) => serde_json::from_str(raw.get()).map_err(|e| format!("{name}: {e}")),
        None => Ok(None),
    }
}

fn only(members: &Members<'_>, allowed: &[&str]) -> Result<(), String> {
    match members.iter().find(|(n, _)| !allowed.contains(&n.as_str())) {
        Some((name, _)) => Err(format!(
            "unknown member {name:?}: allowed here are {}",
            allowed.join(", ")
        )),
        None => Ok(()),
    }
}

/// A string is its own bytes, other JSON its compact text, absent or null a null.
fn bytes(members: &Members<'_>, name: &str, base64: &str) -> Result<Option<Vec<u8>>, String> {
    let text = members
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, raw)| raw.get());
    let encoded: Option<String> = member(members, base64)?;
    match (text, encoded) {
        (Some(_), Some(_)) => Err(format!("{name} and {base64} exclude each other")),
        (None, Some(encoded)) => BASE64
            .decode(&encoded)
            .map(Some)
            .map_err(|e| format!("{base64}: {e}")),
        (None, None) | (Some("null"), None) => Ok(None),
        (Some(text), None) if text.starts_with('"') => {
            let string: String = serde_json::from_str(text).map_err(|e| format!("{name}: {e}"))?;
            Ok(Some(string.into_bytes()))
        }
        (Some(text), None) => Ok(Some(compact(text))),
    }
}

/// Drops white space outside of strings: numbers and strings stay as they are written.
fn compact(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json.as_bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> ScriptRecord {
        match parse(text) {
            Ok(Line::Record(record)) => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_keeps_what_is_absent_apart_from_null() {
        let line = record(r#"{"source":"s","value":{"n": 1.0, "t":"a b\" c"},"timestamp":-5}"#);
        assert_eq!(line.key, None);
        assert_eq!(
            line.value.as_deref(),
            Some(&br#"{"n":1.0,"t":"a b\" c"}"#[..])
        );
        assert_eq!(line.timestamp, Some(Some(-5)));
        let line = record(r#"{"source":"s","key":null,"value":"text","partition":3}"#);
        assert_eq!(
            (line.key, line.value, line.timestamp, line.partition),
            (Some(None), Some(b"text".to_vec()), None, 3)
        );
        assert_eq!(
            record(r#"{"source":"s","key_base64":"/w=="}"#).key,
            Some(Some(vec![255]))
        );
    }

    #[test]
    fn control_lines_are_read() {
        let control = |text| match parse(text) {
            Ok(Line::Control(control)) => control,
            other => panic!("{other:?}"),
        };
        assert_eq!(control(r#"{"flush":true}"#), Control::Flush);
        assert_eq!(control(r#"{"now":5000}"#), Control::Now(5000));
        assert_eq!(
            control(r#"{"restart":{"parallelism":3}}"#),
            Control::Restart {
                parallelism: Some(3)
            }
        );
        assert_eq!(
            control(r#"{"restart":true}"#),
            Control::Restart { parallelism: None }
        );
        let watermark = Control::Watermark {
            source: "s".into(),
            partition: 1,
            watermark: i64::MAX,
        };
        assert_eq!(
            control(r#"{"source":"s","partition":1,"watermark":9223372036854775807}"#),
            watermark
        );
    }

    #[test]
    fn a_line_that_is_none_is_told_what_is_allowed() {
        let broken = [
            ("[]", "not a JSON object"),
            (r#"{"source":"s","vlaue":1}"#, "unknown member \"vlaue\""),
            (r#"{"source":null,"value":1}"#, "source needs a name"),
            (r#"{"restart":{"parallelism":129}}"#, "must be 1 to 128"),
            (r#"{"flush":false}"#, "takes true"),
            (r#"{"flsh":true}"#, "unknown line"),
            (r#"{"source":"s","timestamp":1.5}"#, "timestamp"),
            (r#"{"source":"s","partition":-1}"#, "partition"),
            (r#"{"restart":{"parallelism":0}}"#, "must be 1 to"),
            (
                r#"{"source":"s","key":1,"key_base64":"AA=="}"#,
                "exclude each other",
            ),
        ];
        for (line, expected) in broken {
            let error = parse(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
