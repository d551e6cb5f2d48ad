//! The part of a source that its `type` decides: files, stdin, generator, Kafka; and formats.

use super::super::document::{Node, Value};
use super::super::plan::{CsvSpec, FormatSpec, GeneratorSpec, SourceConnector};
use super::super::problem::{Problems, Span};
use super::super::reader::{Reader, string};
use crate::reach::Reach;

/// What `type` and the keys that go with it gave.
pub(super) struct TypedSource {
    /// None: something is wrong.
    pub connector: Option<SourceConnector>,
    /// Where `path` stands.
    pub path_span: Option<Span>,
    /// Whether it ends by itself.
    pub bounded: bool,
    /// How bytes become values.
    pub format: FormatSpec,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Stdin,
    Generator,
    Kafka,
}

/// Partitions that one source may have.
const PARTITIONS_MAX: i64 = 4_096;

/// Reads `type` and what goes with it.
pub(super) fn source(reader: &mut Reader<'_>, problems: &mut Problems) -> TypedSource {
    let kinds = [
        ("file", Kind::File),
        ("stdin", Kind::Stdin),
        ("generator", Kind::Generator),
        ("kafka", Kind::Kafka),
    ];
    reader.require("type", problems);
    let kind = reader.one_of("type", &kinds, problems);
    let Some(kind) = kind else {
        // Of an unknown type, any key may be right: say nothing of them.
        for key in ALL_KEYS {
            reader.any(key);
        }
        return TypedSource {
            connector: None,
            path_span: None,
            bounded: true,
            format: FormatSpec::Lines,
        };
    };
    match kind.value {
        Kind::File => file(reader, true, problems),
        Kind::Stdin => {
            let format = format(reader, false, problems);
            TypedSource {
                connector: Some(SourceConnector::Stdin),
                path_span: None,
                bounded: true,
                format,
            }
        }
        Kind::Generator => generator(reader, problems),
        Kind::Kafka => kafka(reader, problems),
    }
}

const ALL_KEYS: [&str; 22] = [
    "path",
    "partitions",
    "watch",
    "format",
    "delimiter",
    "header",
    "columns",
    "null",
    "types",
    "records",
    "rate",
    "seed",
    "template",
    "brokers",
    "topics",
    "topic",
    "group",
    "start",
    "end",
    "isolation",
    "on-gap",
    "client",
];

/// A table's file.
pub(super) fn table(reader: &mut Reader<'_>, problems: &mut Problems) -> TypedSource {
    reader.require("type", problems);
    if reader.one_of("type", &[("file", ())], problems).is_none() {
        for key in ALL_KEYS {
            reader.any(key);
        }
        return TypedSource {
            connector: None,
            path_span: None,
            bounded: true,
            format: FormatSpec::Lines,
        };
    }
    file(reader, false, problems)
}

fn file(reader: &mut Reader<'_>, stream: bool, problems: &mut Problems) -> TypedSource {
    let path = reader.required_string("path", problems);
    let mut partitions = None;
    let mut watch_ms = None;
    if stream {
        let span = reader.key_span("partitions");
        partitions = reader
            .integer("partitions", 1..=PARTITIONS_MAX, problems)
            .map(|n| n as usize);
        watch_ms = reader.duration("watch", 1..=86_400_000, problems);
        if let (Some(span), Some(_)) = (span, watch_ms) {
            problems.error(span, "\"partitions\" and \"watch\" do not go together: in a growing folder, each file is a partition");
        }
    }
    let format = format(reader, true, problems);
    if let (FormatSpec::Bytes, Some(span), Some(_)) =
        (&format, reader.key_span("partitions"), partitions)
    {
        problems.error(
            span,
            "\"partitions\" does not go with format = \"bytes\": a whole file is one record",
        );
    }
    let path_span = path.as_ref().map(|p| p.span);
    let pattern = path.and_then(|path| {
        if path.value.is_empty() {
            problems.error(path.span, "\"path\" is empty");
            return None;
        }
        if let Err(e) = glob::Pattern::new(&path.value) {
            problems.error(
                path.span,
                format!(
                    "\"path\" is not a file name or pattern: {} at character {}",
                    e.msg,
                    e.pos + 1
                ),
            );
            return None;
        }
        Some(path.value)
    });
    let connector = pattern.map(|pattern| SourceConnector::File {
        pattern,
        partitions,
        watch_ms,
        // The operator's word comes when the plan is made.
        reach: Reach::default(),
    });
    TypedSource {
        connector,
        path_span,
        bounded: watch_ms.is_none(),
        format,
    }
}

