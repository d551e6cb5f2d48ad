//! Savepoints of running jobs, what starts from them, and looking into checkpoints.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use wasmill_tests::{Ended, command, lines_of_parts, root, run, wait};

/// Paced, so that it can be met while it runs: tests leave it many times the time that they need,
/// and let what is left go at full speed ([`unpaced`]).
fn job(records: u32, rate: u32) -> String {
    let head = r#"
name = "paced"
parallelism = 1
[checkpoint]
path = "checkpoints"
every = "30ms"
keep = 2
"#;
    paced(head, records, rate)
}

/// A job that begins like this and sums what a generator makes at some pace.
pub fn paced(head: &str, records: u32, rate: u32) -> String {
    format!(
        r#"{head}
[source.in]
type = "generator"
records = {records}
rate = {rate}
seed = 7
partitions = 2
template = '{{"k":"u{{{{int 0 200}}}}","v":{{{{int 0 100}}}},"t":{{{{time 1700000000000 10}}}}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[step.sums]
from = "in"
window = {{ tumbling = "5s" }}
aggregate = "std.sum"
config = {{ field = "/v" }}
[sink.out]
from = "sums"
type = "file"
path = "out"
format = "json"
"#
    )
}

/// The same job without a pace: that is no change of it, so it goes on from any of its checkpoints.
pub fn unpaced(job: &str) -> String {
    let lines = job.lines().filter(|line| !line.starts_with("rate ="));
    lines.collect::<Vec<_>>().join("\n")
}

/// A folder with the job.
pub fn folder(job: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), job)?;
    Ok(folder)
}

/// Runs it to its end there.
pub fn wasmill(folder: &Path, arguments: &[&str]) -> Result<Ended> {
    run(command(folder, arguments), b"")
}

/// Starts the job of the folder.
pub fn start(folder: &Path, arguments: &[&str]) -> Result<Child> {
    let all = ["run", "job.toml", "--quiet"].iter().chain(arguments);
    command(folder, all)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")
}

