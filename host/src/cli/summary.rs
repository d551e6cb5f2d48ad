//! What a job did, as a table of 80 columns for people, or as one JSON line.

use super::style::{WIDTH, elapsed, fold, grouped, moment, rate};
use crate::config::show_size;
use crate::job::report::{StepSummary, Summary};

/// Partitions that are listed; of more, only the slowest.
const PARTITIONS_SHOWN: usize = 8;

/// For people.
pub fn text(summary: &Summary) -> String {
    let seconds = summary.elapsed_ms as f64 / 1e3;
    let per_s = if seconds > 0.0 {
        summary.records_in as f64 / seconds
    } else {
        0.0
    };
    let head = format!(
        "{} {} after {}: {} records in ({}/s), {} out, {} rejected, {} late",
        summary.job,
        summary.ending,
        elapsed(summary.elapsed_ms),
        grouped(summary.records_in),
        rate(per_s),
        grouped(summary.records_out),
        grouped(summary.rejected),
        grouped(summary.late),
    );
    let mut out = fold("", 2, &head);
    if !summary.steps.is_empty() {
        out.push_str(&steps(&summary.steps));
    }
    for source in summary.sources.iter().filter(|s| s.rejected > 0) {
        out.push_str(&format!(
            "  source {}: {} of {} rejected\n",
            source.source,
            grouped(source.rejected),
            grouped(source.records + source.rejected)
        ));
    }
    for sink in &summary.sinks {
        out.push_str(&format!(
            "  sink {}: {} records, {}\n",
            sink.sink,
            grouped(sink.records),
            sink.delivery
        ));
    }
    let mut partitions: Vec<_> = summary
        .partitions
        .iter()
        .filter(|p| !p.ended && p.watermark.is_some())
        .collect();
    partitions.sort_by_key(|p| p.watermark);
    for p in partitions.iter().take(PARTITIONS_SHOWN) {
        let idle = if p.idle { ", idle" } else { "" };
        out.push_str(&format!(
            "  {} {}: watermark {}{idle}\n",
            p.source,
            p.partition,
            moment(p.watermark.unwrap_or(i64::MIN))
        ));
    }
    if partitions.len() > PARTITIONS_SHOWN {
        out.push_str(&format!(
            "  … and {} partitions that are ahead of these\n",
            partitions.len() - PARTITIONS_SHOWN
        ));
    }
    for step in &summary.steps {
        let (memory, disk) = (step.state_memory_bytes_peak, step.state_disk_bytes_peak);
        if memory + disk >= STATE_SHOWN {
            let beyond = match disk {
                0 => String::new(),
                disk => format!(", {} on disk", show_size(disk)),
            };
            let memory = show_size(memory);
            let text = format!("state of {}: at most {memory} in memory{beyond}", step.step);
            out.push_str(&fold("  ", 4, &text));
        }
    }
    if let Some(took) = &summary.checkpoints {
        let text = format!(
            "{} checkpoint{} of {} in all, each after {} ms ({} at most)",
            grouped(took.count),
            if took.count == 1 { "" } else { "s" },
            show_size(took.bytes),
            took.mean_ms,
            took.longest_ms
        );
        out.push_str(&fold("  ", 4, &text));
    }
    for note in &summary.notes {
        out.push_str(&fold("  ", 4, note));
    }
    out
}

/// Less state than this is not worth a line.
const STATE_SHOWN: u64 = 1 << 20;

/// One line a step. Names give way where it gets narrow, figures never.
fn steps(steps: &[StepSummary]) -> String {
    let header = [
        "step", "in", "out", "rejected", "late", "plugin", "ns/rec", "memory",
    ];
    let mut rows: Vec<[String; 8]> = vec![header.map(str::to_string)];
    for step in steps {
        let none = || "-".to_string();
        let plugin = step
            .function
            .as_ref()
            .map(|_| elapsed(step.plugin_ms.max(0.0) as u64));
        rows.push([
            step.step.clone(),
            grouped(step.records_in),
            grouped(step.records_out),
            grouped(step.rejected),
            grouped(step.late),
            plugin.unwrap_or_else(none),
            step.plugin_ns_per_record
                .map_or_else(none, |ns| format!("{ns:.0}")),
            step.guest_memory_bytes_peak.map_or_else(none, show_size),
        ]);
    }
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    const NAME_MIN: usize = 8;
    let figures: usize = widths[1..].iter().map(|w| w + 2).sum();
    widths[0] = widths[0]
        .min(WIDTH.saturating_sub(figures + 2))
        .max(NAME_MIN);
    let mut out = String::new();
    for row in &rows {
        let name = &row[0];
        let shown = if name.chars().count() > widths[0] {
            let kept: String = name.chars().take(widths[0] - 1).collect();
            format!("{kept}…")
        } else {
            name.clone()
        };
        out.push_str(&format!("  {shown:<width$}", width = widths[0]));
        for (cell, width) in row.iter().zip(widths).skip(1) {
            out.push_str(&format!("  {cell:>width$}"));
        }
        out.push('\n');
    }
    out
}

/// For scripts.
pub fn json(summary: &Summary) -> String {
    serde_json::json!({ "summary": summary }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::report::{SinkSummary, SourceSummary};

    #[test]
    fn the_summary_fits_80_columns_and_has_all_figures() {
        let summary = Summary {
            job: "flights".into(),
            ending: "finished",
            elapsed_ms: 1_500,
            records_in: 27_004,
            records_out: 1_488,
            rejected: 12,
            late: 3,
            sources: vec![SourceSummary {
                source: "departures".into(),
                records: 27_004,
                rejected: 4,
            }],
            steps: vec![
                StepSummary {
                    step: "a-step-with-quite-a-long-name-as-people-write-them".into(),
                    function: Some("flights.parse".into()),
                    records_in: 27_004_000_000,
                    records_out: 26_990,
                    rejected: 8,
                    late: 3,
                    plugin_ms: 42.0,
                    plugin_ns_per_record: Some(155.4),
                    guest_memory_bytes_peak: Some(1_179_648),
                    state_memory_bytes_peak: 700 << 20,
                    state_disk_bytes_peak: 5 << 30,
                    watermark: None,
                },
                StepSummary {
                    step: "keyed".into(),
                    records_in: 5,
                    ..StepSummary::default()
                },
            ],
            sinks: vec![SinkSummary {
                sink: "out".into(),
                records: 1_488,
                delivery: "exactly once".into(),
            }],
            checkpoints: Some(crate::job::report::CheckpointSummary {
                count: 12,
                mean_ms: 80,
                gathering_ms: 30,
                longest_ms: 180,
                bytes: 300 << 20,
            }),
            notes: vec!["8 dead letters in dead-letters/parsed.jsonl".into()],
            ..Summary::default()
        };
        let text = text(&summary);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        for part in [
            "27,004 records in (18 k/s)",
            "42ms",
            "155",
            "1.1MiB",
            "12 checkpoints of 300MiB in all, each after 80 ms (180 at most)",
            "exactly once",
            "4 of 27,008 rejected",
            "dead-letters/parsed",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(json(&summary).starts_with("{\"summary\":{\"job\":\"flights\""));
    }
}
