//! Joins: every row kept, every pair of them looked at.

use crate::Scenario;
use crate::progress::{Model, walk, walk_by_source};
use crate::random::Random;
use crate::script::{self, Line, Record, Row, Shape};

/// A row of one side, as long as the script lasts.
struct Kept {
    record: Record,
    matched: bool,
    /// It came out alone, or (semi) with its first match.
    told: bool,
}

/// Which pairs match in time.
#[derive(Clone, Copy)]
enum Bounds {
    /// Lower and upper, both inclusive (exclusive ones are moved by a millisecond).
    Interval(i64, i64),
    /// Size of the window.
    Window(i64),
}

pub struct Join {
    kind: &'static str,
    bounds: Bounds,
    lateness: i64,
    sides: [Vec<Kept>; 2],
    pub rows: Vec<Row>,
}

impl Join {
    /// A random interval join, and how a job writes it.
    pub fn random_interval(random: &mut Random) -> (Join, String) {
        let kind = random.of(&["inner", "left", "right", "full", "semi", "anti"]);
        let (from, to) = random.of(&[
            (-2_000, 2_000),
            (0, 3_000),
            (-3_000, 0),
            (-1_000, 4_000),
            (1_000, 3_000),
            (-3_000, -1_000),
        ]);
        let lateness = random.of(&[0, 0, 1_500]);
        let exclusive = random.of(&["", "", "from", "to", "both"]);
        let within = match exclusive {
            "" => format!("within = {{ from = \"{from}ms\", to = \"{to}ms\" }}"),
            which => format!(
                "within = {{ from = \"{from}ms\", to = \"{to}ms\", exclusive = \"{which}\" }}"
            ),
        };
        let from = if matches!(exclusive, "from" | "both") {
            from + 1
        } else {
            from
        };
        let to = if matches!(exclusive, "to" | "both") {
            to - 1
        } else {
            to
        };
        Join::new(kind, Bounds::Interval(from, to), lateness, &within)
    }

    /// A random join of tumbling windows, and how a job writes it.
    pub fn random_windowed(random: &mut Random) -> (Join, String) {
        let kind = random.of(&["inner", "left", "right", "full", "semi", "anti"]);
        let (size, lateness) = (
            random.of(&[1_000, 3_000, 10_000]),
            random.of(&[0, 0, 1_500]),
        );
        Join::new(
            kind,
            Bounds::Window(size),
            lateness,
            &format!("window = {{ tumbling = \"{size}ms\" }}"),
        )
    }

    fn new(kind: &'static str, bounds: Bounds, lateness: i64, written: &str) -> (Join, String) {
        let step = format!(
            "[step.j]\nfrom = [\"l\", \"r\"]\njoin = \"{kind}\"\n{written}\nallowed-lateness = \"{lateness}ms\"\n"
        );
        (
            Join {
                kind,
                bounds,
                lateness,
                sides: [Vec::new(), Vec::new()],
                rows: Vec::new(),
            },
            step,
        )
    }

    /// The greatest age of a row that comes out: so much less is the watermark behind it.
    pub fn age(&self) -> i64 {
        let age = match (self.bounds, self.kind) {
            (Bounds::Window(size), _) => size - 1,
            (Bounds::Interval(_, to), "left" | "semi" | "anti") => to,
            (Bounds::Interval(from, _), "right") => -from,
            (Bounds::Interval(from, to), "full") => to.max(-from),
            _ => 0,
        };
        age.max(0) + self.lateness
    }

    fn row(&mut self, line: usize, sink: &'static str, key: &str, ts: i64, value: String) {
        self.rows.push(Row {
            line,
            sink,
            ts,
            key: Some(key.to_owned()),
            value,
            window: None,
        });
    }

    fn fits(&self, left: i64, right: i64) -> bool {
        match self.bounds {
            Bounds::Interval(from, to) => left + from <= right && right <= left + to,
            Bounds::Window(size) => left.div_euclid(size) == right.div_euclid(size),
        }
    }

    /// The watermark at which nothing can match a row any more.
    fn last_match(&self, side: usize, ts: i64) -> i64 {
        let last = match (self.bounds, side) {
            (Bounds::Interval(_, to), 0) => ts + to,
            (Bounds::Interval(from, _), _) => ts - from,
            (Bounds::Window(size), _) => ts.div_euclid(size) * size + size - 1,
        };
        // A match cannot be older than the row's own watermark lets it be, yet the row itself may.
        last + self.lateness
    }

