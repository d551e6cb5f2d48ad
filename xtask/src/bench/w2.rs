//! W2, the peers' job: JSON page views, keyed by user, 10 s windows of event time, count and sum.
//!
//! The plain Rust loop `gen oracle-pages` over the same file, in the same run, gives both the right
//! answer and the yardstick: it parses nothing it does not need, and has no time, state or sandbox.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Cost, cost};
use crate::{plugins, shell};

/// Lines of page views; one more closes the last windows.
const RECORDS: u64 = 10_000_000;
/// The job, in the repository.
const JOB: &str = "bench/w2/job.toml";

/// Runs reference and job, which may get other settings, and compares answers and speed.
pub fn run(settings: &[String]) -> Result<()> {
    shell::build()?;
    plugins::build()?;
    let folder = shell::target().join("bench");
    fs::create_dir_all(&folder).context("make target/bench")?;
    let generator = generator(&folder)?;
    let pages = pages(&generator, &folder)?;

    let (expected, reference) = cost(|| {
        let input = File::open(&pages).context("open pages.jsonl")?;
        shell::output(Command::new(&generator).arg("oracle-pages").stdin(input))
    })?;
    let out = folder.join("w2-out");
    let ((), ours) = cost(|| {
        let mut wasmill = shell::command(shell::wasmill(), &["run", JOB, "--quiet"]);
        wasmill
            .arg("--set")
            .arg(format!("source.pages.path={}", pages.display()));
        wasmill
            .arg("--set")
            .arg(format!("sink.out.path={}", out.display()));
        for setting in settings {
            wasmill.args(["--set", setting]);
        }
        shell::run(&mut wasmill)
    })?;
    let answer = summary(&generator, &out)?;

    println!("answer, plain loop: {}", expected.trim());
    println!("answer, wasmill:    {}", answer.trim());
    let show = |name: &str, cost: Cost| {
        println!(
            "{name:<12} {:>6.2} s CPU {:>6.2} s wall  {:>5.2} M records per CPU-second",
            cost.cpu,
            cost.wall,
            RECORDS as f64 / cost.cpu / 1e6
        );
    };
    show("plain loop", reference);
    show("wasmill", ours);
    println!(
        "wasmill is {:.2} x the plain loop",
        reference.cpu / ours.cpu
    );
    if answer != expected {
        bail!("the answers differ");
    }
    Ok(())
}

/// Builds bench/peers/gen/gen.rs, which uses nothing but std.
pub fn generator(folder: &Path) -> Result<PathBuf> {
    let generator = folder.join("gen");
    let mut rustc = shell::command(
        "rustc",
        &["--edition", "2021", "-O", "bench/peers/gen/gen.rs", "-o"],
    );
    shell::run(rustc.arg(&generator))?;
    Ok(generator)
}

/// The input, made once: it takes 1.1 GB and about ten seconds.
fn pages(generator: &Path, folder: &Path) -> Result<PathBuf> {
    let pages = folder.join("pages.jsonl");
    if !pages.exists() {
        println!("making {RECORDS} page views …");
        let half = folder.join("pages.half");
        let file = File::create(&half).context("make pages.half")?;
        shell::run(
            Command::new(generator)
                .args(["pages", &RECORDS.to_string()])
                .stdout(file),
        )?;
        fs::rename(&half, &pages).context("name pages.jsonl")?;
    }
    // Read once, so that both programs find it in the page cache.
    std::io::copy(
        &mut File::open(&pages).context("open pages.jsonl")?,
        &mut std::io::sink(),
    )?;
    Ok(pages)
}

/// The job's parts as the lines that `gen summary` wants, and its answer.
fn summary(generator: &Path, out: &Path) -> Result<String> {
    let mut child = Command::new(generator)
        .arg("summary")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start gen")?;
    let mut input = BufWriter::new(child.stdin.take().context("no input to write")?);
    for part in fs::read_dir(out).with_context(|| format!("read {}", out.display()))? {
        let part = part?;
        if !part.file_type()?.is_file()
            || part.file_name().to_string_lossy().starts_with(['.', '_'])
        {
            continue;
        }
        for line in BufReader::new(File::open(part.path())?).lines() {
            let line: Value =
                serde_json::from_str(&line?).context("a line of the results is not JSON")?;
            let value = &line["value"];
            let (count, sum) = (&value["count"], &value["sum"]);
            writeln!(
                input,
                r#"{{"w":{},"user":{},"n":{count},"s":{sum}}}"#,
                line["window"]["start"], line["key"]
            )?;
        }
    }
    input.flush()?;
    drop(input);
    let done = child.wait_with_output().context("wait for gen")?;
    String::from_utf8(done.stdout).context("gen's summary")
}