/// Asks until the job listens. One that ended before is told with what it said.
pub fn savepoint(folder: &Path, job: &mut Child, arguments: &[&str]) -> Result<Value> {
    for _ in 0..1_000 {
        if let Some(status) = job.try_wait()? {
            let mut said = String::new();
            let stderr = job.stderr.as_mut().context("stderr is piped")?;
            stderr.read_to_string(&mut said)?;
            bail!("the job ended ({status}) before it was asked: {said}");
        }
        let all: Vec<&str> = ["savepoint", "job.toml", "--json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let ended = wasmill(folder, &all)?;
        if ended.status.code() == Some(3) {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        let ended = ended.expect_code(0)?;
        let answer: Value = serde_json::from_str(&ended.stdout)?;
        return Ok(answer["savepoint"].clone());
    }
    bail!("the job does not listen")
}

fn place(savepoint: &Value) -> Result<&str> {
    savepoint["place"].as_str().context("a place")
}

/// A job that was stopped with a savepoint: its folder, which `prepare` fills before the start, and where that is.
pub fn stopped(
    job: &str,
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<(tempfile::TempDir, String)> {
    let folder = folder(job)?;
    prepare(folder.path())?;
    let mut child = start(folder.path(), &[])?;
    // One first, so that there is something in it.
    savepoint(folder.path(), &mut child, &["--to", "first"])?;
    let taken = savepoint(folder.path(), &mut child, &["--stop", "--to", "last"])?;
    ensure!(taken["stopped"] == true, "{taken}");
    wait(child)?.expect_code(0)?;
    Ok((folder, "last".into()))
}

#[test]
fn job_stopped_with_savepoints_and_started_at_other_parallelism_writes_what_it_would_have_written()
-> Result<()> {
    let job = job(60_000, 1_000);
    let golden = {
        let folder = folder(&unpaced(&job))?;
        start(folder.path(), &[]).and_then(wait)?.expect_code(0)?;
        lines_of_parts(&folder.path().join("out"))?
    };
    let folder = folder(&job)?;
    let path = folder.path();
    let mut restore = "latest".to_string();
    for (number, parallelism) in [1, 3, 2].into_iter().enumerate() {
        let parallelism = format!("parallelism={parallelism}");
        let mut child = start(path, &["--set", &parallelism, "--restore", &restore])?;
        let running = savepoint(path, &mut child, &[])?;
        ensure!(running["stopped"] == false, "{running}");
        // The job goes on, and its checkpoints do not take the savepoint along.
        let name = format!("to-{number}");
        let last = savepoint(path, &mut child, &["--stop", "--to", &name])?;
        wait(child)?.expect_code(0)?;
        for savepoint in [&running, &last] {
            wasmill(path, &["checkpoint", "verify", place(savepoint)?])?.expect_code(0)?;
            let manifests = fs::read_dir(place(savepoint)?)?.filter_map(|e| e.ok());
            let manifests = manifests.filter(|e| e.file_name().to_string_lossy().contains("mani"));
            ensure!(manifests.count() == 1, "one checkpoint a savepoint");
        }
        restore = place(&last)?.to_owned();
    }
    // Checkpoints may be lost by now: the savepoint needs none of them.
    fs::remove_dir_all(path.join("checkpoints"))?;
    fs::write(path.join("job.toml"), unpaced(&job))?;
    let child = start(path, &["--restore", &restore])?;
    wait(child)?.expect_code(0)?;
    ensure!(lines_of_parts(&path.join("out"))? == golden, "other lines");
    Ok(())
}

/// An epoch that was wanted before a task began to read was never ended by it, and no other one either. Many at once,
/// since it takes a machine that is busy.
#[test]
fn savepoint_that_is_asked_for_before_sources_are_read_is_taken() -> Result<()> {
    let early = || {
        let folder = folder(&job(60_000, 1_000))?;
        let mut child = start(
            folder.path(),
            &["--parallelism", "16", "--set", "checkpoint.every=10ms"],
        )?;
        let taken = savepoint(folder.path(), &mut child, &["--stop"]);
        let _ = child.kill();
        child.wait()?;
        taken
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(early)).collect();
        asking.into_iter().try_for_each(|one| {
            let taken = one.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
            ensure!(taken["stopped"] == true, "{taken}");
            Ok(())
        })
    })
}

#[test]
fn savepoint_that_cannot_be_taken_says_why_and_the_job_goes_on() -> Result<()> {
    let folder = folder(&job(1_000_000, 2_000))?;
    let path = folder.path();
    let absent = wasmill(path, &["savepoint", "job.toml"])?.expect_code(3)?;
    ensure!(absent.stderr.contains("no job runs"), "{}", absent.stderr);
    let nowhere = wasmill(path, &["savepoint", "nowhere"])?.expect_code(2)?;
    ensure!(nowhere.stderr.contains("nowhere"), "{}", nowhere.stderr);
    let mut child = start(path, &[])?;
    savepoint(path, &mut child, &["--to", "taken"])?;
    let occupied = wasmill(path, &["savepoint", "checkpoints", "--to", "taken"])?.expect_code(1)?;
    ensure!(occupied.stderr.contains("taken"), "{}", occupied.stderr);
    let file = wasmill(path, &["savepoint", "job.toml", "--to", "job.toml"])?.expect_code(1)?;
    ensure!(file.stderr.contains("job.toml"), "{}", file.stderr);
    let long = "x".repeat(100_000);
    let too_long = wasmill(path, &["savepoint", "job.toml", "--to", &long])?.expect_code(1)?;
    ensure!(!too_long.stderr.contains("panic"), "{}", too_long.stderr);
    // Checkpoints of a running job are not to be removed.
    let taken = wasmill(path, &["checkpoint", "list", "job.toml", "--json"])?.expect_code(0)?;
    let list: Value = serde_json::from_str(&taken.stdout)?;
    let epoch = list["checkpoints"][0]["epoch"].to_string();
    let removed = wasmill(
        path,
        &["checkpoint", "remove", "job.toml", &epoch, "--force"],
    )?;
    ensure!(
        matches!(removed.status.code(), Some(1 | 2)),
        "{}",
        removed.said()
    );
    savepoint(path, &mut child, &["--stop"])?;
    wait(child)?.expect_code(0)?;
    Ok(())
}

#[test]
fn changed_job_is_refused_with_what_differs_until_its_state_is_given_up() -> Result<()> {
    let text = job(30_000, 1_000);
    let (folder, last) = stopped(&text, |_| Ok(()))?;
    let path = folder.path();
    let text = unpaced(&text);
    let changed = text.replace("tumbling = \"5s\"", "tumbling = \"7s\"");
    fs::write(path.join("job.toml"), &changed)?;
    let restore = |more: &[&str]| {
        let all = ["run", "job.toml", "--quiet", "--restore", &last];
        let all: Vec<&str> = all.iter().chain(more).copied().collect();
        wasmill(path, &all)
    };
    let refused = restore(&[])?.expect_code(1)?;
    for said in ["sums", "- ", "5s", "+ ", "7s", "--drop-state sums"] {
        ensure!(
            refused.stderr.contains(said),
            "no {said:?}: {}",
            refused.stderr
        );
    }
    // What is gone is in the way as well, and a name that is not there is a slip of the pen.
    let gone = text.replace("sums", "totals");
    fs::write(path.join("job.toml"), gone)?;
    let refused = restore(&[])?.expect_code(1)?;
    for said in ["sums", "gone", "totals", "new"] {
        ensure!(
            refused.stderr.contains(said),
            "no {said:?}: {}",
            refused.stderr
        );
    }
    let slip = restore(&["--drop-state", "sum"])?.expect_code(1)?;
    ensure!(slip.stderr.contains("sums"), "{}", slip.stderr);
    restore(&["--drop-state", "sums"])?.expect_code(0)?;
    // From now on its own checkpoints count.
    wasmill(path, &["run", "job.toml", "--quiet"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn step_that_is_added_starts_empty_and_the_others_keep_their_state() -> Result<()> {
    let text = job(30_000, 1_000);
    let (folder, last) = stopped(&text, |_| Ok(()))?;
    let path = folder.path();
    let more = text.replace(
        "[sink.out]",
        "[step.counts]\nfrom = \"in\"\nwindow = { tumbling = \"5s\" }\naggregate = \"std.count\"\n\
         [sink.counted]\nfrom = \"counts\"\ntype = \"file\"\npath = \"counted\"\n[sink.out]",
    );
    fs::write(path.join("job.toml"), unpaced(&more))?;
    let ended = wasmill(path, &["run", "job.toml", "--restore", &last])?.expect_code(0)?;
    ensure!(
        ended.stderr.contains("counts") && ended.stderr.contains("it is new"),
        "{}",
        ended.stderr
    );
    let golden = {
        let folder = self::folder(&unpaced(&text))?;
        start(folder.path(), &[]).and_then(wait)?.expect_code(0)?;
        lines_of_parts(&folder.path().join("out"))?
    };
    ensure!(lines_of_parts(&path.join("out"))? == golden, "other lines");
    ensure!(
        !lines_of_parts(&path.join("counted"))?.is_empty(),
        "nothing counted"
    );
    Ok(())
}

/// The plugin `counts`, with accumulators of this version; `migrates`: it makes thousands of version 1's counts.
fn counts(version: u8, migrates: bool) -> Result<Vec<u8>> {
    let text = fs::read_to_string(root().join("tests/fixtures/plugins/counts.wat"))?;
    let before = r#"\04\00\00\00\01\00\00\00\00\00\00\00") ;; count: ok(descriptor)"#;
    ensure!(text.contains(before), "counts.wat has another descriptor");
    let after = before.replace(r"\01\00\00\00\00", &format!(r"\{version:02x}\00\00\00\00"));
    let migrate = r#"
  (func (export "wasmill:plugin/migration@0.1.0#migrate") (param $from i32) (param $offsets i32) (param $n i32) (param $data i32) (param $len i32) (result i32)
    (local $i i32)
    (block $done
      (loop $states
        (br_if $done (i32.ge_u (local.get $i) (local.get $len)))
        (i64.store (i32.add (local.get $data) (local.get $i))
          (i64.mul (i64.load (i32.add (local.get $data) (local.get $i))) (i64.const 1000)))
        (local.set $i (i32.add (local.get $i) (i32.const 8)))
        (br $states)))
    (i32.store8 (i32.const 240) (i32.const 0))
    (i32.store (i32.const 244) (local.get $offsets)) (i32.store (i32.const 248) (local.get $n))
    (i32.store (i32.const 252) (local.get $data)) (i32.store (i32.const 256) (local.get $len))
    (i32.const 240))
  (export "cabi_post_wasmill:plugin/migration@0.1.0#migrate" (func $forget))
)"#;
    let text = text.replace(before, &after);
    let text = match migrates {
        true => {
            text.trim_end()
                .strip_suffix(')')
                .context("a module")?
                .to_owned()
                + migrate
        }
        false => text,
    };
    Ok(text.into_bytes())
}

#[test]
fn newer_plugin_migrates_the_state_of_an_older_one_and_one_that_cannot_is_refused() -> Result<()> {
    let text = job(30_000, 1_000)
        .replace(
            "aggregate = \"std.sum\"\nconfig = { field = \"/v\" }",
            "aggregate = \"c.count\"",
        )
        .replace("tumbling = \"5s\"", "tumbling = \"30d\"")
        .replace(
            "[step.sums]",
            "[plugin.c]\npath = \"counts.wat\"\n[step.sums]",
        );
    let folder = folder(&text)?;
    let path = folder.path();
    let plugin = path.join("counts.wat");
    fs::write(&plugin, counts(1, false)?)?;
    let mut child = start(path, &[])?;
    savepoint(path, &mut child, &["--to", "first"])?;
    savepoint(path, &mut child, &["--stop", "--to", "last"])?;
    wait(child)?.expect_code(0)?;
    fs::write(path.join("job.toml"), unpaced(&text))?;
    fs::write(&plugin, counts(2, false)?)?;
    let all = ["run", "job.toml", "--restore", "last"];
    let refused = wasmill(path, &all)?.expect_code(1)?;
    for said in ["sums", "state version", "does not migrate"] {
        ensure!(
            refused.stderr.contains(said),
            "no {said:?}: {}",
            refused.stderr
        );
    }
    fs::write(&plugin, counts(2, true)?)?;
    let ended = wasmill(path, &all)?.expect_code(0)?;
    let said = "migrates its state from version 1 to 2";
    ensure!(ended.stderr.contains(said), "{}", ended.stderr);
    // Each record before the change counts a thousand, each one after it one.
    let mut sum = 0;
    for line in lines_of_parts(&path.join("out"))? {
        let count = line.split("\"count\":").nth(1).context("a count")?;
        let digits = count.split(|c: char| !c.is_ascii_digit()).next();
        sum += digits.context("a number")?.parse::<u64>()?;
    }
    ensure!(sum > 30_000 && (sum - 30_000) % 999 == 0, "{sum}");
    // The way back is none: version 1 knows nothing of version 2's state.
    let back = self::folder(&text)?;
    fs::write(back.path().join("counts.wat"), counts(2, true)?)?;
    let mut child = start(back.path(), &[])?;
    savepoint(back.path(), &mut child, &["--stop", "--to", "last"])?;
    wait(child)?.expect_code(0)?;
    fs::write(back.path().join("counts.wat"), counts(1, true)?)?;
    let refused = wasmill(back.path(), &all)?.expect_code(1)?;
    ensure!(
        refused.stderr.contains("older than the state"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[test]
fn checkpoints_are_listed_looked_into_verified_and_removed() -> Result<()> {
    let text = job(100_000, 1_000)
        .replace("tumbling = \"5s\"", "tumbling = \"30d\"")
        // Few keys: each is there after a few records.
        .replace("int 0 200", "int 7 8");
    let (folder, last) = stopped(&text, |_| Ok(()))?;
    let path = folder.path();
    let json = |arguments: &[&str]| -> Result<Value> {
        let ended = wasmill(path, arguments)?.expect_code(0)?;
        Ok(serde_json::from_str(&ended.stdout)?)
    };
    let list = json(&["checkpoint", "list", "job.toml", "--json"])?;
    let all = list["checkpoints"].as_array().context("a list")?;
    ensure!(
        all.len() == 2 && all[0]["epoch"].as_u64() > all[1]["epoch"].as_u64(),
        "{list}"
    );
    for arguments in [
        ["checkpoint", "list", "checkpoints"],
        ["checkpoint", "inspect", &last],
    ] {
        let ended = wasmill(path, &arguments)?.expect_code(0)?;
        let long = ended.stdout.lines().find(|l| l.chars().count() > 80);
        ensure!(long.is_none(), "longer than 80 columns: {long:?}");
    }
    let inspected = json(&["checkpoint", "inspect", &last, "--json"])?;
    ensure!(inspected["steps"][0]["step"] == "sums", "{inspected}");
    ensure!(
        inspected["steps"][0]["entries"].as_u64() > Some(0),
        "{inspected}"
    );
    ensure!(
        inspected["positions"].as_array().map(Vec::len) == Some(2),
        "{inspected}"
    );
    let of_key = |step: &str, key: &str| {
        wasmill(
            path,
            &[
                "checkpoint",
                "inspect",
                &last,
                "--step",
                step,
                "--key",
                key,
                "--json",
            ],
        )
    };
    let known: Value = serde_json::from_str(&of_key("sums", "u7")?.expect_code(0)?.stdout)?;
    ensure!(known["state"][0]["window"]["start"].is_i64(), "{known}");
    let unknown: Value = serde_json::from_str(&of_key("sums", "nobody")?.expect_code(0)?.stdout)?;
    ensure!(unknown["state"] == serde_json::json!([]), "{unknown}");
    let no_step = of_key("sum", "u7")?.expect_code(2)?;
    ensure!(no_step.stderr.contains("sums"), "{}", no_step.stderr);

    wasmill(path, &["checkpoint", "verify", "job.toml"])?.expect_code(0)?;
    let epochs: Vec<String> = all.iter().map(|c| c["epoch"].to_string()).collect();
    let refused =
        wasmill(path, &["checkpoint", "remove", "job.toml", &epochs[0]])?.expect_code(2)?;
    ensure!(refused.stderr.contains("--force"), "{}", refused.stderr);
    wasmill(path, &["checkpoint", "remove", "job.toml", &epochs[1]])?.expect_code(0)?;
    wasmill(path, &["checkpoint", "verify", "job.toml"])?.expect_code(0)?;
    wasmill(path, &["checkpoint", "remove", "job.toml", "999999"])?.expect_code(2)?;

    // A savepoint with a flipped bit is told by its file, and not started from.
    let names = fs::read_dir(path.join(&last))?.filter_map(|e| Some(e.ok()?.path()));
    let state = names
        .filter(|p| p.to_string_lossy().contains("state-"))
        .max();
    let state = state.context("a file of state")?;
    let mut bytes = fs::read(&state)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&state, bytes)?;
    let damaged = wasmill(path, &["checkpoint", "verify", &last])?.expect_code(1)?;
    let name = state.file_name().context("a name")?.to_string_lossy();
    ensure!(damaged.stdout.contains(&*name), "{}", damaged.stdout);
    let refused = wasmill(path, &["run", "job.toml", "--quiet", "--restore", &last])?;
    ensure!(refused.expect_code(1)?.stderr.contains(&*name));
    let nothing = wasmill(path, &["checkpoint", "list", "out"])?.expect_code(2)?;
    ensure!(
        nothing.stderr.contains("no checkpoint"),
        "{}",
        nothing.stderr
    );
    Ok(())
}

/// The sockets in a folder.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = names.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|e| e == "sock"))
        .collect()
}

/// Starts the job of this folder, and waits until it listens at a socket that was not there.
fn listening(folder: &Path, runtime: &Path) -> Result<(Child, PathBuf)> {
    let before = sockets(runtime);
    let mut job = command(folder, ["run", "job.toml", "--quiet"])
        .env("WASMILL_RUNTIME_DIR", runtime)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    for _ in 0..1_000 {
        let new = sockets(runtime).into_iter().find(|s| !before.contains(s));
        if let Some(socket) = new {
            return Ok((job, socket));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    job.kill()?;
    job.wait()?;
    bail!("the job does not listen")
}

#[test]
fn socket_that_a_killed_job_left_is_gone_once_another_job_starts() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let runtime = temporary.path().join("runtime");
    let (killed, next) = (folder(&job(100_000, 1_000))?, folder(&job(100_000, 1_000))?);
    let (mut child, left) = listening(killed.path(), &runtime)?;
    child.kill()?;
    child.wait()?;
    ensure!(left.exists(), "a kill leaves no chance to remove it");

    let (mut child, own) = listening(next.path(), &runtime)?;
    ensure!(
        sockets(&runtime) == [own.clone()],
        "{:?}",
        sockets(&runtime)
    );
    // It is the living job's, and goes with it.
    let stop = ["savepoint", "job.toml", "--stop", "--to", "end"];
    let mut ask = command(next.path(), stop);
    ask.env("WASMILL_RUNTIME_DIR", &runtime);
    run(ask, b"")?.expect_code(0)?;
    ensure!(child.wait()?.success());
    ensure!(!own.exists());
    Ok(())
}
