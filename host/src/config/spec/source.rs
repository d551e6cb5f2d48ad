//! `[source.x]` and `[table.x]`: what is read, and how keys, timestamps and watermarks are made of it.

use super::super::document::{Node, Value};
use super::super::plan::{
    FormatSpec, KeyPointers, OnError, SourceConnector, TimeUnit, TimestampSpec,
};
use super::super::problem::{Problems, Span};
use super::super::reader::{At, Reader, pointer};
use super::super::values::DURATION_MAX_MS;
use super::{common, connector, on_error};

/// A source, as typed.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Name.
    pub name: At<String>,
    /// Where records come from; none: something in it is wrong (noted already).
    pub connector: Option<SourceConnector>,
    /// Where its path stands, for file sources.
    pub path_span: Option<Span>,
    /// Whether it ends by itself.
    pub bounded: bool,
    /// How bytes become values.
    pub format: FormatSpec,
    /// Key.
    pub key: Option<KeyPointers>,
    /// Timestamp.
    pub timestamp: Option<TimestampSpec>,
    /// Watermarks.
    pub event_time: Option<At<EventTimeSpec>>,
    /// Policy.
    pub on_error: Option<At<OnError>>,
}

/// `event-time`, as typed; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimeSpec {
    /// Allowed disorder.
    pub max_disorder_ms: i64,
    /// If typed.
    pub idle_after_ms: Option<i64>,
    /// If typed.
    pub max_ahead_ms: Option<i64>,
}

/// A table, as typed.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Name.
    pub name: At<String>,
    /// The stream that keeps it current; empty: it is read from `file`.
    pub from: Vec<At<String>>,
    /// The file it is read from.
    pub file: Option<SourceSpec>,
}

pub(super) fn read(
    name: At<String>,
    reader: &mut Reader<'_>,
    problems: &mut Problems,
) -> SourceSpec {
    let typed = connector::source(reader, problems);
    let key = common::key(reader, "key", problems);
    let timestamp = timestamp(reader, problems);
    let event_time = event_time(reader, problems);
    let on_error = on_error(reader, problems);
    SourceSpec {
        name,
        connector: typed.connector,
        path_span: typed.path_span,
        bounded: typed.bounded,
        format: typed.format,
        key,
        timestamp,
        event_time,
        on_error,
    }
}

pub(super) fn read_table(
    name: At<String>,
    reader: &mut Reader<'_>,
    problems: &mut Problems,
) -> TableSpec {
    if reader.has("from") && !reader.has("type") {
        for key in ["path", "format", "key", "timestamp"] {
            reader.elsewhere(
                key,
                "a table with \"from\" takes keys, values and timestamps of that stream",
            );
        }
        let from = common::from(reader, problems);
        return TableSpec {
            name,
            from,
            file: None,
        };
    }
    reader.elsewhere(
        "from",
        "a table has either \"type\" (a file) or \"from\" (a stream)",
    );
    reader.elsewhere(
        "event-time",
        "a table from a file is read whole before the job starts",
    );
    let typed = connector::table(reader, problems);
    reader.require("key", problems);
    let key = common::key(reader, "key", problems);
    let timestamp = timestamp(reader, problems);
    let choices = [("fail", OnError::Fail), ("skip", OnError::Skip)];
    let on_error = reader.one_of("on-error", &choices, problems);
    let file = SourceSpec {
        name: name.clone(),
        connector: typed.connector,
        path_span: typed.path_span,
        bounded: true,
        format: typed.format,
        key,
        timestamp,
        event_time: None,
        on_error,
    };
    TableSpec {
        name,
        from: Vec::new(),
        file: Some(file),
    }
}

/// `timestamp`: a pointer, or a table of pointer, unit, format.
fn timestamp(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<TimestampSpec> {
    let is_table = matches!(
        reader.any("timestamp"),
        Some(Node {
            value: Value::Table(_),
            ..
        })
    );
    if !is_table {
        let text = reader.string("timestamp", problems)?;
        let pointer = pointer(text, "timestamp", problems)?;
        return Some(TimestampSpec {
            pointer,
            unit: TimeUnit::Millis,
            format: None,
        });
    }
    let mut table = reader.table("timestamp", problems)?;
    let at = table
        .required_string("pointer", problems)
        .and_then(|t| pointer(t, "pointer", problems));
    let units = [
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Millis),
        ("us", TimeUnit::Micros),
    ];
    let unit = table.one_of("unit", &units, problems);
    let format = table.string("format", problems);
    if let Some(format) = &format {
        let mut items = chrono::format::StrftimeItems::new(&format.value);
        if format.value.is_empty() || items.any(|i| matches!(i, chrono::format::Item::Error)) {
            problems
                .error(format.span, format!("\"format\" cannot be {:?}", format.value))
                .help("allowed: strftime fields, such as \"%Y-%m-%d %H:%M:%S\"; without an offset it is UTC");
        }
    }
    table.finish(problems);
    Some(TimestampSpec {
        pointer: at?,
        unit: unit.map_or(TimeUnit::Millis, |u| u.value),
        format: format.map(|f| f.value),
    })
}

/// `event-time`, of a source or a step.
pub(super) fn event_time(
    reader: &mut Reader<'_>,
    problems: &mut Problems,
) -> Option<At<EventTimeSpec>> {
    let span = reader.key_span("event-time");
    let mut table = reader.table("event-time", problems)?;
    let max_disorder_ms = table
        .duration("max-disorder", 0..=DURATION_MAX_MS, problems)
        .unwrap_or(0);
    let idle_after_ms = table.duration("idle-after", 1..=DURATION_MAX_MS, problems);
    let max_ahead_ms = table.duration("max-ahead", 0..=DURATION_MAX_MS, problems);
    table.finish(problems);
    Some(At::new(
        EventTimeSpec {
            max_disorder_ms,
            idle_after_ms,
            max_ahead_ms,
        },
        span?,
    ))
}
