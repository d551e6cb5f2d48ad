use std::path::Path;

use super::*;
use crate::config::fake::FakeHost;
use crate::config::{CheckOptions, Texts, check_text};
use crate::window::watermark::Combine;

const SOURCES: &str = r#"
name = "j"
[source.a]
type = "generator"
[source.b]
type = "generator"
"#;

fn plan(steps: &str) -> Plan<<FakeHost as crate::config::PluginHost>::Plugin> {
    let texts = Texts {
        file: "job.toml".into(),
        text: format!("{SOURCES}{steps}"),
        overrides: Vec::new(),
    };
    let options = CheckOptions {
        mode: crate::config::Mode::Test,
        ..CheckOptions::default()
    };
    check_text(texts, Path::new("."), &options, &FakeHost)
        .map_err(|p| p.render())
        .expect("a good job")
}

const COUNTS: &str = r#"
[step.counts]
from = ["a", "b"]
window = { tumbling = "1s" }
aggregate = "std.count"
"#;

const BEFORE_IT: &str = r#"
[step.aaa-first]
from = "b"
dedup = { within = "1s" }
"#;

const SINKS: &str = r#"
[sink.out]
from = ["counts"]
type = "console"
[sink.rest]
from = ["a", "b"]
type = "console"
"#;

fn of_partition_0(source: NodeIndex) -> WatermarkId {
    WatermarkId::Partition {
        source,
        partition: 0,
    }
}

#[test]
fn time_of_a_step_is_found_again_behind_new_steps_and_reordered_inputs() {
    let before = plan(&format!("{COUNTS}{SINKS}"));
    let (a, b) = (of_partition_0(0), of_partition_0(1));
    let mut tracker = WatermarkTracker::new(2, Combine::Min);
    for channel in [1, 2] {
        tracker.add(0, a, channel);
        tracker.add(1, b, channel);
        tracker.set(channel, a, Watermark(10 * i64::from(channel)));
        tracker.set(channel, b, Watermark(40 * i64::from(channel)));
    }
    tracker.idle(1, b);
    tracker.idle(2, b);
    tracker.advance();
    let stored = of_step(&before, 0, &tracker);
    let json = serde_json::to_string(&stored).expect("plain data");
    let stored: StepTime = serde_json::from_str(&json).expect("it reads back");

    let after = plan(&format!(
        "{BEFORE_IT}{}{}",
        COUNTS.replace(r#"["a", "b"]"#, r#"["b", "aaa-first", "a"]"#),
        SINKS
    ));
    let step = step_index(&after, "counts").expect("it is there");
    assert_eq!(step, 1, "the new step comes first");
    let mut found = WatermarkTracker::new(3, Combine::Min);
    let first = WatermarkId::Task { step: 0, task: 0 };
    for (input, id) in [(0, b), (1, first), (2, a)] {
        found.add(input, id, 7);
    }
    found.adopt(&to_step(&after, step, &stored));
    assert_eq!(found.watermark(), Watermark(10));
    assert_eq!(
        found.inputs(),
        [Watermark::NONE, Watermark::NONE, Watermark(10)]
    );
    // `a` goes on, `b` is idle as it was, the new step holds time until it has spoken.
    found.set(7, a, Watermark(50));
    assert_eq!(found.advance(), Watermark(10));
    found.set(7, first, Watermark(45));
    assert_eq!(found.advance(), Watermark(45));
}

#[test]
fn time_of_what_the_plan_has_no_more_is_left_out() {
    let before = plan(&format!("{COUNTS}{SINKS}"));
    let mut tracker = WatermarkTracker::new(2, Combine::Min);
    tracker.add(0, of_partition_0(0), 0);
    tracker.add(1, of_partition_0(1), 0);
    tracker.set(0, of_partition_0(0), Watermark(5));
    tracker.set(0, of_partition_0(1), Watermark(9));
    tracker.advance();
    let stored = of_step(&before, 0, &tracker);
    let after = plan(&format!(
        "{}{}",
        COUNTS.replace(r#"["a", "b"]"#, r#""b""#),
        SINKS
    ));
    let found = to_step(&after, 0, &stored);
    assert_eq!(
        (found.watermark(), found.inputs()),
        (Watermark(5), vec![Watermark(9)])
    );
    assert_eq!(found.record().heard.len(), 1);
}

#[test]
fn time_of_a_partition_names_the_step_that_makes_its_timestamps() {
    let before = plan(&format!(
        "{BEFORE_IT}[plugin.p]\npath = \"p.wasm\"\n[step.stamped]\nfrom = \"a\"\ntransform = \"p.stamp\"\nevent-time = {{ max-disorder = \"1s\" }}\n[sink.out]\nfrom = [\"stamped\", \"aaa-first\"]\ntype = \"console\"\n"
    ));
    let stamped = step_index(&before, "stamped").expect("it is there");
    let mut watermark = PartitionWatermark::new(Some(1_000));
    watermark.observe(Some(5_000));
    watermark.advance();
    let owned = OwnedPartition::of_watermarks(vec![
        (Root::Source(0), PartitionWatermark::new(None)),
        (Root::Assigned(stamped), watermark),
    ]);
    let json = serde_json::to_string(&of_partition(&before, &owned)).expect("plain data");
    assert!(json.contains(r#""step":"stamped""#), "{json}");
    let times: Vec<PartitionTime> = serde_json::from_str(&json).expect("it reads back");
    assert_eq!(
        to_partition(&before, 0, times).watermarks(),
        owned.watermarks()
    );
}
