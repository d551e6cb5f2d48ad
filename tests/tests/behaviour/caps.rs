//! What bounds a job's state, from outside: of the whole job, of a key's length, of what is kept of one key, and of one
//! accumulator. Each error says which step and key, which limit, and what to set.

use std::fs;

use anyhow::{Result, ensure};
use wasmill_tests::{command, run};

/// Some 200 KiB of rows under two keys; windows that one key fills; sums by key.
const JOB: &str = r#"
name = "caps"
parallelism = 1
[state]
memory = "64KiB"
path = "scratch"
[source.in]
type = "generator"
records = 6000
seed = 5
template = '{"k":"the-key-{{int 0 2}}","v":"{{int 0 1000000000}}{{int 0 1000000000}}","t":{{time 1700000000000 1}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
STEP
[sink.out]
from = "it"
type = "blackhole"
"#;

const JOIN: &str = r#"
[step.it]
from = ["in", "in"]
join = "anti"
within = { from = "1h", to = "2h" }
"#;

const BY_VALUE: &str = r#"
[step.keyed]
from = "in"
key = "/v"
[step.it]
from = "keyed"
window = { global = true }
aggregate = "std.count"
"#;

const COLLECT: &str = r#"
[step.it]
from = "in"
window = { global = true }
aggregate = "std.collect"
config = { field = "/v" }
"#;

/// Ends with this code, and says all of it.
fn says(step: &str, set: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    says_of(JOB, step, set, code, parts)
}

fn says_of(job: &str, step: &str, set: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), job.replace("STEP", step))?;
    let mut args = vec!["run", "job.toml"];
    for set in set {
        args.extend(["--set", set]);
    }
    let ended = run(command(folder.path(), args), b"")?.expect_code(code)?;
    for part in parts {
        ensure!(
            ended.stderr.contains(part),
            "{part} is missing: {}",
            ended.stderr
        );
    }
    Ok(())
}

#[test]
fn job_that_keeps_more_than_its_cap_stops_and_says_which_step_and_what_to_raise() -> Result<()> {
    let parts = ["step it", "[state] max", "131072", "raise it"];
    says(JOIN, &["state.max=128KiB"], 1, &parts)
}

#[test]
fn key_that_is_too_long_is_rejected_with_its_start_and_the_limit() -> Result<()> {
    let parts = [
        "step it",
        "[state] key-max (16)",
        "raise key-max",
        "starts with",
    ];
    says(BY_VALUE, &["state.key-max=16B"], 1, &parts)?;
    says(BY_VALUE, &["state.key-max=20B"], 0, &[])
}

#[test]
fn key_that_keeps_more_than_its_cap_stops_the_job_with_the_step_the_key_and_the_limit() -> Result<()>
{
    let parts = [
        "step it",
        "[state] value-max (32768)",
        "raise it",
        "starts with \"the-key-",
    ];
    says(JOIN, &["state.value-max=32KiB"], 1, &parts)?;
    says(JOIN, &["state.value-max=16MiB"], 0, &[])
}

#[test]
fn accumulator_that_grows_past_the_plugins_limit_is_the_records_failure_and_names_the_key()
-> Result<()> {
    let parts = [
        "step it",
        "function std.collect",
        "state-limit",
        "raise state",
        "starts with \"the-key-",
    ];
    // Some fifty records fill an accumulator: each that comes behind fails by itself, and few come in one batch.
    let job = JOB.replace("\"v\":\"", &format!("\"v\":\"{}", "x".repeat(20 << 10)));
    let set = [
        "source.in.records=300",
        "state.memory=64MiB",
        "batch.records=8",
    ];
    says_of(&job, COLLECT, &set, 1, &parts)
}

/// With all eight accumulators at once the function would have no memory left: no record is blamed for the others', and
/// the search among them copies only what it calls with.
#[test]
fn accumulators_past_the_limit_in_one_batch_cost_exactly_the_records_that_pass_it() -> Result<()> {
    let job = JOB
        .replace("\"v\":\"", &format!("\"v\":\"{}", "x".repeat(20 << 10)))
        .replace("int 0 2", "int 0 8");
    let collect = COLLECT.to_owned() + "on-error = \"skip\"\n";
    let set = [
        "source.in.records=800",
        "state.memory=64MiB",
        "batch.records=4096",
    ];
    // 51 of a key find room.
    says_of(&job, &collect, &set, 0, &["392 rejected"])
}
