//! Windowed aggregates: each group keeps its records' values in a list, and every result is computed
//! from the list anew.

use std::collections::BTreeMap;

use crate::Scenario;
use crate::progress::{END, Model, walk};
use crate::random::Random;
use crate::script::{self, Record, Row, Shape};

/// Which windows a record falls in.
#[derive(Clone, Copy)]
enum Kind {
    /// Size, distance of starts, shift.
    Aligned(i64, i64, i64),
    /// Gap.
    Session(i64),
    Global,
}

/// What makes results before the close.
#[derive(Clone, Copy, Default)]
struct Trigger {
    records: Option<usize>,
    every: Option<i64>,
    every_event: Option<i64>,
}

/// Which groups come out.
#[derive(Clone, Copy, PartialEq)]
enum Emit {
    Append,
    Update,
    Complete,
}

#[derive(Clone)]
struct Group {
    key: Option<&'static str>,
    start: i64,
    end: i64,
    /// Of all records, or since the last pane where panes discard.
    values: Vec<i64>,
    newest: i64,
    /// Records since it last fired.
    since: usize,
    /// Whether the watermark has passed its end.
    closed: bool,
    /// Whether an allowed late record waits for the boundary.
    late: bool,
}

pub struct Windows {
    kind: Kind,
    /// Where late records go.
    late: &'static str,
    aggregate: &'static str,
    emit: Emit,
    trigger: Trigger,
    discarding: bool,
    lateness: i64,
    processing: bool,
    groups: Vec<Group>,
    /// Watermark and processing time of the boundary before.
    before: (i64, i64),
    pub rows: Vec<Row>,
}

/// The result over these values, as JSON.
fn result(aggregate: &str, values: &[i64]) -> String {
    match aggregate {
        "count" => values.len().to_string(),
        "sum" => values.iter().sum::<i64>().to_string(),
        _ => format!(
            "[{}]",
            values
                .iter()
                .map(i64::to_string)
                .collect::<Vec<_>>()
                .join(",")
        ),
    }
}

impl Windows {
    /// Tumbling windows of event time that fire when they close.
    pub fn tumbling(size: i64, aggregate: &'static str, late: &'static str) -> Windows {
        Windows {
            kind: Kind::Aligned(size, size, 0),
            late,
            aggregate,
            emit: Emit::Append,
            trigger: Trigger::default(),
            discarding: false,
            lateness: 0,
            processing: false,
            groups: Vec::new(),
            before: (0, 0),
            rows: Vec::new(),
        }
    }

    /// They fire again for records so late.
    pub fn with_lateness(self, lateness: i64) -> Windows {
        Windows { lateness, ..self }
    }

    /// Changed groups come out at each boundary.
    pub fn updating(self) -> Windows {
        Windows {
            emit: Emit::Update,
            ..self
        }
    }

    /// The clock that closes windows, as a watermark.
    fn clock(&self, w: i64, now: i64) -> i64 {
        if self.processing && w != END {
            now - 1
        } else {
            w
        }
    }

    fn is_past(&self, end: i64, w: i64) -> bool {
        w >= (end - 1).saturating_add(self.lateness)
    }

    fn fire(&mut self, at: usize, line: usize) {
        let group = &mut self.groups[at];
        let global = matches!(self.kind, Kind::Global);
        self.rows.push(Row {
            line,
            sink: "out",
            ts: if global { group.newest } else { group.end - 1 },
            key: group.key.map(str::to_owned),
            value: result(self.aggregate, &group.values),
            window: (!global).then_some((group.start, group.end)),
        });
        (group.since, group.late) = (0, false);
        if self.discarding {
            group.values.clear();
            group.newest = i64::MIN;
        }
    }

    /// The group for [start, end), merged with the sessions it touches; the record is not in it yet.
    fn group(&mut self, key: Option<&'static str>, start: i64, end: i64) -> usize {
        let session = matches!(self.kind, Kind::Session(_));
        let same = |g: &Group| {
            g.key == key
                && if session {
                    g.start <= end && start <= g.end
                } else {
                    (g.start, g.end) == (start, end)
                }
        };
        let mut merged: Vec<Group> = self.groups.iter().filter(|g| same(g)).cloned().collect();
        self.groups.retain(|g| !same(g));
        merged.sort_by_key(|g| g.start);
        let empty = Group {
            key,
            start,
            end,
            values: Vec::new(),
            newest: i64::MIN,
            since: 0,
            closed: false,
            late: false,
        };
        let joined = merged.into_iter().fold(empty, |mut all, group| {
            all.start = all.start.min(group.start);
            all.end = all.end.max(group.end);
            all.values.extend(group.values);
            all.newest = all.newest.max(group.newest);
            all.since += group.since;
            all
        });
        self.groups.push(joined);
        self.groups.len() - 1
    }

