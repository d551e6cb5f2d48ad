//! How fast a job that died is back: from its start until its first line of output, with so much state to restore.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::jobs;
use crate::shell;

/// How long a job may take until a checkpoint has all of its keys.
const PATIENCE: Duration = Duration::from_secs(300);

/// With so many keys: 100 MB and 1 GiB of state files.
pub fn run(folder: &Path) -> Result<()> {
    for keys in [1_500_000, 16_000_000] {
        restart(folder, keys)?;
    }
    Ok(())
}

fn restart(folder: &Path, keys: u64) -> Result<()> {
    let job = jobs::sums(keys, 1_000_000_000, keys, Some(20_000), Some("1s"));
    let _ = fs::remove_dir_all(folder.join("checkpoints"));
    fs::write(folder.join("job.toml"), &job)?;
    let mut child = wasmill(folder).stdout(Stdio::null()).spawn()?;
    let stored = wait_for_all(folder, &mut child, keys);
    // SIGKILL.
    child.kill()?;
    child.wait()?;
    let bytes = stored?;
    let echo = "[sink.echo]\nfrom = \"hot\"\ntype = \"console\"\nformat = \"json\"\n";
    fs::write(folder.join("job.toml"), format!("{job}{echo}"))?;
    let begin = Instant::now();
    let mut child = wasmill(folder).stdout(Stdio::piped()).spawn()?;
    let mut first = [0];
    let stdout = child.stdout.as_mut().context("stdout is piped")?;
    let read = std::io::Read::read(stdout, &mut first)?;
    let elapsed = begin.elapsed();
    child.kill()?;
    child.wait()?;
    if read == 0 {
        bail!("the job that died wrote nothing when it was started again");
    }
    println!(
        "first output {} ms after the start of a job that was killed with {:.0} MB of state",
        elapsed.as_millis(),
        bytes as f64 / 1e6
    );
    Ok(())
}

fn wasmill(folder: &Path) -> Command {
    let mut command = Command::new(shell::wasmill());
    command
        .args(["run", "job.toml", "--quiet"])
        .current_dir(folder);
    command
}

/// Waits for a checkpoint that has all keys: its bytes of state.
fn wait_for_all(folder: &Path, job: &mut Child, keys: u64) -> Result<u64> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(ended) = job.try_wait()? {
            bail!("the job ended with {ended}");
        }
        let shown = Command::new(shell::wasmill())
            .args(["checkpoint", "inspect", "checkpoints", "--json"])
            .current_dir(folder)
            .stderr(Stdio::null())
            .output()
            .context("start wasmill")?;
        if let Ok(newest) = serde_json::from_slice::<Value>(&shown.stdout) {
            let of_step = &newest["steps"][0];
            if of_step["entries"].as_u64() >= Some(keys) {
                return of_step["bytes"].as_u64().context("no bytes of a step");
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("no checkpoint with all keys within {PATIENCE:?}")
}
