//! Progress of a running job on standard error: one line that a terminal redraws, or JSON lines.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::style::{elapsed, grouped, moment, rate, tell};
use crate::job::report::Progress;

/// How progress is shown.
pub enum Shown {
    /// Not at all: `--quiet`, or standard error is no terminal.
    Nothing,
    /// Redrawn in place.
    Line(ProgressBar),
    /// One JSON object a line.
    Json,
}

impl Shown {
    /// As the arguments and the terminal have it.
    pub fn new(json: bool, quiet: bool) -> Shown {
        if quiet {
            return Shown::Nothing;
        }
        if json {
            return Shown::Json;
        }
        if !std::io::stderr().is_terminal() {
            return Shown::Nothing;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Shown::Line(bar)
    }

    /// Shows one moment.
    pub fn update(&self, progress: &Progress) {
        match self {
            Shown::Nothing => {}
            Shown::Line(bar) => {
                // A message of the store may be in it.
                bar.set_message(crate::printable::line(&line(progress)).into_owned());
                bar.tick();
            }
            Shown::Json => tell("", &serde_json::json!({ "progress": progress }).to_string()),
        }
    }

    /// Something that is wrong and does not end the job: told even where progress is not shown.
    pub fn warn(&self, text: &str) {
        let text = &crate::config::conceal(text);
        match self {
            Shown::Nothing => tell("warning:", text),
            Shown::Line(bar) => bar.suspend(|| tell("warning:", text)),
            Shown::Json => tell("", &serde_json::json!({ "warning": text }).to_string()),
        }
    }

    /// A line of the log. `json`: for programs, without its level.
    pub fn log(&self, level: &str, text: &str, json: impl FnOnce() -> serde_json::Value) {
        let tell_text = || tell(&format!("{level}:"), &crate::config::conceal(text));
        match self {
            Shown::Nothing => tell_text(),
            Shown::Line(bar) => bar.suspend(tell_text),
            Shown::Json => {
                let mut line = json();
                line["level"] = level.into();
                let line = serde_json::json!({ "log": line }).to_string();
                tell("", &crate::config::conceal(&line));
            }
        }
    }

    /// Takes the line away.
    pub fn finish(&self) {
        if let Shown::Line(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// One line of text.
pub fn line(progress: &Progress) -> String {
    let mut out = format!(
        "{}  {} in ({}/s)  {} out",
        elapsed(progress.elapsed_ms),
        grouped(progress.records_in),
        rate(progress.records_per_s),
        grouped(progress.records_out)
    );
    // The slowest step is what results wait for.
    if let Some(watermark) = progress.steps.iter().filter_map(|s| s.watermark).min() {
        out.push_str(&format!("  watermark {}", moment(watermark)));
    }
    if let Some(lag) = progress.lag_ms.filter(|lag| *lag > 0) {
        out.push_str(&format!("  lag {}", elapsed(lag.unsigned_abs())));
    }
    if let Some(behind) = progress.behind {
        out.push_str(&format!("  {} behind", grouped(behind)));
    }
    for (count, word) in [(progress.errors, "errors"), (progress.late, "late")] {
        if count > 0 {
            out.push_str(&format!("  {} {word}", grouped(count)));
        }
    }
    if let Some(waits) = &progress.checkpoint_waits {
        let age = progress.checkpoint_age_ms.unwrap_or(0).unsigned_abs();
        out.push_str(&format!("  last checkpoint {} old: {waits}", elapsed(age)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::report::StepTime;

    #[test]
    fn the_line_tells_rate_watermark_lag_errors_and_late() {
        let step = |step: &str, watermark| StepTime {
            step: step.into(),
            watermark,
        };
        let progress = Progress {
            elapsed_ms: 61_000,
            records_in: 1_234_567,
            records_out: 10,
            records_per_s: 2_500_000.0,
            errors: 3,
            late: 2,
            lag_ms: Some(1_500),
            behind: Some(70_000),
            steps: vec![step("a", Some(0)), step("b", Some(60_000)), step("c", None)],
            ..Progress::default()
        };
        assert_eq!(
            line(&progress),
            "1m1s  1,234,567 in (2.50 M/s)  10 out  watermark 1970-01-01 00:00:00  lag 1.5s  70,000 behind  3 errors  2 late"
        );
    }
}