    fn is_late(&self, ts: i64, w: i64) -> bool {
        match self.bounds {
            Bounds::Interval(..) => w != i64::MIN && ts <= w - self.lateness,
            Bounds::Window(size) => w >= ts.div_euclid(size) * size + size - 1 + self.lateness,
        }
    }
}

impl Model for Join {
    fn record(&mut self, record: &Record, line: usize, w: i64, _: i64) {
        let (side, key) = (record.source, record.key.expect("joins get keys here"));
        if self.is_late(record.ts, w) {
            return self.row(line, "j.late", key, record.ts, record.value.to_string());
        }
        let mut kept = Kept {
            record: record.clone(),
            matched: false,
            told: false,
        };
        let mut others = std::mem::take(&mut self.sides[1 - side]);
        for other in others.iter_mut().filter(|o| o.record.key == record.key) {
            let (left, right) = if side == 0 {
                (&mut kept, other)
            } else {
                (other, &mut kept)
            };
            if !self.fits(left.record.ts, right.record.ts) {
                continue;
            }
            (left.matched, right.matched) = (true, true);
            let (l, r) = (&left.record, &right.record);
            match self.kind {
                "anti" => {}
                "semi" if left.told => {}
                "semi" => {
                    let (ts, value) = (l.ts, l.value.to_string());
                    left.told = true;
                    self.row(line, "out", key, ts, value);
                }
                _ => {
                    let value = format!(r#"{{"left":{},"right":{}}}"#, l.value, r.value);
                    self.row(line, "out", key, l.ts.max(r.ts), value);
                }
            }
        }
        self.sides[1 - side] = others;
        self.sides[side].push(kept);
    }

    fn boundary(&mut self, line: usize, w: i64, _: i64) {
        for side in 0..2 {
            let told = match self.kind {
                "full" => true,
                "left" | "anti" => side == 0,
                "right" => side == 1,
                _ => false,
            };
            let mut rows = std::mem::take(&mut self.sides[side]);
            for kept in rows.iter_mut().filter(|k| told && !k.matched && !k.told) {
                let Record { ts, value, key, .. } = kept.record;
                if w < self.last_match(side, ts) {
                    continue;
                }
                kept.told = true;
                let value = match (self.kind, side) {
                    ("anti", _) => value.to_string(),
                    (_, 0) => format!(r#"{{"left":{value},"right":null}}"#),
                    _ => format!(r#"{{"left":null,"right":{value}}}"#),
                };
                self.row(line, "out", key.expect("joins get keys here"), ts, value);
            }
            self.sides[side] = rows;
        }
    }
}

/// Two sources, partitions of each.
pub const SHAPE: Shape = Shape {
    sources: &["l", "r"],
    partitions: 2,
    keyless: false,
    clock: false,
    disorder: 6_000,
};

fn scenario(random: &mut Random, (mut model, step): (Join, String)) -> Scenario {
    let disorder = random.of(&[0, 2_000, 10_000]);
    let mut lines = script::make(random, &SHAPE);
    let max = random.one_in(4);
    let greatest = if max { "watermark = \"max\"\n" } else { "" };
    if max || random.one_in(4) {
        lines.retain(|line| !matches!(line, Line::Idle(..)));
        walk_by_source(&lines, 2, disorder, max, &mut model);
    } else {
        walk(&lines, disorder, &mut model);
    }
    let job = format!(
        "name = \"model\"\n{}{step}{greatest}[sink.out]\nfrom = \"j\"\ntype = \"console\"\nformat = \"json\"\n",
        script::sources(&SHAPE, disorder)
    );
    Scenario {
        job,
        script: script::text(&lines, &SHAPE),
        expected: model.rows,
    }
}

/// A random interval join.
pub fn intervals(random: &mut Random) -> Scenario {
    let join = Join::random_interval(random);
    scenario(random, join)
}

/// A random join of tumbling windows.
pub fn windowed(random: &mut Random) -> Scenario {
    let join = Join::random_windowed(random);
    scenario(random, join)
}