    /// Whether [start, end), merged, is past.
    fn would_be_late(&self, key: Option<&'static str>, start: i64, end: i64, w: i64) -> bool {
        let touching = self
            .groups
            .iter()
            .filter(|g| g.key == key && g.start <= end && start <= g.end);
        let end = match self.kind {
            Kind::Session(_) => touching.map(|g| g.end).fold(end, i64::max),
            _ => end,
        };
        self.is_past(end, w)
    }
}

impl Model for Windows {
    fn record(&mut self, record: &Record, line: usize, w: i64, now: i64) {
        let w = self.clock(w, now);
        let t = if self.processing { now } else { record.ts };
        let windows: Vec<(i64, i64)> = match self.kind {
            Kind::Aligned(size, every, offset) => {
                let last = (t - offset).div_euclid(every) * every + offset;
                (0..)
                    .map(|i| last - i * every)
                    .take_while(|start| start + size > t)
                    .map(|s| (s, s + size))
                    .collect()
            }
            Kind::Session(gap) => vec![(t, t + gap)],
            Kind::Global => vec![(i64::MIN, i64::MAX)],
        };
        let open: Vec<(i64, i64)> = windows
            .into_iter()
            .filter(|(s, e)| !self.would_be_late(record.key, *s, *e, w))
            .collect();
        if open.is_empty() {
            let (key, value) = (record.key.map(str::to_owned), record.value.to_string());
            self.rows.push(Row {
                line,
                sink: self.late,
                ts: record.ts,
                key,
                value,
                window: None,
            });
        }
        let mut all = false;
        for (start, end) in open {
            let at = self.group(record.key, start, end);
            let group = &mut self.groups[at];
            group.values.push(record.value);
            group.newest = group.newest.max(record.ts);
            group.since += 1;
            group.closed = w >= group.end - 1;
            group.late = group.closed;
            let fires = self.trigger.records.is_some_and(|n| group.since >= n) && !group.closed;
            if fires && self.emit == Emit::Complete {
                all = true;
            } else if fires {
                self.fire(at, line);
            }
        }
        // All kept groups, as of this record.
        for at in (0..self.groups.len()).filter(|_| all) {
            self.fire(at, line);
        }
    }

    fn boundary(&mut self, line: usize, w: i64, now: i64) {
        let (w_before, now_before) = self.before;
        let passed = |every: Option<i64>, from: i64, to: i64| {
            every.is_some_and(|every| to.div_euclid(every) > from.div_euclid(every))
        };
        let due = passed(self.trigger.every, now_before, now)
            || passed(
                self.trigger.every_event,
                w_before.saturating_add(1),
                w.saturating_add(1),
            );
        let untriggered = self.emit != Emit::Append
            && self.trigger.records.is_none()
            && self.trigger.every.is_none()
            && self.trigger.every_event.is_none();
        self.before = (w, now);
        let w = self.clock(w, now);
        let closes = self.groups.iter().any(|g| !g.closed && w >= g.end - 1);
        let all = self.emit == Emit::Complete
            && self.groups.iter().any(|g| g.since > 0)
            && (due || untriggered || closes);
        for at in 0..self.groups.len() {
            let group = &mut self.groups[at];
            let changed = group.since > 0;
            let was_closed = group.closed;
            group.closed |= w >= group.end - 1;
            let fires = match self.emit {
                _ if was_closed => group.late,
                Emit::Append if group.closed => !group.values.is_empty(),
                Emit::Append | Emit::Update => changed && (due || untriggered || group.closed),
                Emit::Complete => false,
            };
            let fires = fires || all;
            if fires {
                self.fire(at, line);
            }
        }
        let groups = std::mem::take(&mut self.groups);
        self.groups = groups
            .into_iter()
            .filter(|g| !self.is_past(g.end, w))
            .collect();
    }
}

/// A random job with these windows.
fn scenario(random: &mut Random, kind: Kind, written: &str, clock: bool) -> Scenario {
    let shape = Shape {
        sources: &["in"],
        partitions: 2,
        keyless: true,
        clock,
        disorder: 8_000,
    };
    let disorder = random.of(&[0, 2_000, 10_000]);
    let global = matches!(kind, Kind::Global);
    let lateness = if clock || global {
        0
    } else {
        random.of(&[0, 0, 2_000, 5_000])
    };
    let processing = clock && !global && random.one_in(2);
    let mut trigger = Trigger::default();
    let mut settings = String::new();
    let mut parts: Vec<String> = Vec::new();
    if random.one_in(3) {
        let n = random.between(1, 4);
        trigger.records = Some(n as usize);
        parts.push(format!("records = {n}"));
    }
    if clock && random.one_in(2) {
        let every = random.of(&[1_000, 5_000]);
        trigger.every = Some(every);
        parts.push(format!("every = \"{every}ms\""));
    }
    if !processing && random.one_in(4) {
        let every = random.of(&[1_000, 5_000]);
        trigger.every_event = Some(every);
        parts.push(format!("every-event = \"{every}ms\""));
    }
    let emit = random.of(&[Emit::Append, Emit::Append, Emit::Update, Emit::Complete]);
    let discarding = !parts.is_empty() && emit != Emit::Complete && random.one_in(3);
    if !parts.is_empty() {
        settings += &format!("trigger = {{ {} }}\n", parts.join(", "));
    }
    if discarding {
        settings += "panes = \"discarding\"\n";
    }
    match emit {
        Emit::Append => {}
        Emit::Update => settings += "emit = \"update\"\n",
        Emit::Complete => settings += "emit = \"complete\"\n",
    }
    if lateness > 0 {
        settings += &format!("allowed-lateness = \"{lateness}ms\"\n");
    }
    if processing {
        settings += "time = \"processing\"\n";
    }
    let aggregate = random.of(&["count", "sum", "collect"]);
    let lines = script::make(random, &shape);
    let mut model = Windows {
        kind,
        emit,
        trigger,
        discarding,
        lateness,
        processing,
        ..Windows::tumbling(1, aggregate, "w.late")
    };
    walk(&lines, disorder, &mut model);
    Scenario {
        job: job(&shape, disorder, written, aggregate, &settings),
        script: script::text(&lines, &shape),
        expected: model.rows,
    }
}

