use std::path::{Path, PathBuf};

use super::fake::FakeHost;
use super::plan::{Input, Node, OnError, Plan, Port, SourceConnector, StepKind};
use super::{CheckOptions, Mode, PluginHost, Problems, Texts, check_text};

type FakePlan = Plan<<FakeHost as PluginHost>::Plugin>;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/testdata")
}

fn check_with(text: &str, overrides: &[&str], mode: Mode) -> Result<FakePlan, Box<Problems>> {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let options = CheckOptions {
        overrides: overrides.clone(),
        mode,
        ..CheckOptions::default()
    };
    let texts = Texts {
        file: "job.toml".into(),
        text: text.into(),
        overrides,
    };
    check_text(texts, &testdata(), &options, &FakeHost)
}

fn check(text: &str) -> Result<FakePlan, Box<Problems>> {
    check_with(text, &[], Mode::Run)
}

fn errors(text: &str) -> String {
    check(text)
        .map(|_| ())
        .unwrap_err()
        .render()
        .replace(&*testdata().to_string_lossy(), "DIR")
}

/// Every `NAME.toml` gives exactly the report in `NAME.error`; `UPDATE_GOLDEN=1` writes them anew.
#[test]
fn each_bad_job_file_gives_its_report() {
    let mut cases: Vec<_> = std::fs::read_dir(testdata())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    cases.retain(|p| {
        p.extension().is_some_and(|e| e == "toml") && p.file_stem().is_some_and(|s| s != "whole")
    });
    cases.sort();
    assert!(cases.len() > 15, "found {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let found = errors(&std::fs::read_to_string(&case).unwrap());
        let golden = case.with_extension("error");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &found).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const WHOLE: &str = include_str!("testdata/whole.toml");

#[test]
fn the_whole_language_becomes_a_plan() {
    let plan = check(WHOLE).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(plan.name, "flight-delays");
    assert_eq!(plan.parallelism, 2);
    let names: Vec<_> = plan.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "parsed",
            "classified",
            "by-carrier",
            "hourly",
            "slid",
            "with-weather",
            "named",
            "once",
            "sessions",
            "top-ten"
        ]
    );
    let parsed = &plan.steps[0];
    assert_eq!(parsed.on_error, OnError::DeadLetter);
    assert_eq!(
        parsed.inputs,
        [Input {
            node: Node::Source(0),
            port: Port::Main
        }]
    );
    assert_eq!(
        plan.steps[3].inputs,
        [Input {
            node: Node::Step(2),
            port: Port::Main
        }]
    );
    let SourceConnector::File { pattern, .. } = &plan.sources[0].connector else {
        panic!("not a file")
    };
    assert!(pattern.ends_with("testdata/*.toml"), "{pattern}");
    // std.pair serves two steps and is opened once.
    let pairs = plan
        .functions
        .iter()
        .filter(|f| f.function == "pair")
        .count();
    assert_eq!(pairs, 1);
    assert_eq!(
        plan.sources[0].event_time.unwrap().idle_after_ms,
        Some(30_000)
    );
}

const SMALL: &str = "[source.a]\ntype = \"stdin\"\n[step.s]\nfrom = \"a\"\ntransform = \"std.split-words\"\n[sink.o]\nfrom = \"s\"\ntype = \"console\"\n";

#[test]
fn overrides_change_and_add_keys() {
    let plan = check_with(
        SMALL,
        &[
            "parallelism=3",
            "source.a.key=/k",
            "sink.o.format=\"value\"",
            "name = other",
        ],
        Mode::Run,
    )
    .unwrap();
    assert_eq!(plan.parallelism, 3);
    assert_eq!(plan.name, "other");
    assert!(plan.sources[0].key.is_some());
}

#[test]
fn errors_of_overrides_name_them() {
    let report = check_with(
        SMALL,
        &[
            "source.a.typ=file",
            "nonsense",
            "step.s.from.x=1",
            "batch.records=0",
        ],
        Mode::Run,
    )
    .map(|_| ())
    .unwrap_err()
    .render();
    assert!(
        report.contains(
            "--set source.a.typ=file: unknown key \"typ\" in [source.a]; did you mean \"type\"?"
        ),
        "{report}"
    );
    assert!(
        report.contains("--set nonsense: an override is written key=value"),
        "{report}"
    );
    assert!(
        report.contains("--set step.s.from.x=1: step.s.from is a string, not a table"),
        "{report}"
    );
    assert!(
        report.contains("--set batch.records=0: \"records\" cannot be 0"),
        "{report}"
    );
}

