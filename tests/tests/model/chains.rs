//! A window step behind another step: what comes out of the first is a record of the second, in the same
//! flush.

use crate::Scenario;
use crate::joins::{self, Join};
use crate::progress::{END, Model, NONE, walk};
use crate::random::Random;
use crate::script::{self, Record, Row, Shape};
use crate::windows::Windows;

/// A step that others can be behind.
trait First: Model {
    /// The rows that came out since they were last asked for.
    fn take(&mut self) -> Vec<Row>;
    /// The watermark behind it.
    fn behind(&self, w: i64) -> i64;
}

impl First for Windows {
    fn take(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    fn behind(&self, w: i64) -> i64 {
        w
    }
}

impl First for Join {
    fn take(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    fn behind(&self, w: i64) -> i64 {
        if w == END || w == NONE {
            w
        } else {
            w - self.age()
        }
    }
}

struct Chain<F> {
    first: F,
    second: Windows,
    /// Of the first step, that no one reads.
    rows: Vec<Row>,
    /// The first step's watermark at the boundary before.
    before: i64,
}

impl<F: First> Chain<F> {
    /// Hands on what came out of the first step, while the second stands at `w`.
    fn hand_on(&mut self, line: usize, w: i64, now: i64) {
        let w = self.first.behind(w);
        for row in self.first.take() {
            if row.sink != "out" {
                self.rows.push(row);
                continue;
            }
            let key = row.key.as_deref().map(|key| {
                ["a", "b", "c"]
                    .into_iter()
                    .find(|k| *k == key)
                    .expect("a known key")
            });
            // Joins give objects, which the second step only counts.
            let value = row.value.parse().unwrap_or(0);
            self.second.record(
                &Record {
                    source: 0,
                    partition: 0,
                    key,
                    value,
                    ts: row.ts,
                },
                line,
                w,
                now,
            );
        }
    }
}

impl<F: First> Model for Chain<F> {
    fn record(&mut self, record: &Record, line: usize, w: i64, now: i64) {
        self.first.record(record, line, w, now);
        self.hand_on(line, w, now);
    }

    fn boundary(&mut self, line: usize, w: i64, now: i64) {
        self.first.boundary(line, w, now);
        self.hand_on(line, self.before, now);
        self.second.boundary(line, self.first.behind(w), now);
        self.before = w;
    }
}

fn scenario<F: First>(
    random: &mut Random,
    shape: &Shape,
    first: F,
    steps: &str,
    second: Windows,
) -> Scenario {
    let disorder = random.of(&[0, 2_000, 10_000]);
    let lines = script::make(random, shape);
    let mut model = Chain {
        first,
        second,
        rows: Vec::new(),
        before: NONE,
    };
    walk(&lines, disorder, &mut model);
    let mut expected = model.rows;
    expected.extend(model.second.rows);
    let job = format!(
        "name = \"model\"\n{}{steps}[sink.out]\nfrom = \"w\"\ntype = \"console\"\nformat = \"json\"\n",
        script::sources(shape, disorder)
    );
    Scenario {
        job,
        script: script::text(&lines, shape),
        expected,
    }
}

/// Windows of windows.
pub fn windows(random: &mut Random) -> Scenario {
    let shape = Shape {
        sources: &["in"],
        partitions: 2,
        keyless: true,
        clock: false,
        disorder: 8_000,
    };
    let (size, times) = (random.of(&[1_000, 2_000, 5_000]), random.of(&[1, 2, 3]));
    let (lateness, late_too) = (random.of(&[0, 3_000]), random.of(&[0, 4_000]));
    let update = random.one_in(3);
    let mut first = Windows::tumbling(size, "count", "first.late").with_lateness(lateness);
    if update {
        first = first.updating();
    }
    let second = Windows::tumbling(size * times, "sum", "w.late").with_lateness(late_too);
    let emit = if update { "emit = \"update\"\n" } else { "" };
    let steps = format!(
        "[step.first]\nfrom = \"in\"\nwindow = {{ tumbling = \"{size}ms\" }}\naggregate = \"std.count\"\n\
         allowed-lateness = \"{lateness}ms\"\n{emit}[step.w]\nfrom = \"first\"\nwindow = {{ tumbling = \"{}ms\" }}\n\
         aggregate = \"std.sum\"\nallowed-lateness = \"{late_too}ms\"\n",
        size * times
    );
    scenario(random, &shape, first, &steps, second)
}

/// Windows behind a join: its rows are never late for them.
pub fn join(random: &mut Random) -> Scenario {
    let (first, step) = if random.one_in(2) {
        Join::random_interval(random)
    } else {
        Join::random_windowed(random)
    };
    let size = random.of(&[1_000, 3_000, 10_000]);
    let second = Windows::tumbling(size, "count", "w.late");
    let steps = format!(
        "{step}[step.w]\nfrom = \"j\"\nwindow = {{ tumbling = \"{size}ms\" }}\naggregate = \"std.count\"\n"
    );
    scenario(random, &joins::SHAPE, first, &steps, second)
}
