//! What people are told where a system cannot hold the compilers of plugins.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;
use wasmill_tests::{command, run};

const JOB: &str = r#"
name = "held"
[plugin.mine]
path = "mine.wat"
[source.in]
type = "generator"
records = 3
template = '{"ms":1}'
[step.same]
from = "in"
transform = "mine.same"
[sink.out]
from = "same"
type = "blackhole"
"#;

/// The command on a system without landlock: a filter answers for the kernel, in it and in all that it starts.
fn without_landlock(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let rules = BTreeMap::from([(libc::SYS_landlock_create_ruleset, vec![])]);
    let not_there = SeccompAction::Errno(libc::ENOSYS as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, not_there, arch)?;
    let program: BpfProgram = filter.try_into()?;
    let mut command = command(folder, arguments);
    command.env("XDG_CACHE_HOME", folder.join("cache"));
    let enter = move || seccompiler::apply_filter(&program).map_err(std::io::Error::other);
    // SAFETY: between fork and exec it makes two system calls, with a program that was made before.
    unsafe { command.pre_exec(enter) };
    Ok(command)
}

/// What is said of it.
const WHY: &str = "landlock: this kernel has none";

/// However its lines end.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), JOB)?;
    let plugin = wasmill_tests::root().join("tests/fixtures/plugins/plain.wat");
    fs::copy(plugin, folder.path().join("mine.wat"))?;
    Ok(folder)
}

#[test]
fn a_run_says_what_did_not_hold_the_compiler_and_why() -> Result<()> {
    let folder = folder()?;
    let held = without_landlock(folder.path(), &["run", "job.toml"])?;
    let ended = run(held, b"")?.expect_code(0)?;
    let note = "plugin mine was compiled in a process that was not wholly held: landlock";
    let said = words(&ended.stderr);
    ensure!(said.contains(note) && said.contains(WHY), "{said}");
    // Its code comes from the cache now: nothing was compiled.
    let held = without_landlock(folder.path(), &["run", "job.toml"])?;
    let ended = run(held, b"")?.expect_code(0)?;
    ensure!(!ended.stderr.contains("landlock"), "{}", ended.stderr);
    Ok(())
}

#[test]
fn a_run_tells_machines_what_did_not_hold_the_compiler() -> Result<()> {
    let folder = folder()?;
    let held = without_landlock(folder.path(), &["run", "job.toml", "--json"])?;
    let ended = run(held, b"")?.expect_code(0)?;
    let all = ended.stderr.lines().map(serde_json::from_str::<Value>);
    let all: Vec<Value> = all.collect::<Result<_, _>>()?;
    let summary = all.last().context("a summary")?.to_string();
    ensure!(summary.contains(WHY), "{summary}");
    Ok(())
}

#[test]
fn limits_say_what_this_system_lacks_and_why() -> Result<()> {
    let folder = folder()?;
    let said = run(without_landlock(folder.path(), &["limits"])?, b"")?.expect_code(0)?;
    ensure!(
        said.stdout.contains("but not wholly on this system"),
        "{}",
        said.stdout
    );
    ensure!(said.stdout.contains(WHY), "{}", said.stdout);
    let said = run(without_landlock(folder.path(), &["limits", "--json"])?, b"")?;
    let limits: Value = serde_json::from_str(&said.expect_code(0)?.stdout)?;
    let compile = &limits["compile"];
    ensure!(
        compile["not_enforced"] == serde_json::json!(["landlock"]),
        "{compile}"
    );
    let why = &compile["not_enforced_because"][0];
    ensure!(
        why.as_str()
            .is_some_and(|w| w.starts_with("this kernel has none")),
        "{why}"
    );
    Ok(())
}
