//! State beyond memory: the same job with all of its state in memory, and with a tenth of it; and a soak.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Cost, cost, w2};
use crate::{plugins, shell};

/// Updates, and keys that they are dealt to at random.
const UPDATES: u64 = 10_000_000;
const KEYS: u64 = 2_000_000;
/// Peers at w2 with their state on disk: thousands of records per CPU-second, measured on such a machine.
const PEERS: [(&str, u32); 3] = [
    ("Flink, RocksDB", 72),
    ("Spark, RocksDB", 136),
    ("Kafka Streams, RocksDB", 127),
];
/// The jobs, in the repository.
const JOB: &str = "bench/spill/job.toml";
const SOAK: &str = "bench/spill/soak.toml";

/// What a run was like.
struct Run {
    cost: Cost,
    memory: u64,
    disk: u64,
    /// The sum of its lines' hashes: the order of lines is of no interest.
    answer: u64,
}

/// Runs the job both ways and compares.
pub fn run() -> Result<()> {
    shell::build()?;
    plugins::build()?;
    let folder = shell::target().join("bench/spill");
    fs::create_dir_all(&folder).context("make target/bench/spill")?;
    let updates = folder.join("updates.jsonl");
    if !updates.exists() {
        make(&updates)?;
    }
    // Read once, so that both runs find it in the page cache.
    let mut file = File::open(&updates).context("open updates.jsonl")?;
    std::io::copy(&mut file, &mut std::io::sink())?;
    let all = measured(&folder, "in-memory", "64GiB")?;
    let tenth = measured(&folder, "a-tenth", &format!("{}B", all.memory / 10))?;
    for (name, run) in [("in memory", &all), ("a tenth of it", &tenth)] {
        println!(
            "{name:<14} {:>6.2} s CPU {:>6.2} s wall  {:>4.0} k updates per CPU-second  {} MiB in memory, {} MiB on disk",
            run.cost.cpu,
            run.cost.wall,
            UPDATES as f64 / run.cost.cpu / 1e3,
            run.memory >> 20,
            run.disk >> 20
        );
    }
    println!(
        "an update of state beyond memory costs {:.2} µs more",
        (tenth.cost.cpu - all.cost.cpu) * 1e6 / UPDATES as f64
    );
    if all.answer != tenth.answer {
        bail!("the answers differ");
    }
    println!("\nthe peers' job w2, [state] memory = \"16MiB\" (goal: 1 M records per CPU-second):");
    w2::run(&["state.memory=16MiB".to_owned()])?;
    for (peer, thousand) in PEERS {
        println!("{peer:<24} {thousand} k records per CPU-second (measured earlier)");
    }
    Ok(())
}

fn measured(folder: &Path, name: &str, memory: &str) -> Result<Run> {
    let out = folder.join(name);
    let set = [
        format!("source.updates.path={}/updates.jsonl", folder.display()),
        format!("sink.out.path={}", out.display()),
        format!("state.memory={memory}"),
        format!("state.path={}/scratch", folder.display()),
    ];
    let (summary, cost) = cost(|| summary(JOB, &set))?;
    let step = &summary["steps"][0];
    let bytes = |name: &str| step[name].as_u64().with_context(|| format!("no {name}"));
    Ok(Run {
        cost,
        memory: bytes("state_memory_bytes_peak")?,
        disk: bytes("state_disk_bytes_peak")?,
        answer: answer(&out)?,
    })
}

/// Runs a job and answers its summary.
fn summary(job: &str, set: &[String]) -> Result<Value> {
    let mut wasmill = shell::command(shell::wasmill(), &["run", job, "--json"]);
    for set in set {
        wasmill.args(["--set", set]);
    }
    let ended = wasmill
        .stderr(Stdio::piped())
        .output()
        .context("run wasmill")?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let line = said.lines().rev().find(|l| l.contains("\"summary\""));
    let line = line.with_context(|| format!("no summary: {said}"))?;
    Ok(serde_json::from_str::<Value>(line)?["summary"].take())
}

fn answer(out: &Path) -> Result<u64> {
    let mut sum = 0_u64;
    for entry in fs::read_dir(out).context("read the results")? {
        let entry = entry?;
        // Not the sink's own notes, which each run has others of.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        for line in fs::read_to_string(entry.path())?.lines() {
            let fnv = line.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, b| {
                (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
            });
            sum = sum.wrapping_add(fnv);
        }
    }
    Ok(sum)
}

fn make(path: &Path) -> Result<()> {
    println!("making {UPDATES} updates of {KEYS} keys …");
    let half = path.with_extension("half");
    let mut file = BufWriter::new(File::create(&half).context("make updates.half")?);
    let mut random = 1_u64;
    for i in 0..UPDATES {
        // splitmix64
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let key = (x ^ (x >> 31)) % KEYS;
        writeln!(file, r#"{{"k":{key},"v":{},"t":1700000000000}}"#, i % 1000)?;
    }
    file.into_inner().context("write updates.half")?;
    fs::rename(&half, path).context("name updates.jsonl")?;
    Ok(())
}

/// Sums by so many million keys (100 if nothing is said) in 1 GiB, half as many records again as keys.
pub fn soak(args: &[String]) -> Result<()> {
    shell::build()?;
    plugins::build()?;
    let millions: u64 = match args.first() {
        None => 100,
        Some(millions) => millions.parse().context("how many million keys?")?,
    };
    // Of keys dealt at random some never come: twice as many records as keys wanted, from a quarter more keys, meet them.
    let (keys, records) = (millions * 1_260_000, millions * 2_000_000);
    let folder = shell::target().join("bench/spill");
    fs::create_dir_all(&folder).context("make target/bench/spill")?;
    let set = [
        format!("source.updates.records={records}"),
        format!(r#"source.updates.template={{"k":{{{{int 0 {keys}}}}},"v":{{{{int 0 1000}}}}}}"#),
        format!("state.path={}/scratch", folder.display()),
    ];
    let (summary, cost) = cost(|| summary(SOAK, &set))?;
    let step = &summary["steps"][0];
    let mib = |name: &str| step[name].as_u64().unwrap_or(0) >> 20;
    println!(
        "{} records, {} keys: {:.0} s CPU {:.0} s wall, state at most {} MiB in memory, {} MiB on disk",
        summary["records_in"],
        step["records_out"],
        cost.cpu,
        cost.wall,
        mib("state_memory_bytes_peak"),
        mib("state_disk_bytes_peak")
    );
    println!("ended: {}", summary["ending"]);
    Ok(())
}
