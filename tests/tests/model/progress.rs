//! Watermarks as the rules have them, and the walk over a script: records of a flush, then a boundary.

use std::collections::BTreeMap;

use crate::script::{Line, Record};

/// Before any watermark.
pub const NONE: i64 = i64::MIN;
/// After the end of input.
pub const END: i64 = i64::MAX;

/// A step of the model.
pub trait Model {
    /// A record; `w` is the watermark of the boundary before.
    fn record(&mut self, record: &Record, line: usize, w: i64, now: i64);
    /// Time moved, to `w` and `now`.
    fn boundary(&mut self, line: usize, w: i64, now: i64);
}

/// A partition of a source.
#[derive(Clone, Copy)]
struct Partition {
    /// Its watermark.
    w: i64,
    idle: bool,
    /// It was idle, spoke again, and is still behind.
    behind: bool,
}

/// Walks the script: hands records and boundaries to the model, with the watermark over all partitions.
pub fn walk(lines: &[Line], max_disorder: i64, model: &mut impl Model) {
    let mut partitions: BTreeMap<(usize, usize), Partition> = BTreeMap::new();
    let (mut w, mut now) = (NONE, 0);
    let mut waiting: Vec<&Record> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let at = at + 1;
        if let Line::Record(record) = line {
            waiting.push(record);
            continue;
        }
        // The flush that every control line begins with: partitions whole, in order of their first record.
        let mut order: Vec<(usize, usize)> = Vec::new();
        for record in &waiting {
            let partition = (record.source, record.partition);
            if !order.contains(&partition) {
                order.push(partition);
            }
        }
        for partition in &order {
            for record in waiting
                .iter()
                .filter(|r| (r.source, r.partition) == *partition)
            {
                model.record(record, at, w, now);
                let entry = known(&mut partitions, *partition);
                entry.behind |= entry.idle;
                entry.idle = false;
                entry.w = entry.w.max(record.ts - max_disorder - 1);
            }
        }
        waiting.clear();
        w = least(&mut partitions, w);
        model.boundary(at, w, now);
        match line {
            Line::Watermark(source, partition, hand) => {
                let entry = known(&mut partitions, (*source, *partition));
                if !entry.idle {
                    entry.w = entry.w.max(*hand);
                }
            }
            Line::Idle(source, partition) => {
                known(&mut partitions, (*source, *partition)).idle = true
            }
            Line::Now(to) => now = *to,
            Line::End => w = END,
            Line::Flush | Line::Checkpoint | Line::Restart(_) | Line::Record(_) => continue,
        }
        if w != END {
            w = least(&mut partitions, w);
        }
        model.boundary(at, w, now);
    }
}

fn known(
    partitions: &mut BTreeMap<(usize, usize), Partition>,
    at: (usize, usize),
) -> &mut Partition {
    partitions.entry(at).or_insert(Partition {
        w: NONE,
        idle: false,
        behind: false,
    })
}

/// The least over the partitions that count; it never moves back.
fn least(partitions: &mut BTreeMap<(usize, usize), Partition>, w: i64) -> i64 {
    for partition in partitions.values_mut() {
        partition.behind &= partition.w < w;
    }
    let counting = partitions
        .values()
        .filter(|p| !p.idle && !p.behind)
        .map(|p| p.w);
    counting.min().map_or(w, |least| least.max(w))
}
