//! State of every kind of step in savepoints: looked into by key, and checked against a job that has changed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wasmill_tests::{plugin, root, wait};

use crate::savepoints::{folder, savepoint, start, stopped, unpaced, wasmill};

/// A job with a step of each kind that keeps state by key; each key comes once to each of them.
const ALL_KINDS: &str = r#"
name = "kinds"
parallelism = 2
[checkpoint]
path = "checkpoints"
every = "50ms"
[plugin.s]
path = "states.wat"
[source.in]
type = "generator"
records = 100_000
rate = 100
template = '{"k":"u{{index}}","t":{{time 1700000000000 10}}}'
key = "/k"
timestamp = "/t"
[source.names]
type = "generator"
records = 100_000
rate = 100
template = '{"k":"u{{index}}","name":"n{{index}}","t":{{time 1700000000000 10}}}'
key = "/k"
timestamp = "/t"
[table.directory]
from = "names"
[step.once]
from = "in"
dedup = { within = "10d" }
[step.named]
from = "in"
lookup = "directory"
join = "left"
[step.pairs]
from = ["in", "names"]
join = "inner"
within = { from = "-5d", to = "5d" }
[step.track]
from = "in"
process = "s.track"
ttl = "10d"
[sink.out]
from = ["once", "named", "pairs", "track"]
type = "blackhole"
"#;

fn copy_plugin(folder: &Path) -> Result<String> {
    let text = fs::read_to_string(root().join("tests/fixtures/plugins/states.wat"))?;
    fs::write(folder.join("states.wat"), &text)?;
    Ok(text)
}

/// What a savepoint has of a key in a step.
fn of_key(folder: &Path, place: &str, step: &str, key: &str) -> Result<Value> {
    let all = ["checkpoint", "inspect", place, "--json", "--step", step];
    let all: Vec<&str> = all.into_iter().chain(["--key", key]).collect();
    let ended = wasmill(folder, &all)?.expect_code(0)?;
    Ok(serde_json::from_str::<Value>(&ended.stdout)?["state"].clone())
}

#[test]
fn key_is_found_in_every_kind_of_step() -> Result<()> {
    let folder = folder(ALL_KINDS)?;
    let path = folder.path();
    copy_plugin(path)?;
    let mut child = start(path, &[])?;
    let steps = ["once", "named", "pairs", "track"];
    let mut found = Vec::new();
    // Until the first record has come everywhere: some savepoint has it.
    for number in 0..200 {
        let place = format!("at-{number}");
        savepoint(path, &mut child, &["--to", &place])?;
        found = steps
            .iter()
            .map(|step| of_key(path, &place, step, "u0"))
            .collect::<Result<Vec<_>>>()?;
        if found
            .iter()
            .all(|f| f.as_array().is_some_and(|a| !a.is_empty()))
        {
            break;
        }
    }
    savepoint(path, &mut child, &["--stop", "--to", "last"])?;
    wait(child)?.expect_code(0)?;
    for (step, found) in steps.iter().zip(&found) {
        let entries = found.as_array().context("a list")?;
        ensure!(!entries.is_empty(), "nothing of u0 in {step}");
        let nobody = of_key(path, "last", step, "u123456789")?;
        ensure!(nobody == serde_json::json!([]), "{step}: {nobody}");
    }
    // The state is one byte, a count; what the others keep is shown as it is.
    let track = &found[3][0];
    ensure!(track["version"] == 0, "{track}");
    ensure!(
        track["state"] == serde_json::json!({ "base64": "AQ==" }),
        "{track}"
    );
    Ok(())
}

