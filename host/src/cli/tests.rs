use std::path::Path;

use clap::{CommandFactory as _, Parser as _};

use super::args::{Arguments, Command};
use super::plan_json::plan_json;
use super::plan_text::draw;
use super::style::{Style, WIDTH};
use crate::config::{CheckOptions, check_file, fake::FakeHost};

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/cli/testdata")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        found,
        "{}",
        path.display()
    );
}

/// Cargo runs tests in the crate's folder, so paths in the output are the same everywhere.
fn whole() -> crate::config::Plan<<FakeHost as crate::config::PluginHost>::Plugin> {
    let path = Path::new("src/config/testdata/whole.toml");
    check_file(path, &CheckOptions::default(), &FakeHost).unwrap_or_else(|p| panic!("{p}"))
}

#[test]
fn a_plan_is_drawn_in_80_columns() {
    let text = draw(&whole(), Style { on: false });
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
    golden("whole.plan", &text);
}

#[test]
fn a_plan_is_told_as_json() {
    golden("whole.json", &format!("{:#}\n", plan_json(&whole())));
}

#[test]
fn arguments_are_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn parallelism_out_of_range_is_a_bad_argument() {
    assert!(
        Arguments::try_parse_from(["wasmill", "check", "job.toml", "--parallelism", "0"]).is_err()
    );
    assert!(
        Arguments::try_parse_from(["wasmill", "check", "job.toml", "--parallelism", "129"])
            .is_err()
    );
    let parsed = Arguments::try_parse_from([
        "wasmill", "run", "job.toml", "--set", "a=1", "--set", "b=2", "--quiet",
    ])
    .unwrap();
    let Command::Run(run) = parsed.command else {
        panic!("not run")
    };
    assert_eq!(run.job.overrides, ["a=1", "b=2"]);
    assert!(run.quiet && !run.json && run.restore == "latest");
}
