//! Scripts: made at random, walked line by line, and the lines that come out.

use crate::random::Random;

/// A record of a script.
#[derive(Clone, Debug)]
pub struct Record {
    /// Index of its source.
    pub source: usize,
    /// Its partition.
    pub partition: usize,
    /// Its key.
    pub key: Option<&'static str>,
    /// Its value.
    pub value: i64,
    /// Its timestamp.
    pub ts: i64,
}

/// A line of a script.
#[derive(Clone, Debug)]
pub enum Line {
    /// A record.
    Record(Record),
    /// `{"flush":true}`
    Flush,
    /// A watermark by hand: source, partition, watermark.
    Watermark(usize, usize, i64),
    /// Idle: source, partition.
    Idle(usize, usize),
    /// Processing time.
    Now(i64),
    /// A checkpoint: nothing that shows.
    Checkpoint,
    /// A restart, maybe at another parallelism: nothing that shows.
    Restart(Option<i64>),
    /// The end.
    End,
}

/// What may be in a script.
pub struct Shape {
    /// Names of the sources.
    pub sources: &'static [&'static str],
    /// Partitions of each.
    pub partitions: usize,
    /// Whether some records have no key.
    pub keyless: bool,
    /// Whether processing time moves.
    pub clock: bool,
    /// How far back a record may be, milliseconds: more than the job allows gives late ones.
    pub disorder: i64,
}

/// Makes a script that ends with `{"end":true}`. Every partition is known, at watermark 0, before the first
/// record.
pub fn make(random: &mut Random, shape: &Shape) -> Vec<Line> {
    let mut lines = Vec::new();
    for source in 0..shape.sources.len() {
        for partition in 0..shape.partitions {
            lines.push(Line::Watermark(source, partition, 0));
        }
    }
    let (mut time, mut now) = (1_000, 0);
    let restarts = random.one_in(3);
    for _ in 0..random.between(5, 60) {
        let source = random.between(0, shape.sources.len() as i64 - 1) as usize;
        let partition = random.between(0, shape.partitions as i64 - 1) as usize;
        match random.between(0, 19) {
            0..=3 => lines.push(Line::Flush),
            4 if random.one_in(2) => lines.push(Line::Idle(source, partition)),
            5 if random.one_in(2) => lines.push(Line::Watermark(
                source,
                partition,
                time - random.between(0, 4_000),
            )),
            8 if restarts => lines.push(Line::Checkpoint),
            9 if restarts => {
                let parallelism = random.of(&[None, Some(1), Some(3)]);
                lines.push(Line::Restart(parallelism));
            }
            6 | 7 if shape.clock => {
                now += random.of(&[1, 500, 1_000, 3_000, 7_000]);
                lines.push(Line::Now(now));
            }
            _ => {
                time += random.of(&[0, 1, 100, 500, 1_000, 4_000]);
                let back = if random.one_in(2) {
                    0
                } else {
                    random.between(0, shape.disorder)
                };
                // Even thousands make ranges touch and bounds coincide.
                let ts = if random.one_in(2) {
                    (time - back) / 1_000 * 1_000
                } else {
                    time - back
                };
                let key = random.of(&["a", "b", "a", "c"]);
                lines.push(Line::Record(Record {
                    source,
                    partition,
                    key: (!shape.keyless || !random.one_in(6)).then_some(key),
                    value: random.between(1, 9),
                    ts,
                }));
            }
        }
    }
    lines.push(Line::End);
    lines
}

/// The script as text.
pub fn text(lines: &[Line], shape: &Shape) -> Vec<String> {
    let name = |source: &usize| shape.sources[*source];
    lines
        .iter()
        .map(|line| match line {
            Line::Record(r) => {
                let key = r.key.map(|k| format!(r#""key":"{k}","#)).unwrap_or_default();
                let (source, partition, value, ts) = (name(&r.source), r.partition, r.value, r.ts);
                format!(r#"{{"source":"{source}","partition":{partition},{key}"value":{value},"timestamp":{ts}}}"#)
            }
            Line::Flush => r#"{"flush":true}"#.to_owned(),
            Line::Watermark(source, partition, w) => {
                format!(r#"{{"source":"{}","partition":{partition},"watermark":{w}}}"#, name(source))
            }
            Line::Idle(source, partition) => {
                format!(r#"{{"source":"{}","partition":{partition},"idle":true}}"#, name(source))
            }
            Line::Now(now) => format!(r#"{{"now":{now}}}"#),
            Line::Checkpoint => r#"{"checkpoint":true}"#.to_owned(),
            Line::Restart(None) => r#"{"restart":true}"#.to_owned(),
            Line::Restart(Some(n)) => format!(r#"{{"restart":{{"parallelism":{n}}}}}"#),
            Line::End => r#"{"end":true}"#.to_owned(),
        })
        .collect()
}

/// The sources as a job has them.
pub fn sources(shape: &Shape, max_disorder: i64) -> String {
    let one = |name: &&str| {
        format!(
            "[source.{name}]\ntype = \"generator\"\n[source.{name}.event-time]\nmax-disorder = \"{max_disorder}ms\"\n"
        )
    };
    shape.sources.iter().map(one).collect()
}

/// A line of output. Fields are in the order that sorts it: line, sink, timestamp, key, value; absent
/// first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Script line after which it came out.
    pub line: usize,
    /// Sink or unread port.
    pub sink: &'static str,
    /// Timestamp.
    pub ts: i64,
    /// Key.
    pub key: Option<String>,
    /// Value, as JSON.
    pub value: String,
    /// Window, of window steps' own results.
    pub window: Option<(i64, i64)>,
}

/// The rows as lines, in the order in which they are printed.
pub fn rendered(rows: &[Row]) -> Vec<String> {
    let mut rows = rows.to_vec();
    rows.sort();
    let text = |row: &Row| {
        let Row {
            line,
            sink,
            ts,
            value,
            ..
        } = row;
        let key = row
            .key
            .as_ref()
            .map(|k| format!(r#""key":"{k}","#))
            .unwrap_or_default();
        let window = row
            .window
            .map(|(start, end)| format!(r#","window":{{"start":{start},"end":{end}}}"#));
        let window = window.unwrap_or_default();
        format!(
            r#"{{"line":{line},"sink":"{sink}",{key}"value":{value},"timestamp":{ts}{window}}}"#
        )
    };
    rows.iter().map(text).collect()
}
