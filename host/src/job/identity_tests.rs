use std::path::Path;

use super::*;
use crate::config::fake::FakeHost;
use crate::config::{CheckOptions, Texts, check_text};

const JOB: &str = r#"
name = "j"
[plugin.p]
path = "p.wasm"
[source.a]
type = "generator"
key = "/k"
timestamp = "/t"
[source.b]
type = "generator"
[step.keyed]
from = "b"
key = ["/x", "/y"]
[step.counts]
from = "a"
window = { sliding = "1h", every = "10m" }
aggregate = "std.count"
allowed-lateness = "5m"
[step.parsed]
from = "a"
transform = "p.parse"
[step.both]
from = ["parsed", "keyed"]
join = "left"
within = { from = "-1h", to = "0s" }
[step.once]
from = ["parsed", "keyed"]
dedup = { within = "1h" }
[step.sessions]
from = "counts"
process = "p.track"
ttl = "1d"
[sink.out]
from = ["both", "once", "sessions"]
type = "console"
"#;

fn of(job: &str) -> JobIdentity {
    let texts = Texts {
        file: "job.toml".into(),
        text: job.to_owned(),
        overrides: Vec::new(),
    };
    let options = CheckOptions {
        mode: crate::config::Mode::Test,
        ..CheckOptions::default()
    };
    let plan = check_text(texts, Path::new("."), &options, &FakeHost)
        .map_err(|p| p.render())
        .expect("a good job");
    identity(&plan)
}

fn shown(identity: &JobIdentity) -> String {
    let nodes = identity.sources.iter().chain(&identity.steps);
    let line = |n: &NodeIdentity| {
        let settings: Vec<String> = n.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let function = n.function.as_ref().map_or(String::new(), |f| {
            format!(" | {}.{} v{}", f.plugin, f.name, f.state_version)
        });
        format!("{} {}: {}{function}\n", n.kind, n.name, settings.join("; "))
    };
    nodes.map(line).collect()
}

#[test]
fn identity_has_what_gives_state_its_meaning_and_no_stateless_step() {
    let golden = "\
generator a: partitions=1; seed=0; timestamp=/t in ms
generator b: partitions=1; seed=0
window counts: allowed-lateness=5m; emit=append; kept as=slices; keys=/k; time=event; window=sliding 1h every 10m | std.count v0
join both: join=left; keys=[/x, /y], by p.parse; left=a; right=b; within=from -1h to 0s
dedup once: keys=[/x, /y], by p.parse; within=1h
process sessions: keys=/k; time=event | p.track v0
";
    assert_eq!(shown(&of(JOB)), golden);
}

#[test]
fn paths_limits_triggers_and_stateless_steps_may_change() {
    let other = JOB
        .replace("ttl = \"1d\"", "ttl = \"2d\"")
        .replace("name = \"j\"", "name = \"j\"\nparallelism = 7")
        .replace("path = \"p.wasm\"", "path = \"q.wasm\"")
        .replace(
            "[sink.out]",
            "[step.chosen]\nfrom = \"both\"\ntransform = \"std.filter\"\nconfig = { op = \"exists\" }\n[sink.more]\nfrom = \"chosen\"\ntype = \"console\"\n[sink.out]",
        );
    assert_eq!(of(&other), of(JOB));
}

#[test]
fn other_keys_windows_and_swapped_sides_are_other_identities() {
    for (from, to) in [
        ("key = \"/k\"", "key = \"/l\""),
        ("key = [\"/x\", \"/y\"]", "key = \"/x\""),
        ("every = \"10m\"", "every = \"20m\""),
        (
            "from = [\"parsed\", \"keyed\"]\njoin",
            "from = [\"keyed\", \"parsed\"]\njoin",
        ),
        ("timestamp = \"/t\"", "timestamp = \"/u\""),
        ("p.track\"", "p.track\"\nconfig = { n = 1 }"),
    ] {
        assert!(JOB.contains(from), "{from}");
        assert_ne!(of(&JOB.replace(from, to)), of(JOB), "{from}");
    }
}
