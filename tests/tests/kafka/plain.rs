//! Reading and writing topics, without crashes.

use anyhow::{Result, ensure};
use wasmill_tests::{command, run};

use crate::cluster::{Seen, brokers, committed, create, produce, read_all, write_job};

fn job(name: &str, more: &str) -> String {
    format!(
        r#"
name = "{name}"
parallelism = 2
{more}
[source.texts]
type = "kafka"
brokers = "BROKERS"
topics = "{name}-in"
end = "latest"
[step.cast]
from = "texts"
transform = "std.parse-int"
[sink.numbers]
from = "cast"
type = "kafka"
brokers = "BROKERS"
topic = "{name}-out"
[sink.bad]
from = "cast.errors"
type = "kafka"
brokers = "BROKERS"
topic = "{name}-bad"
"#
    )
}

fn fill(name: &str) -> Result<()> {
    create(brokers(), &format!("{name}-in"), 2)?;
    create(brokers(), &format!("{name}-out"), 2)?;
    create(brokers(), &format!("{name}-bad"), 1)?;
    let records = [
        (0, "a", Some("1"), 1_000),
        (1, "b", Some("x"), 2_000),
        (1, "c", Some("40"), 3_000),
    ];
    produce(brokers(), &format!("{name}-in"), records)
}

fn number(key: &str, value: &str, timestamp: i64) -> Seen {
    Seen {
        partition: 0,
        key: Some(key.into()),
        value: Some(value.into()),
        timestamp: Some(timestamp),
        headers: Vec::new(),
    }
}

#[test]
fn texts_become_numbers_in_a_topic_and_bad_ones_go_to_another_with_the_reason_in_headers()
-> Result<()> {
    fill("cast")?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("cast", ""))?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let mut seen = read_all(brokers(), "cast-out")?;
    seen.iter_mut().for_each(|s| s.partition = 0);
    seen.sort();
    ensure!(
        seen == [number("a", "1", 1_000), number("c", "40", 3_000)],
        "{seen:?}"
    );
    let bad = read_all(brokers(), "cast-bad")?;
    ensure!(
        bad.len() == 1 && bad[0].value.as_deref() == Some("x"),
        "{bad:?}"
    );
    let header = |name: &str| bad[0].headers.iter().find(|(n, _)| n == name);
    ensure!(
        header("error.step").is_some_and(|(_, v)| v == "cast"),
        "{bad:?}"
    );
    ensure!(
        header("error.message").is_some_and(|(_, v)| v.contains("`x`")),
        "{bad:?}"
    );
    ensure!(
        header("error.partition").is_some_and(|(_, v)| v == "1"),
        "{bad:?}"
    );
    Ok(())
}

#[test]
fn offsets_of_a_finished_exactly_once_job_are_with_its_group_and_it_does_not_run_again()
-> Result<()> {
    fill("offsets")?;
    let folder = tempfile::tempdir()?;
    let checkpoint = "[checkpoint]\npath = \"checkpoints\"\nevery = \"200ms\"";
    write_job(folder.path(), &job("offsets", checkpoint))?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let offsets = committed(brokers(), "wasmill.offsets.texts", "offsets-in", 2)?;
    ensure!(offsets == [1, 2], "{offsets:?}");
    let again = run(command(folder.path(), ["run", "job.toml"]), b"")?.expect_code(0)?;
    ensure!(again.stderr.contains("nothing to do"), "{}", again.said());
    ensure!(read_all(brokers(), "offsets-out")?.len() == 2, "once");
    Ok(())
}

#[test]
fn topic_that_is_not_there_ends_the_job_with_its_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("absent", ""))?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(1)?;
    ensure!(ended.stderr.contains("absent-in"), "{}", ended.said());
    Ok(())
}

#[test]
fn dangerous_client_settings_are_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let more = "[source.texts.client]\n\"plugin.library.paths\" = \"x\"\n\"ssl.ca.location\" = \"/etc/passwd\"";
    write_job(folder.path(), &format!("{}\n{more}", job("danger", "")))?;
    let ended = run(command(folder.path(), ["check", "job.toml"]), b"")?.expect_code(2)?;
    ensure!(
        ended.stderr.contains("loads code into the host"),
        "{}",
        ended.said()
    );
    ensure!(ended.stderr.contains("reads a file"), "{}", ended.said());
    Ok(())
}

#[test]
fn checkpoint_of_a_topic_that_was_emptied_is_a_gap_that_stops_the_job() -> Result<()> {
    fill("gap")?;
    let folder = tempfile::tempdir()?;
    // A position behind the end stands for a topic that was made anew with fewer records.
    let text = job("gap", "").replace(
        "end = \"latest\"",
        "end = \"latest\"\nstart = { offsets = { \"0\" = 99 } }",
    );
    write_job(folder.path(), &text)?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(1)?;
    ensure!(
        ended.stderr.contains("offset 99") && ended.stderr.contains("0 to 1"),
        "{}",
        ended.said()
    );
    Ok(())
}