#[test]
fn process_step_that_was_changed_or_removed_is_refused_and_one_that_is_added_starts_empty()
-> Result<()> {
    let track = "[step.track]\nfrom = \"in\"\nprocess = \"s.track\"\nttl = \"10d\"\n";
    let source = "[source.in]\ntype = \"generator\"\nrecords = 30_000\nrate = 1_000\n\
         template = '{\"k\":\"u{{index}}\",\"t\":{{time 1700000000000 10}}}'\nkey = \"/k\"\ntimestamp = \"/t\"\n";
    let head = "name = \"kinds\"\n[checkpoint]\npath = \"checkpoints\"\nevery = \"50ms\"\n\
         [plugin.s]\npath = \"states.wat\"\n";
    let sink = "[sink.out]\nfrom = \"track\"\ntype = \"blackhole\"\n";
    let text = format!("{head}{source}{track}{sink}");
    let (folder, last) = stopped(&text, |folder| copy_plugin(folder).map(drop))?;
    let path = folder.path();
    let plugin = copy_plugin(path)?;
    let restore = |job: &str| {
        fs::write(path.join("job.toml"), unpaced(job))?;
        wasmill(path, &["run", "job.toml", "--restore", &last])
    };
    let refused = |job: &str, words: &[&str]| -> Result<()> {
        let said = restore(job)?.expect_code(1)?.stderr;
        for word in words {
            ensure!(said.contains(word), "no {word:?} in: {said}");
        }
        Ok(())
    };
    let with = |new: &str| text.replace("ttl = \"10d\"\n", &format!("ttl = \"10d\"\n{new}"));
    refused(
        &with("config = { other = 1 }\n"),
        &["track", "config", "other", "--drop-state track"],
    )?;
    let other_kind = text.replace(
        track,
        "[step.track]\nfrom = \"in\"\ndedup = { within = \"10d\" }\n",
    );
    refused(&other_kind, &["track", "kind", "- process", "+ dedup"])?;
    let gone = text.replace(track, "").replace("\"track\"", "\"in\"");
    refused(&gone, &["track", "gone", "--drop-state track"])?;

    // Newer states, which the plugin cannot make of older ones: refused before any is read.
    let before = r#"\00\00\00\00\00\00\00\00\00\00\00\00") ;; track: ok(descriptor)"#;
    ensure!(plugin.contains(before), "states.wat has another descriptor");
    let after = before.replacen(r"\00\00\00\00\00", r"\00\00\00\00\01", 1);
    fs::write(path.join("states.wat"), plugin.replace(before, &after))?;
    refused(&text, &["track", "state version", "does not migrate"])?;
    fs::write(path.join("states.wat"), &plugin)?;

    let added = text.replace(
        "[sink.out]",
        "[step.second]\nfrom = \"in\"\nprocess = \"s.track\"\nttl = \"1d\"\n[sink.out]",
    );
    let added = added.replace("from = \"track\"", "from = [\"track\", \"second\"]");
    let ended = restore(&added)?.expect_code(0)?;
    ensure!(
        ended.stderr.contains("second") && ended.stderr.contains("it is new: it starts empty"),
        "{}",
        ended.stderr
    );
    Ok(())
}

#[test]
fn plugin_made_with_the_sdk_that_cannot_migrate_is_refused_with_all_that_differs() -> Result<()> {
    // Two plugins with a function `count`: one's accumulators have version 1, the other, made with the SDK, has version 2.
    let text = "name = \"changes\"\nparallelism = 1\n[checkpoint]\npath = \"checkpoints\"\nevery = \"50ms\"\n\
         [plugin.c]\npath = \"counts.wat\"\n\
         [source.in]\ntype = \"generator\"\nrecords = 30_000\nrate = 1_000\n\
         template = '{\"k\":\"u{{index}}\",\"t\":{{time 1700000000000 10}}}'\nkey = \"/k\"\ntimestamp = \"/t\"\n\
         [step.once]\nfrom = \"in\"\ndedup = { within = \"10d\" }\n\
         [step.counts]\nfrom = \"once\"\nwindow = { tumbling = \"30d\" }\naggregate = \"c.count\"\n\
         [sink.out]\nfrom = \"counts\"\ntype = \"blackhole\"\n";
    let (folder, last) = stopped(text, |folder| {
        let counts = root().join("tests/fixtures/plugins/counts.wat");
        fs::copy(counts, folder.join("counts.wat"))?;
        Ok(())
    })?;
    let path = folder.path();
    fs::copy(plugin("faulty")?, path.join("sdk.wasm"))?;
    let changed = unpaced(text).replace("[step.once]", "[step.first]");
    let changed = changed.replace("\"once\"", "\"first\"");
    let changed = changed.replace("counts.wat", "sdk.wasm");
    fs::write(path.join("job.toml"), changed)?;
    let all = ["run", "job.toml", "--quiet", "--restore", &last];
    let said = wasmill(path, &all)?.expect_code(1)?.stderr;
    let line = |step: &str| said.lines().find(|l| l.contains(step)).unwrap_or("");
    for (step, what) in [("once", "gone"), ("first", "new"), ("counts", "changed")] {
        ensure!(line(step).contains(what), "no {step} {what}: {said}");
    }
    for words in ["state version", "- 1", "+ 2", "does not migrate"] {
        ensure!(said.contains(words), "no {words:?}: {said}");
    }
    ensure!(
        said.contains("--drop-state once") && said.contains("--drop-state counts"),
        "what to do: {said}"
    );
    Ok(())
}
