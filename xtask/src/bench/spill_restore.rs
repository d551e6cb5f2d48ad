//! Memory and time of a checkpoint that holds all of a state sixteen times as large as its budget, and of going on from
//! it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{plugins, shell};

/// The job, in the repository.
const JOB: &str = "bench/spill/restore.toml";

/// Keys that the job makes.
const KEYS: u64 = 14_000_000;

/// Fills the state, stops the job, and starts it again.
pub fn run() -> Result<()> {
    shell::build()?;
    plugins::build()?;
    let folder = shell::target().join("bench/spill-restore");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).context("make target/bench/spill-restore")?;
    let job = fs::read_to_string(JOB).context("read the job")?;
    fs::write(folder.join("job.toml"), &job)?;

    let mut filling = wasmill(&folder, "--json")
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")?;
    let said = filling.stderr.take().context("stderr is piped")?;
    let mut said = BufReader::new(said).lines();
    for line in said.by_ref() {
        let line: Value = serde_json::from_str(&line?).unwrap_or_default();
        if records(&line).is_some_and(|read| read >= KEYS) {
            break;
        }
    }
    show("filled", &filling, None)?;
    // From here on the peak is that of the checkpoint.
    fs::write(format!("/proc/{}/clear_refs", filling.id()), "5").context("reset the peak")?;
    let (begin, mut peak) = (Instant::now(), 0);
    shell::run(Command::new("kill").args(["-TERM", &filling.id().to_string()]))?;
    let rest = std::thread::spawn(move || said.for_each(drop));
    while filling.try_wait()?.is_none() {
        peak = peak.max(memory_peak(&filling).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = rest.join();
    let checkpoint = fs::read_dir(folder.join("checkpoints")).context("there is a checkpoint")?;
    let bytes: u64 = checkpoint
        .filter_map(|e| Some(e.ok()?.metadata().ok()?.len()))
        .sum();
    println!(
        "checkpoint of {} MiB: {:.1} s wall, at most {peak} MiB of memory",
        bytes >> 20,
        begin.elapsed().as_secs_f64()
    );

    let echo = "[sink.echo]\nfrom = \"hot\"\ntype = \"console\"\nformat = \"json\"\n";
    fs::write(folder.join("job.toml"), format!("{job}{echo}"))?;
    let begin = Instant::now();
    let mut restored = wasmill(&folder, "--quiet")
        .stdout(Stdio::piped())
        .spawn()
        .context("start wasmill")?;
    let stdout = restored.stdout.as_mut().context("stdout is piped")?;
    let wrote = stdout.read(&mut [0])?;
    let shown = show("restored", &restored, Some(begin));
    restored.kill()?;
    restored.wait()?;
    ensure!(wrote > 0, "the restored job wrote nothing");
    shown
}

fn wasmill(folder: &Path, how: &str) -> Command {
    let mut command = Command::new(shell::wasmill());
    command
        .args(["run", "job.toml", how])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Records read so far, in a line of progress.
fn records(line: &Value) -> Option<u64> {
    let progress = line.get("progress").unwrap_or(line);
    progress.get("records_in")?.as_u64()
}

fn show(what: &str, child: &Child, since: Option<Instant>) -> Result<()> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let fields = stat.rsplit_once(')').context("a stat line")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|t| t.parse::<u64>().ok()).sum();
    let wall = since.map_or(String::new(), |begin| {
        format!(
            ", {:.1} s until the first output",
            begin.elapsed().as_secs_f64()
        )
    });
    println!(
        "{what}: {:.1} s CPU{wall}, at most {} MiB of memory",
        ticks as f64 / 100.0,
        memory_peak(child)?
    );
    Ok(())
}

/// MiB.
fn memory_peak(child: &Child) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1));
    Ok(kib.context("it has ended")?.parse::<u64>()? >> 10)
}