fn generator(reader: &mut Reader<'_>, problems: &mut Problems) -> TypedSource {
    let records = reader
        .integer("records", 0..=i64::MAX, problems)
        .map(i64::unsigned_abs);
    let rate = reader
        .integer("rate", 1..=1_000_000_000, problems)
        .map(i64::unsigned_abs);
    let seed = reader
        .integer("seed", 0..=i64::MAX, problems)
        .map_or(0, i64::unsigned_abs);
    let partitions = reader
        .integer("partitions", 1..=PARTITIONS_MAX, problems)
        .unwrap_or(1) as usize;
    let template = reader.string("template", problems);
    if let Some(text) = &template
        && let Err(message) = crate::source::GeneratorTemplate::parse(&text.value)
    {
        problems.error(text.span, message);
    }
    let template = template.map(|t| t.value);
    let spec = GeneratorSpec {
        records,
        rate,
        seed,
        partitions,
        template,
    };
    let connector = Some(SourceConnector::Generator(spec));
    TypedSource {
        connector,
        path_span: None,
        bounded: records.is_some(),
        format: FormatSpec::Json,
    }
}

fn kafka(reader: &mut Reader<'_>, problems: &mut Problems) -> TypedSource {
    let plan = super::kafka::source(reader, problems);
    let format = message_format(reader, problems);
    TypedSource {
        bounded: plan.as_ref().is_some_and(|p| p.end.is_some()),
        connector: plan.map(|p| SourceConnector::Kafka(Box::new(p))),
        path_span: None,
        format,
    }
}

/// A message is a value, whatever lines are in it.
fn message_format(reader: &mut Reader<'_>, problems: &mut Problems) -> FormatSpec {
    let choices = [
        ("bytes", FormatSpec::Bytes),
        ("json", FormatSpec::Json),
        ("lines", FormatSpec::Bytes),
    ];
    for key in ["delimiter", "header", "columns", "null", "types"] {
        reader.elsewhere(key, "messages of a topic are bytes or JSON");
    }
    reader
        .one_of("format", &choices, problems)
        .map_or(FormatSpec::Bytes, |f| f.value)
}

fn format(reader: &mut Reader<'_>, whole_files: bool, problems: &mut Problems) -> FormatSpec {
    #[derive(Clone, Copy)]
    enum Word {
        Lines,
        Json,
        Csv,
        Bytes,
    }
    let all = [
        ("lines", Word::Lines),
        ("json", Word::Json),
        ("csv", Word::Csv),
        ("bytes", Word::Bytes),
    ];
    let choices = if whole_files { &all[..] } else { &all[..3] };
    let word = reader
        .one_of("format", choices, problems)
        .map_or(Word::Lines, |w| w.value);
    if !matches!(word, Word::Csv) {
        for key in ["delimiter", "header", "columns", "null", "types"] {
            reader.elsewhere(key, "it goes with format = \"csv\"");
        }
    }
    match word {
        Word::Lines => FormatSpec::Lines,
        Word::Json => FormatSpec::Json,
        Word::Csv => FormatSpec::Csv(csv(reader, problems)),
        Word::Bytes => FormatSpec::Bytes,
    }
}

fn csv(reader: &mut Reader<'_>, problems: &mut Problems) -> CsvSpec {
    let delimiter = reader
        .string("delimiter", problems)
        .and_then(|d| match d.value.as_bytes() {
            [byte] if !matches!(byte, b'"' | b'\n' | b'\r') && byte.is_ascii() => Some(*byte),
            _ => {
                problems
                    .error(d.span, format!("\"delimiter\" cannot be {:?}", d.value))
                    .help("allowed: one ASCII character, such as \",\", \";\" or \"\\t\"");
                None
            }
        });
    let header = reader.boolean("header", problems).unwrap_or(true);
    let columns_span = reader.key_span("columns");
    let columns = reader.strings("columns", problems);
    match (columns_span, header) {
        (Some(span), true) => {
            problems.error(span, "\"columns\" goes with header = false: with a header, the first row names the columns");
        }
        (None, false) => {
            let span = reader.key_span("header").unwrap_or(reader.span);
            problems.error(
                span,
                "header = false needs columns = [...]: the names of the columns, in order",
            );
        }
        _ => {}
    }
    let mut seen = std::collections::HashSet::new();
    for column in columns.iter().flatten() {
        if !seen.insert(&column.value) {
            problems.error(
                column.span,
                format!("the column {:?} is there twice", column.value),
            );
        }
    }
    let nulls = match reader.any("null") {
        None => vec![String::new()],
        Some(Node {
            value: Value::Array(items),
            ..
        }) => items
            .iter()
            .filter_map(|i| string(i, "null", problems))
            .map(|s| s.value)
            .collect(),
        Some(node) => string(node, "null", problems)
            .map(|s| s.value)
            .into_iter()
            .collect(),
    };
    let types = reader.one_of("types", &[("numbers", false), ("strings", true)], problems);
    CsvSpec {
        delimiter: delimiter.unwrap_or(b','),
        header,
        columns: columns.map(|all| all.into_iter().map(|c| c.value).collect()),
        nulls,
        strings: types.is_some_and(|t| t.value),
    }
}
