//! Lookups in a table that is kept current: every version of every key kept, in the order in which they came.

use crate::Scenario;
use crate::progress::{END, Model, NONE, walk_by_source};
use crate::random::Random;
use crate::script::{self, Line, Record, Row, Shape};

/// An update: key, timestamp, value (0: a deletion).
type Version = (&'static str, i64, i64);

struct Lookup {
    left: bool,
    as_of: bool,
    versions: Vec<Version>,
    /// Records of the boundary, and those that the table has not caught up with.
    waiting: Vec<Record>,
    table_w: i64,
    rows: Vec<Row>,
}

impl Lookup {
    fn find(&self, record: &Record) -> Option<i64> {
        let mut of_key = self.versions.iter().filter(|v| Some(v.0) == record.key);
        let found = match self.as_of {
            false => of_key.next_back(),
            // Of versions with one timestamp the last to come; `max_by_key` takes the last of equals.
            true => of_key.filter(|v| v.1 <= record.ts).max_by_key(|v| v.1),
        };
        found.map(|v| v.2).filter(|value| *value != 0)
    }
}

impl Model for Lookup {
    fn record(&mut self, record: &Record, _: usize, _: i64, _: i64) {
        // The table reads the last source: a value of 1 stands for a deletion there.
        if record.source == 2 {
            let value = if record.value == 1 { 0 } else { record.value };
            let key = record.key.expect("tables get keys here");
            self.versions.push((key, record.ts, value));
        } else {
            self.waiting.push(record.clone());
        }
    }

    fn inputs(&mut self, watermarks: &[i64]) {
        self.table_w = watermarks[2];
    }

    fn boundary(&mut self, line: usize, w: i64, _: i64) {
        let table_w = if w == END { END } else { self.table_w };
        for record in std::mem::take(&mut self.waiting) {
            if self.as_of && record.ts > table_w {
                self.waiting.push(record);
                continue;
            }
            let found = self.find(&record);
            if found.is_none() && !self.left {
                continue;
            }
            let right = found.map_or("null".to_owned(), |v| v.to_string());
            self.rows.push(Row {
                line,
                sink: "out",
                ts: record.ts,
                key: record.key.map(str::to_owned),
                value: format!(r#"{{"left":{},"right":{right}}}"#, record.value),
                window: None,
            });
        }
    }
}

const SHAPE: Shape = Shape {
    sources: &["a", "b", "t"],
    partitions: 2,
    keyless: false,
    clock: false,
    disorder: 6_000,
};

/// Records of two sources, a table from a third.
pub fn scenario(random: &mut Random) -> Scenario {
    let disorder = random.of(&[0, 2_000, 10_000]);
    let (left, as_of) = (random.one_in(2), random.one_in(2));
    let mut lines = script::make(random, &SHAPE);
    // Whose time counts while some are silent is another test's.
    lines.retain(|line| !matches!(line, Line::Idle(..)));
    let mut model = Lookup {
        left,
        as_of,
        versions: Vec::new(),
        waiting: Vec::new(),
        table_w: NONE,
        rows: Vec::new(),
    };
    walk_by_source(&lines, 3, disorder, false, &mut model);
    let kind = if left { "left" } else { "inner" };
    let as_of = if as_of { "as-of = \"1h\"\n" } else { "" };
    let job = format!(
        "name = \"model\"\n{}[table.names]\nfrom = \"t\"\n[step.named]\nfrom = [\"a\", \"b\"]\nlookup = \"names\"\n\
         join = \"{kind}\"\n{as_of}[sink.out]\nfrom = \"named\"\ntype = \"console\"\nformat = \"json\"\n",
        script::sources(&SHAPE, disorder)
    );
    let text = script::text(&lines, &SHAPE);
    let deletions = text.into_iter().map(|line| match line.contains("\"t\"") {
        true => line.replace("\"value\":1,", "\"value\":null,"),
        false => line,
    });
    Scenario {
        job,
        script: deletions.collect(),
        expected: model.rows,
    }
}
