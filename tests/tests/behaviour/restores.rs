//! What a start does with what it finds: a place in use, damaged checkpoints, input that is not what it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use wasmill_tests::{Ended, command, lines_of_parts, run, scratch, wait};

/// Reads a file in small batches; dies when told to.
const JOB: &str = r#"
name = "restores"
parallelism = 2
[batch]
records = 50
[checkpoint]
path = "checkpoints"
every = "10ms"
keep = 2
[source.in]
type = "file"
path = "in/*.jsonl"
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[step.sums]
from = "in"
window = { tumbling = "10s" }
aggregate = "std.sum"
config = { field = "/v" }
[sink.out]
from = "sums"
type = "file"
path = "out"
"#;

/// So many that none is read to its end by the third checkpoint, however fast the machine and slow its disk.
const LINES: u64 = 600_000;

/// A folder with the job and its input.
fn folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(scratch()?)?;
    fs::write(folder.path().join("job.toml"), JOB)?;
    fs::create_dir(folder.path().join("in"))?;
    for part in 0..2 {
        let line = |n: u64| format!("{{\"k\":\"k{}\",\"v\":{n},\"t\":{}}}\n", n % 50, n * 10);
        let text: String = (0..LINES).map(line).collect();
        fs::write(folder.path().join(format!("in/{part}.jsonl")), text)?;
    }
    Ok(folder)
}

fn start(folder: &Path, arguments: &[&str], crash_at: Option<&str>) -> Result<Ended> {
    let mut command = command(
        folder,
        ["run", "job.toml", "--quiet"].iter().chain(arguments),
    );
    if let Some(point) = crash_at {
        command.env("WASMILL_CRASH_AT", point);
    }
    run(command, b"")
}

/// A job that died behind its third checkpoint.
fn died() -> Result<tempfile::TempDir> {
    let folder = folder()?;
    let ended = start(folder.path(), &[], Some("cleaned:3"))?;
    ensure!(
        ended.status.code().is_none(),
        "it lived on: {}",
        ended.said()
    );
    Ok(folder)
}

/// The same, in the middle of its input: where the disk is very slow, it may have come to the end of a file by then.
fn died_midway() -> Result<tempfile::TempDir> {
    for _ in 0..20 {
        let folder = died()?;
        let newest = manifests(folder.path())?.pop().context("a checkpoint")?;
        if !fs::read_to_string(newest)?.contains("\"ended\": true") {
            return Ok(folder);
        }
    }
    anyhow::bail!("the third checkpoint always comes behind the end of a file");
}

/// The job with made-up records in place of files: while it is to die they come slowly, some minutes of them, so that the third
/// checkpoint comes before their end however slow the disk is; and at full speed otherwise.
fn made_up() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(scratch()?)?;
    let job = JOB.replace(
        "type = \"file\"\npath = \"in/*.jsonl\"\n",
        "type = \"generator\"\nrecords = 300000\npartitions = 2\nseed = 3\ntemplate = '{\"k\":\"k{{int 0 50}}\",\"v\":{{int 0 9}},\"t\":{{time 0 10}}}'\n",
    );
    fs::write(folder.path().join("job.toml"), job)?;
    Ok(folder)
}

/// It died behind its third checkpoint.
fn made_up_died() -> Result<tempfile::TempDir> {
    let folder = made_up()?;
    let slowly = ["--set", "source.in.rate=1000"];
    let ended = start(folder.path(), &slowly, Some("cleaned:3"))?;
    let died = ended.status.code().is_none();
    ensure!(died, "it lived on: {}", ended.said());
    Ok(folder)
}

fn names(folder: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(folder.join("checkpoints"))?
        .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    Ok(names)
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let path = |name| folder.join("checkpoints").join(name);
    Ok(names(folder, "manifest-")?.into_iter().map(path).collect())
}

fn undisturbed() -> Result<Vec<String>> {
    let folder = folder()?;
    start(folder.path(), &[], None)?.expect_code(0)?;
    lines_of_parts(&folder.path().join("out"))
}

