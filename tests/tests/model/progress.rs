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
    /// The watermarks of the sources alone, before a boundary (`walk_by_source`).
    fn inputs(&mut self, _watermarks: &[i64]) {}
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

/// Walks a script without idle partitions for a step whose inputs are sources: each has a watermark of its own, the
/// least of its partitions'; the step's is the least of theirs, or (`max`) the greatest.
pub fn walk_by_source(
    lines: &[Line],
    sources: usize,
    max_disorder: i64,
    max: bool,
    model: &mut impl Model,
) {
    // By source and partition. Scripts name every partition before the first record.
    let mut partitions: Vec<BTreeMap<usize, i64>> = vec![BTreeMap::new(); sources];
    let (mut w, mut now) = (NONE, 0);
    let mut waiting: Vec<&Record> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let at = at + 1;
        if let Line::Record(record) = line {
            waiting.push(record);
            continue;
        }
        // Inputs in their order; within one, partitions whole, in the order of their first record of the flush.
        let mut order: Vec<(usize, usize)> = Vec::new();
        for record in &waiting {
            let partition = (record.source, record.partition);
            if !order.contains(&partition) {
                order.push(partition);
            }
        }
        order.sort_by_key(|(source, _)| *source);
        for (source, partition) in order {
            for record in &waiting {
                if (record.source, record.partition) == (source, partition) {
                    model.record(record, at, w, now);
                    let entry = partitions[source].entry(partition).or_insert(NONE);
                    *entry = (*entry).max(record.ts - max_disorder - 1);
                }
            }
        }
        waiting.clear();
        let mut boundary = |partitions: &[BTreeMap<usize, i64>], end: bool, now: i64| {
            let least = |all: &BTreeMap<usize, i64>| all.values().min().copied().unwrap_or(NONE);
            let inputs: Vec<i64> = partitions.iter().map(least).collect();
            let of_all = match max {
                true => inputs.iter().max(),
                false => inputs.iter().min(),
            };
            w = w.max(of_all.copied().unwrap_or(NONE));
            model.inputs(&inputs);
            model.boundary(at, if end { END } else { w }, now);
        };
        boundary(&partitions, false, now);
        match line {
            Line::Watermark(source, partition, hand) => {
                let entry = partitions[*source].entry(*partition).or_insert(NONE);
                *entry = (*entry).max(*hand);
            }
            Line::Now(to) => now = *to,
            Line::End => {}
            _ => continue,
        }
        boundary(&partitions, matches!(line, Line::End), now);
    }
}
