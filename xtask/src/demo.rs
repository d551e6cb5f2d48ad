//! The first command of the README: a month of real flights through a sandboxed plugin.

use std::fs;

use anyhow::{Context, Result};

use crate::{plugins, shell};

/// The example that is shown.
const JOB: &str = "examples/flights/job.toml";
/// Where its parts go.
const OUT: &str = "examples/flights/out";

/// Builds the host and the plugins, runs the example, and says where the results are.
pub fn demo() -> Result<()> {
    println!("Building the host …");
    shell::build()?;
    println!("Compiling the plugins to Wasm …");
    plugins::build()?;
    let out = shell::root().join(OUT);
    if out.exists() {
        // The demo's own results of the run before; a job never overwrites a folder by itself.
        fs::remove_dir_all(&out).with_context(|| format!("clear {OUT}"))?;
    }
    println!("\n$ wasmill run {JOB}");
    shell::run(&mut shell::command(shell::wasmill(), &["run", JOB]))?;
    println!("\nThe hourly results are on disk:");
    let mut parts: Vec<_> = fs::read_dir(&out)
        .with_context(|| format!("read {OUT}"))?
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("read {OUT}"))?;
    parts.sort_by_key(fs::DirEntry::file_name);
    let mut first_line = None;
    for part in parts {
        let name = part.file_name().to_string_lossy().into_owned();
        if !part.file_type()?.is_file() || name.starts_with(['.', '_']) {
            continue;
        }
        let text = fs::read_to_string(part.path()).with_context(|| format!("read {OUT}/{name}"))?;
        println!(
            "  {OUT}/{name}  {} results, {} bytes",
            text.lines().count(),
            text.len()
        );
        if first_line.is_none() {
            first_line = text.lines().next().map(str::to_owned);
        }
    }
    if let Some(line) = first_line {
        println!("The first one:\n  {line}");
    }
    println!("\nThe job is {JOB}, its plugin is plugins/flights. Change one and run this again.");
    Ok(())
}
