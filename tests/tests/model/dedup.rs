//! Dedup: the first of a key within a bound, on either side.

use crate::Scenario;
use crate::progress::{Model, walk};
use crate::random::Random;
use crate::script::{self, Record, Row, Shape};

struct Dedup {
    within: i64,
    accepted: Vec<(Option<&'static str>, i64)>,
    rows: Vec<Row>,
}

impl Model for Dedup {
    fn record(&mut self, record: &Record, line: usize, w: i64, _: i64) {
        let near = |(key, ts): &(Option<&'static str>, i64)| {
            *key == record.key && (ts - record.ts).abs() <= self.within
        };
        let sink = if record.ts <= w {
            "once.late"
        } else if self.accepted.iter().any(near) {
            return;
        } else {
            self.accepted.push((record.key, record.ts));
            "out"
        };
        self.rows.push(Row {
            line,
            sink,
            ts: record.ts,
            key: record.key.map(str::to_owned),
            value: record.value.to_string(),
            window: None,
        });
    }

    fn boundary(&mut self, _: usize, _: i64, _: i64) {}
}

/// A random one.
pub fn scenario(random: &mut Random) -> Scenario {
    let shape = Shape {
        sources: &["in"],
        partitions: 2,
        keyless: true,
        clock: false,
        disorder: 6_000,
    };
    let (disorder, within) = (
        random.of(&[0, 2_000, 10_000]),
        random.of(&[0, 1, 1_000, 3_000, 10_000]),
    );
    let lines = script::make(random, &shape);
    let mut model = Dedup {
        within,
        accepted: Vec::new(),
        rows: Vec::new(),
    };
    walk(&lines, disorder, &mut model);
    let job = format!(
        "name = \"model\"\n{}[step.once]\nfrom = \"in\"\ndedup = {{ within = \"{within}ms\" }}\n\
         [sink.out]\nfrom = \"once\"\ntype = \"console\"\nformat = \"json\"\n",
        script::sources(&shape, disorder)
    );
    Scenario {
        job,
        script: script::text(&lines, &shape),
        expected: model.rows,
    }
}
