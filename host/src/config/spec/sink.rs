//! `[sink.x]`.

use std::path::PathBuf;

use super::super::plan::{ConsoleFormat, FileFormat, SinkConnector};
use super::super::problem::{Problems, Span};
use super::super::reader::{At, Reader};
use super::common;
use crate::reach::Reach;

/// A sink, as typed.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Name.
    pub name: At<String>,
    /// What it reads.
    pub from: Vec<At<String>>,
    /// Where records go (paths as typed); none: something is wrong.
    pub connector: Option<SinkConnector>,
    /// Where its path stands.
    pub path_span: Option<Span>,
}

#[derive(Clone, Copy)]
enum Kind {
    Console,
    File,
    Blackhole,
    Kafka,
}

pub(super) fn read(name: At<String>, reader: &mut Reader<'_>, problems: &mut Problems) -> SinkSpec {
    let from = common::from(reader, problems);
    let kinds = [
        ("console", Kind::Console),
        ("file", Kind::File),
        ("blackhole", Kind::Blackhole),
        ("kafka", Kind::Kafka),
    ];
    reader.require("type", problems);
    let mut path_span = None;
    let connector = match reader.one_of("type", &kinds, problems) {
        None => {
            for key in [
                "format",
                "path",
                "roll",
                "overwrite",
                "brokers",
                "topic",
                "topic-from",
                "delivery",
                "partitioner",
                "compression",
                "headers",
                "client",
            ] {
                reader.any(key);
            }
            None
        }
        Some(At {
            value: Kind::Console,
            ..
        }) => {
            let formats = [
                ("table", ConsoleFormat::Table),
                ("json", ConsoleFormat::Json),
                ("value", ConsoleFormat::Value),
            ];
            let format = reader
                .one_of("format", &formats, problems)
                .map_or(ConsoleFormat::Json, |f| f.value);
            Some(SinkConnector::Console(format))
        }
        Some(At {
            value: Kind::File, ..
        }) => {
            path_span = reader.key_span("path");
            file(reader, problems)
        }
        Some(At {
            value: Kind::Blackhole,
            ..
        }) => Some(SinkConnector::Blackhole),
        Some(At {
            value: Kind::Kafka, ..
        }) => super::kafka::sink(reader, problems).map(|p| SinkConnector::Kafka(Box::new(p))),
    };
    SinkSpec {
        name,
        from,
        connector,
        path_span,
    }
}

fn file(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<SinkConnector> {
    let path = reader.required_string("path", problems);
    let formats = [("json", FileFormat::Json), ("value", FileFormat::Value)];
    let format = reader
        .one_of("format", &formats, problems)
        .map_or(FileFormat::Json, |f| f.value);
    let mut roll_bytes = 128 << 20;
    let mut roll_every_ms = None;
    if let Some(mut roll) = reader.table("roll", problems) {
        roll_bytes = roll
            .size("bytes", 1 << 10..=1 << 40, problems)
            .unwrap_or(roll_bytes);
        roll_every_ms = roll.duration("every", 100..=366 * 86_400_000, problems);
        roll.finish(problems);
    }
    let overwrite = reader.boolean("overwrite", problems).unwrap_or(false);
    let path = path?;
    if path.value.is_empty() {
        problems.error(path.span, "\"path\" is empty");
        return None;
    }
    Some(SinkConnector::File {
        path: PathBuf::from(path.value),
        format,
        roll_bytes,
        roll_every_ms,
        overwrite,
        // The operator's word comes when the plan is made.
        reach: Reach::default(),
    })
}