#[test]
fn folder_in_use_is_refused_by_the_pid_of_who_has_it() -> Result<()> {
    let folder = folder()?;
    let slow = JOB.replace(
        "type = \"file\"\npath = \"in/*.jsonl\"\n",
        "type = \"generator\"\nrate = 10\ntemplate = '{\"k\":\"k\",\"v\":1,\"t\":1}'\n",
    );
    fs::write(folder.path().join("job.toml"), slow)?;
    let mut first = command(folder.path(), ["run", "job.toml", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")?;
    while fs::read_to_string(folder.path().join("checkpoints/lock"))
        .unwrap_or_default()
        .is_empty()
    {
        ensure!(first.try_wait()?.is_none(), "it ended");
        std::thread::yield_now();
    }
    let second = start(folder.path(), &[], None)?.expect_code(1)?;
    let pid = format!("pid {}", first.id());
    ensure!(second.stderr.contains(&pid), "it says: {}", second.stderr);
    first.kill()?;
    wait(first)?;
    // The system gives a dead process's lock back.
    let after = start(folder.path(), &["--restore", "nothing"], None)?;
    ensure!(!after.stderr.contains("pid "), "it says: {}", after.stderr);
    Ok(())
}

#[test]
fn place_that_cannot_be_made_or_written_is_refused_by_name() -> Result<()> {
    let folder = folder()?;
    // Where nobody can make folders, root neither.
    for place in ["/proc/wasmill/checkpoints", "in/0.jsonl"] {
        let setting = format!("checkpoint.path={place}");
        let ended = start(folder.path(), &["--set", &setting], None)?.expect_code(1)?;
        ensure!(ended.stderr.contains(place), "it says: {}", ended.stderr);
        ensure!(!folder.path().join("out").exists(), "it wrote all the same");
    }
    Ok(())
}

#[test]
fn restore_of_what_is_no_checkpoint_is_refused_by_name() -> Result<()> {
    let folder = died()?;
    for what in [
        "in/0.jsonl",
        "job.toml",
        "no/such/place",
        "checkpoints/manifest-0000009999",
    ] {
        let ended = start(folder.path(), &["--restore", what], None)?.expect_code(1)?;
        let name = what.rsplit('/').next().unwrap_or(what);
        let said = ended.stderr.contains(name) || ended.stderr.contains("9999");
        ensure!(said, "of {what} it says: {}", ended.stderr);
    }
    start(folder.path(), &[], None)?.expect_code(0)?;
    ensure!(lines_of_parts(&folder.path().join("out"))? == undisturbed()?);
    Ok(())
}

#[test]
fn only_kept_checkpoints_and_the_files_that_they_name_stay() -> Result<()> {
    for keep in 1..=3 {
        let folder = folder()?;
        let job = JOB.replace("keep = 2", &format!("keep = {keep}"));
        fs::write(folder.path().join("job.toml"), job)?;
        start(folder.path(), &[], Some("cleaned:5"))?;
        for done in [false, true] {
            if done {
                start(folder.path(), &[], None)?.expect_code(0)?;
            }
            let kept = manifests(folder.path())?;
            ensure!(kept.len() == keep, "keep = {keep}: {kept:?}");
            let named: String = kept
                .iter()
                .map(fs::read_to_string)
                .collect::<Result<_, _>>()?;
            for name in names(folder.path(), "state-")? {
                ensure!(named.contains(&name), "keep = {keep}: nothing names {name}");
            }
        }
    }
    Ok(())
}

#[test]
fn damaged_checkpoint_is_passed_over_and_named_and_without_another_nothing_starts() -> Result<()> {
    let folder = made_up()?;
    start(folder.path(), &[], None)?.expect_code(0)?;
    let golden = lines_of_parts(&folder.path().join("out"))?;
    type Damage<'a> = &'a dyn Fn(&Path) -> Result<()>;
    let damages: [(&str, Damage<'_>); 4] = [
        ("empty", &|path| Ok(fs::write(path, b"")?)),
        ("cut", &|path| {
            let bytes = fs::read(path)?;
            Ok(fs::write(path, &bytes[..bytes.len() / 2])?)
        }),
        ("a folder", &|path| {
            fs::remove_file(path)?;
            Ok(fs::create_dir(path)?)
        }),
        ("something else", &|path| {
            Ok(fs::write(path, b"wasmill-manifest 0\n{}")?)
        }),
    ];
    for (what, damage) in damages {
        let folder = made_up_died()?;
        let path = folder.path();
        let all = manifests(path)?;
        ensure!(all.len() == 2, "{all:?}");
        damage(&all[1])?;
        let ended = run(command(path, ["run", "job.toml"]), b"")?.expect_code(0)?;
        let name = all[1]
            .file_name()
            .context("a name")?
            .to_string_lossy()
            .into_owned();
        ensure!(
            ended.stderr.contains(&name),
            "{what}: it says {}",
            ended.stderr
        );
        ensure!(
            lines_of_parts(&path.join("out"))? == golden,
            "{what}: other lines"
        );

        let folder = made_up_died()?;
        let path = folder.path();
        for manifest in manifests(path)? {
            damage(&manifest)?;
        }
        let refused = start(path, &[], None)?.expect_code(1)?;
        ensure!(
            refused.stderr.contains(&name) && refused.stderr.contains("--restore none"),
            "{what}: it says {}",
            refused.stderr
        );
    }
    Ok(())
}

#[test]
fn input_that_shrank_changed_or_vanished_stops_the_job_with_where_it_stood() -> Result<()> {
    type Change<'a> = &'a dyn Fn(&Path) -> Result<()>;
    let changes: [(&str, &str, Change<'_>); 3] = [
        ("shrank", "it shrank", &|path| Ok(fs::write(path, b"{}\n")?)),
        ("changed", "content changed", &|path| {
            let text = fs::read_to_string(path)?;
            Ok(fs::write(path, text.replacen("k0", "zz", 1))?)
        }),
        ("vanished", "the file is gone", &|path| {
            Ok(fs::remove_file(path)?)
        }),
    ];
    for (what, says, change) in changes {
        let folder = died_midway()?;
        let path = folder.path();
        let before = manifests(path)?;
        change(&path.join("in/0.jsonl"))?;
        let ended = start(path, &[], None)?.expect_code(1)?;
        ensure!(
            ended.stderr.contains("0.jsonl") && ended.stderr.contains(says),
            "{what}: it says {}",
            ended.stderr
        );
        let bytes = ended.stderr.contains("bytes") || ended.stderr.contains("byte ");
        ensure!(bytes, "{what}: no position in {}", ended.stderr);
        ensure!(manifests(path)? == before, "{what}: it went on");
    }
    Ok(())
}

#[test]
fn checkpoints_of_another_job_are_refused_by_its_name_and_left_alone() -> Result<()> {
    let folder = died()?;
    let path = folder.path();
    let before = manifests(path)?;
    let other = JOB.replacen("name = \"", "name = \"other-", 1);
    fs::write(path.join("job.toml"), &other)?;
    let name = |job: &str| Some(job.split('"').nth(1)?.to_owned());
    let name = name(JOB).context("the job has a name")?;
    for restore in ["latest", "checkpoints"] {
        let refused = start(path, &["--restore", restore], None)?.expect_code(1)?;
        ensure!(
            refused.stderr.contains(&format!("{name:?}")),
            "--restore {restore} says: {}",
            refused.stderr
        );
    }
    ensure!(manifests(path)? == before, "it wrote all the same");
    fs::write(path.join("job.toml"), JOB)?;
    start(path, &[], None)?.expect_code(0)?;
    ensure!(lines_of_parts(&path.join("out"))? == undisturbed()?);
    Ok(())
}

/// A file system in memory, of so many bytes; gone when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// None: this machine lets nobody mount any.
    fn make(at: &Path, size: &str) -> Result<Option<Disk>> {
        fs::create_dir_all(at)?;
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        let made = mount.is_ok_and(|status| status.success());
        Ok(made.then(|| Disk(at.to_owned())))
    }

    fn again(&self, options: &str) -> Result<()> {
        let options = format!("remount,{options}");
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &options]).arg(&self.0).status()?;
        ensure!(status.success(), "mount -o {options}: {status}");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_disk_is_told_and_waited_for_and_a_disk_that_cannot_be_written_is_refused() -> Result<()> {
    let folder = folder()?;
    let path = folder.path();
    let Some(disk) = Disk::make(&path.join("checkpoints"), "256k")? else {
        eprintln!("nothing can be mounted here: the disk in memory of unit tests must do");
        return Ok(());
    };
    // A page each is left for the lock and one file more.
    fs::write(path.join("checkpoints/filler"), vec![1; 248 << 10])?;
    let job = JOB.replace("keep = 2", "keep = 2\nmax-age = \"1s\"");
    fs::write(path.join("job.toml"), job)?;
    let full = start(path, &[], None)?.expect_code(1)?;
    for words in ["waits for the store", "the disk is full", "max-age"] {
        ensure!(full.stderr.contains(words), "no {words:?}: {}", full.stderr);
    }
    // Nothing was committed, so nothing is visible; with room it goes on.
    let visible = lines_of_parts(&path.join("out")).unwrap_or_default();
    ensure!(visible.len() < undisturbed()?.len(), "all of it is visible");
    disk.again("ro")?;
    let refused = start(path, &[], None)?.expect_code(1)?;
    let said = refused.stderr.to_lowercase();
    ensure!(
        said.contains("read-only") && said.contains("checkpoints"),
        "it says: {said}"
    );
    disk.again("rw")?;
    fs::remove_file(path.join("checkpoints/filler"))?;
    disk.again("size=64m")?;
    fs::write(path.join("job.toml"), JOB)?;
    start(path, &[], None)?.expect_code(0)?;
    ensure!(lines_of_parts(&path.join("out"))? == undisturbed()?);
    Ok(())
}