#[test]
fn a_job_without_name_is_called_like_its_file() {
    assert_eq!(check(SMALL).unwrap().name, "job");
}

#[test]
fn steps_may_stand_in_any_order_in_the_file() {
    let text = "[sink.o]\nfrom=\"b\"\ntype=\"blackhole\"\n[step.b]\nfrom=\"a\"\nkey=\"/x\"\n[step.a]\nfrom=\"s\"\nkey=\"/y\"\n[source.s]\ntype=\"stdin\"\n";
    let plan = check(text).unwrap();
    assert_eq!(
        plan.steps
            .iter()
            .map(|s| s.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(plan.steps[1].inputs[0].node, Node::Step(0));
}

#[test]
fn reading_an_errors_port_means_dead_letters() {
    let text = format!(
        "on-error = \"skip\"\n{SMALL}[sink.bad]\nfrom = [\"s.errors\", \"a.errors\"]\ntype = \"blackhole\"\n"
    );
    let plan = check(&text).unwrap();
    assert_eq!(plan.steps[0].on_error, OnError::DeadLetter);
    assert_eq!(plan.sources[0].on_error, OnError::DeadLetter);
}

#[test]
fn a_script_may_bring_keys_files_and_time() {
    let text = "[source.a]\ntype=\"file\"\npath=\"not-there.json\"\n[source.b]\ntype=\"stdin\"\n[source.c]\ntype=\"stdin\"\n\
        [step.j]\nfrom=[\"a\",\"b\"]\njoin=\"inner\"\nwithin={from=\"0s\",to=\"1s\"}\n[sink.o]\nfrom=[\"j\",\"c\"]\ntype=\"console\"\n";
    let plan = check_with(text, &[], Mode::Test).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert!(matches!(plan.steps[0].kind, StepKind::Join { .. }));
    let report = check(text).map(|_| ()).unwrap_err().render();
    assert!(
        report.contains("has no key") && report.contains("there is no file"),
        "{report}"
    );
}

#[test]
fn warnings_tell_of_watermarks_that_stand_still() {
    let text = "[source.a]\ntype=\"stdin\"\nformat=\"json\"\n[step.w]\nfrom=\"a\"\nwindow={tumbling=\"1s\"}\naggregate=\"std.count\"\n[sink.o]\nfrom=\"w\"\ntype=\"console\"\n";
    let warnings = check(text).unwrap().warnings.join("\n");
    for part in [
        "nothing before it makes timestamps",
        "moves only at the end of input",
        "no [checkpoint]",
    ] {
        assert!(warnings.contains(part), "{warnings}");
    }
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    let deep = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(check(&deep).is_err());
    let dotted = format!("{}b = 1", "a.".repeat(200_000));
    assert!(check(&dotted).is_err());
    let tables = format!("[{}b]\n", "a.".repeat(200_000));
    assert!(check(&tables).is_err());
    let long = format!("{}b=1", "a.".repeat(100_000));
    assert!(check_with(SMALL, &[&long], Mode::Run).is_err());
}

/// Seconds for what should take milliseconds would be a way to hold a host up.
#[test]
fn thousands_of_nodes_are_checked_in_no_time() {
    let mut text = "parallelism = 1\n".to_owned();
    let mut all = Vec::new();
    for i in 0..4_000 {
        text.push_str(&format!("[source.s{i}]\ntype = \"generator\"\n[step.k{i}]\nfrom = [\"s{i}\", \"k{}\"]\nkey = \"/k\"\n", i + 1));
        all.push(format!("\"missing{i}\""));
    }
    text.push_str(
        "[step.k4000]\nfrom = \"s0\"\nwindow = { tumbling = \"1s\" }\naggregate = \"std.count\"\n",
    );
    let good = format!("{text}[sink.o]\nfrom = \"k0\"\ntype = \"blackhole\"\n");
    let started = crate::time::Stopwatch::start();
    assert_eq!(
        check(&good).unwrap_or_else(|p| panic!("{p}")).steps.len(),
        4_001
    );
    let bad = format!(
        "{text}[sink.o]\nfrom = [{}]\ntype = \"blackhole\"\n",
        all.join(",")
    );
    assert!(check(&bad).is_err());
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// Jobs shown in the documentation are jobs.
#[test]
fn every_job_in_the_documentation_passes() {
    let page = include_str!("../../../docs/job-file.md");
    let jobs: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|b| b.split("```").next())
        .collect();
    assert!(!jobs.is_empty());
    for job in jobs {
        check_with(job, &[], Mode::Test).unwrap_or_else(|p| panic!("{p}"));
    }
}