fn job(shape: &Shape, disorder: i64, window: &str, aggregate: &str, settings: &str) -> String {
    format!(
        "name = \"model\"\n{}[step.w]\nfrom = \"in\"\nwindow = {{ {window} }}\naggregate = \"std.{aggregate}\"\n{settings}\
         [sink.out]\nfrom = \"w\"\ntype = \"console\"\nformat = \"json\"\n",
        script::sources(shape, disorder)
    )
}

/// Random tumbling and sliding windows.
pub fn aligned(random: &mut Random) -> Scenario {
    let size = random.of(&[1_000, 4_000, 10_000]);
    let every = if random.one_in(2) {
        size
    } else {
        random.of(&[500, 700, 1_000])
    };
    let offset = random.of(&[0, 0, 300]);
    let mut written = match every == size {
        true => format!("tumbling = \"{size}ms\""),
        false => format!("sliding = \"{size}ms\", every = \"{every}ms\""),
    };
    if offset > 0 {
        written += &format!(", offset = \"{offset}ms\"");
    }
    let clock = random.one_in(3);
    scenario(random, Kind::Aligned(size, every, offset), &written, clock)
}

/// Random sessions.
pub fn sessions(random: &mut Random) -> Scenario {
    let gap = random.of(&[1, 1_000, 2_000, 6_000]);
    let clock = random.one_in(3);
    scenario(
        random,
        Kind::Session(gap),
        &format!("session = \"{gap}ms\""),
        clock,
    )
}

/// Random global windows.
pub fn global(random: &mut Random) -> Scenario {
    let clock = random.one_in(2);
    scenario(random, Kind::Global, "global = true", clock)
}

/// Count windows: the records of each key, all of them.
struct Counts {
    n: usize,
    every: usize,
    aggregate: &'static str,
    keys: BTreeMap<Option<&'static str>, Vec<Record>>,
    rows: Vec<Row>,
}

impl Counts {
    fn pane(&mut self, key: Option<&'static str>, records: &[Record], line: usize) {
        let values: Vec<i64> = records.iter().map(|r| r.value).collect();
        let ts = records
            .iter()
            .map(|r| r.ts)
            .max()
            .expect("a pane has records");
        let value = result(self.aggregate, &values);
        self.rows.push(Row {
            line,
            sink: "out",
            ts,
            key: key.map(str::to_owned),
            value,
            window: None,
        });
    }
}

impl Model for Counts {
    fn record(&mut self, record: &Record, line: usize, _: i64, _: i64) {
        let records = self.keys.entry(record.key).or_default();
        records.push(record.clone());
        if records.len().is_multiple_of(self.every) {
            let last = records[records.len().saturating_sub(self.n)..].to_vec();
            self.pane(record.key, &last, line);
        }
    }

    fn boundary(&mut self, line: usize, w: i64, _: i64) {
        if w == END {
            for (key, records) in std::mem::take(&mut self.keys) {
                let since = records.len() % self.every;
                if since > 0 {
                    self.pane(key, &records[records.len() - since..], line);
                }
            }
        }
    }
}

/// Random count windows.
pub fn counts(random: &mut Random) -> Scenario {
    let shape = Shape {
        sources: &["in"],
        partitions: 2,
        keyless: true,
        clock: false,
        disorder: 8_000,
    };
    let n = random.between(1, 5);
    let every = if random.one_in(2) {
        n
    } else {
        random.between(1, n)
    };
    let aggregate = random.of(&["count", "sum", "collect"]);
    let lines = script::make(random, &shape);
    let mut model = Counts {
        n: n as usize,
        every: every as usize,
        aggregate,
        keys: BTreeMap::new(),
        rows: Vec::new(),
    };
    walk(&lines, 0, &mut model);
    let window = if every == n {
        format!("count = {n}")
    } else {
        format!("count = {n}, every = {every}")
    };
    Scenario {
        job: job(&shape, 0, &window, aggregate, ""),
        script: script::text(&lines, &shape),
        expected: model.rows,
    }
}
