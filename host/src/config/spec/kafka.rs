//! `type = "kafka"` of sources and sinks: their keys, and the settings that go to the client library.

use super::super::document::{Node, Value};
use super::super::kafka::{
    ClientSetting, KafkaDelivery, KafkaEnd, KafkaOffsets, KafkaSinkPlan, KafkaSourcePlan,
    KafkaStart, KafkaTopics, OnGap, SinkTopic,
};
use super::super::plan::FileFormat;
use super::super::problem::{Problems, Span, did_you_mean};
use super::super::reader::{At, Reader, pointer};
use super::super::secret::SecretText;
use crate::kafka::{Kind, settings};

/// Kafka's own limit.
const TOPIC_NAME_MAX: usize = 249;

pub(super) fn source(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<KafkaSourcePlan> {
    let brokers = brokers(reader, problems);
    let topics = topics(reader, problems);
    let group = reader.string("group", problems);
    let start = place(reader, "start", problems);
    let end = place(reader, "end", problems);
    let end = end.and_then(|at| match at.value {
        Place::Earliest => {
            problems
                .error(at.span, "\"end\" cannot be \"earliest\"")
                .help("allowed: \"latest\" (what is there when the job starts), { timestamp = … }, { offsets = { \"0\" = … } }");
            None
        }
        Place::Latest => Some(KafkaEnd::Latest),
        Place::Timestamp(t) => Some(KafkaEnd::Timestamp(t)),
        Place::Offsets(o) => Some(KafkaEnd::Offsets(o)),
    });
    let start = match start.map(|at| at.value) {
        None | Some(Place::Earliest) => KafkaStart::Earliest,
        Some(Place::Latest) => KafkaStart::Latest,
        Some(Place::Timestamp(t)) => KafkaStart::Timestamp(t),
        Some(Place::Offsets(o)) => KafkaStart::Offsets(o),
    };
    let isolation = [("read-committed", false), ("read-uncommitted", true)];
    let uncommitted = reader
        .one_of("isolation", &isolation, problems)
        .is_some_and(|i| i.value);
    let gaps = [
        ("fail", OnGap::Fail),
        ("earliest", OnGap::Earliest),
        ("latest", OnGap::Latest),
    ];
    let on_gap = reader
        .one_of("on-gap", &gaps, problems)
        .map_or(OnGap::Fail, |g| g.value);
    let headers = reader.boolean("headers", problems).unwrap_or(true);
    let client = client(reader, Kind::Consumer, problems);
    Some(KafkaSourcePlan {
        brokers: brokers?,
        topics: topics?,
        group: group.map(|g| g.value).unwrap_or_default(),
        start,
        end,
        uncommitted,
        on_gap,
        headers,
        client,
    })
}

pub(super) fn sink(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<KafkaSinkPlan> {
    let brokers = brokers(reader, problems);
    let from = reader
        .string("topic-from", problems)
        .and_then(|text| pointer(text, "topic-from", problems));
    if from.is_none() {
        reader.require("topic", problems);
    }
    let fixed = reader
        .string("topic", problems)
        .and_then(|t| topic_name(t, "topic", problems));
    let deliveries = [
        ("exactly-once", KafkaDelivery::ExactlyOnce),
        ("at-least-once", KafkaDelivery::AtLeastOnce),
    ];
    let delivery = reader.one_of("delivery", &deliveries, problems);
    let formats = [("json", FileFormat::Json), ("value", FileFormat::Value)];
    let format = reader
        .one_of("format", &formats, problems)
        .map_or(FileFormat::Value, |f| f.value);
    let partitioners = [
        ("murmur2", "murmur2_random"),
        ("crc32", "consistent_random"),
        ("random", "random"),
    ];
    let partitioner = reader
        .one_of("partitioner", &partitioners, problems)
        .map_or("murmur2_random", |p| p.value);
    let compressions = ["none", "lz4", "zstd", "snappy", "gzip"].map(|c| (c, c));
    let compression = reader
        .one_of("compression", &compressions, problems)
        .map_or("none", |c| c.value);
    let headers = reader.boolean("headers", problems).unwrap_or(true);
    let client = client(reader, Kind::Producer, problems);
    let topic = SinkTopic { fixed, from };
    if topic.fixed.is_none() && topic.from.is_none() {
        return None;
    }
    Some(KafkaSinkPlan {
        brokers: brokers?,
        topic,
        format,
        delivery: delivery.map_or(KafkaDelivery::ExactlyOnce, |d| d.value),
        partitioner,
        compression,
        headers,
        client,
        job: String::new(),
        every_ms: None,
    })
}

fn brokers(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<String> {
    let span = reader.key_span("brokers");
    reader.require("brokers", problems);
    let all = reader.strings("brokers", problems)?;
    let text = all
        .iter()
        .map(|b| b.value.as_str())
        .collect::<Vec<_>>()
        .join(",");
    let wrong = text
        .split(',')
        .any(|b| b.is_empty() || b.contains(char::is_whitespace) || b.contains("${"));
    if wrong {
        problems
            .error(
                span.unwrap_or(reader.span),
                format!("\"brokers\" cannot be {text:?}"),
            )
            .help("write \"host:port\", or several separated by commas");
        return None;
    }
    Some(text)
}

fn topics(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<KafkaTopics> {
    let key = if reader.has("topics") || !reader.has("topic") {
        "topics"
    } else {
        "topic"
    };
    if key == "topics" {
        reader.elsewhere("topic", "it is the same as \"topics\", which is there");
    }
    reader.require(key, problems);
    let all = reader.strings(key, problems)?;
    if let [one] = all.as_slice()
        && one.value.contains(['*', '?', '['])
    {
        if let Err(e) = glob::Pattern::new(&one.value) {
            let message = format!(
                "{key:?} is not a pattern: {} at character {}",
                e.msg,
                e.pos + 1
            );
            problems.error(one.span, message);
            return None;
        }
        return Some(KafkaTopics::Pattern(one.value.clone()));
    }
    let count = all.len();
    let names: Vec<String> = all
        .into_iter()
        .filter_map(|t| topic_name(t, key, problems))
        .collect();
    (names.len() == count).then_some(KafkaTopics::List(names))
}

fn topic_name(text: At<String>, key: &str, problems: &mut Problems) -> Option<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = &text.value;
    if name.is_empty()
        || name.len() > TOPIC_NAME_MAX
        || name == "."
        || name == ".."
        || !name.chars().all(good)
    {
        problems
            .error(text.span, format!("{key:?} cannot be {name:?}"))
            .help("a topic's name is made of letters, digits, \".\", \"_\" and \"-\", at most 249 of them");
        return None;
    }
    Some(text.value)
}

enum Place {
    Earliest,
    Latest,
    Timestamp(i64),
    Offsets(KafkaOffsets),
}

const PLACES: &str = "allowed: \"earliest\", \"latest\", { timestamp = … } (milliseconds, or RFC 3339), \
                      { offsets = { \"0\" = …, \"1\" = … } }";

fn place(reader: &mut Reader<'_>, key: &'static str, problems: &mut Problems) -> Option<At<Place>> {
    let node = reader.any(key)?;
    let span = node.span;
    let mut wrong = |message: String| {
        problems.error(span, message).help(PLACES);
        None
    };
    match &node.value {
        Value::String(word) if word == "earliest" => Some(At::new(Place::Earliest, span)),
        Value::String(word) if word == "latest" => Some(At::new(Place::Latest, span)),
        Value::String(word) => wrong(format!("{key:?} cannot be {word:?}")),
        Value::Table(_) => {
            let mut table = reader.table(key, problems)?;
            let time = table.any("timestamp").map(|t| timestamp(t, problems));
            let offsets = table.any("offsets").map(|o| offsets(o, problems));
            table.finish(problems);
            match (time, offsets) {
                (Some(time), None) => Some(At::new(Place::Timestamp(time?), span)),
                (None, Some(offsets)) => Some(At::new(Place::Offsets(offsets?), span)),
                _ => {
                    problems
                        .error(span, format!("{key:?} is either a timestamp or offsets"))
                        .help(PLACES);
                    None
                }
            }
        }
        other => wrong(format!("{key:?} cannot be {}", other.kind())),
    }
}

fn timestamp(node: &Node, problems: &mut Problems) -> Option<i64> {
    let parsed = |text: &str| {
        chrono::DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|t| t.timestamp_millis())
    };
    let time = match &node.value {
        Value::Integer(ms) => Some(*ms).filter(|ms| *ms >= 0),
        Value::String(text) | Value::Datetime(text) => parsed(text),
        _ => None,
    };
    if time.is_none() {
        problems
            .error(node.span, "\"timestamp\" is not a time")
            .help(
                "write milliseconds since 1970 UTC, or RFC 3339 such as \"2026-01-31T12:00:00Z\"",
            );
    }
    time
}

fn offsets(node: &Node, problems: &mut Problems) -> Option<KafkaOffsets> {
    let Value::Table(entries) = &node.value else {
        problems
            .error(node.span, "\"offsets\" is a table from partition to offset")
            .help("for example { offsets = { \"0\" = 120, \"1\" = 98 } }");
        return None;
    };
    let mut all = KafkaOffsets::new();
    for entry in entries {
        let partition = entry.key.parse::<i32>().ok().filter(|p| *p >= 0);
        let offset = match entry.node.value {
            Value::Integer(o) if o >= 0 => Some(o),
            _ => None,
        };
        match (partition, offset) {
            (Some(partition), Some(offset)) => {
                all.insert(partition, offset);
            }
            _ => {
                problems.error(
                    entry.key_span,
                    "a partition is a whole number in quotes, its offset a whole number",
                );
                return None;
            }
        }
    }
    Some(all)
}

/// `[source.x.client]`: an allow-list.
fn client(reader: &mut Reader<'_>, kind: Kind, problems: &mut Problems) -> Vec<ClientSetting> {
    let Some(entry) = reader.entry("client") else {
        return Vec::new();
    };
    let Value::Table(entries) = &entry.node.value else {
        problems.error(entry.node.span, "\"client\" is a table of client settings");
        return Vec::new();
    };
    let mut all = Vec::new();
    flatten("", entries, &mut |name, span, value| {
        if let Some(why) = settings::refusal(kind, name) {
            let hint = did_you_mean(name, settings::allowed(kind));
            problems.error(span, format!("{why}{hint}"));
            return;
        }
        let text = match &value.value {
            Value::String(text) => text.clone(),
            Value::Integer(n) => n.to_string(),
            Value::Boolean(b) => b.to_string(),
            other => {
                problems.error(value.span, format!("{name:?} cannot be {}", other.kind()));
                return;
            }
        };
        match SecretText::parse(&text) {
            Ok(text) => all.push(ClientSetting {
                name: name.to_owned(),
                span: value.span,
                text,
                value: None,
            }),
            Err(e) => {
                problems.error(value.span, format!("{name:?}: {e}"));
            }
        }
    });
    all
}

/// `linger.ms = 5` is, in TOML, a table `linger` with a key `ms`: both ways of writing are meant the same.
fn flatten(
    before: &str,
    entries: &[super::super::document::Entry],
    each: &mut dyn FnMut(&str, Span, &Node),
) {
    for entry in entries {
        let name = if before.is_empty() {
            entry.key.clone()
        } else {
            format!("{before}.{}", entry.key)
        };
        match &entry.node.value {
            Value::Table(inner) => flatten(&name, inner, each),
            _ => each(&name, entry.key_span, &entry.node),
        }
    }
}
