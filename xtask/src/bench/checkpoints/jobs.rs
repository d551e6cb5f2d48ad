//! The jobs whose checkpoints are measured: each has some 100 MB of state.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::w2;
use crate::shell;

/// Events of the Nexmark file: with these 90 MB of state.
const EVENTS: u64 = 2_100_000;

/// Names under which the Nexmark file is read, side by side: the state of one, and some seconds of work.
const EVENT_FILES: usize = 12;

/// Flights are dealt to so many files, each read under several names.
const FLIGHT_FILES: usize = 4;
const FLIGHT_NAMES: usize = 8;

/// Copies of the month, each with planes of its own: 1 M pairs of plane and flight, 150 MB of state.
const FLEETS: usize = 40;

/// How the job takes checkpoints: every so often, or not at all.
pub fn checkpoint(every: Option<&str>) -> String {
    every.map_or(String::new(), |every| {
        format!("[checkpoint]\npath = \"checkpoints\"\nevery = \"{every}\"\n")
    })
}

/// A job whose state is a sum for each key. The first `keys` records make all of them; those behind take one of `hot`.
pub fn sums(keys: u64, records: u64, hot: u64, rate: Option<u64>, every: Option<&str>) -> String {
    let rate = rate.map_or(String::new(), |rate| format!("rate = {rate}\n"));
    let checkpoint = checkpoint(every);
    format!(
        r#"name = "bench"
parallelism = 2
{checkpoint}
[state]
memory = "8GiB"
[source.all]
type = "generator"
records = {keys}
partitions = 2
template = '{{"k":"user-{{{{index}}}}","v":1,"t":1700000000000}}'
key = "/k"
timestamp = "/t"
[source.hot]
type = "generator"
records = {records}
{rate}partitions = 2
template = '{{"k":"user-{{{{int 0 {hot}}}}}","v":1,"t":1700000000000}}'
key = "/k"
timestamp = "/t"
[step.sums]
from = ["all", "hot"]
window = {{ tumbling = "100d" }}
aggregate = "std.sum"
config = {{ field = "/v" }}
[sink.out]
from = "sums"
type = "blackhole"
"#
    )
}

/// Flights by plane and number, over months whose planes differ: 35 M rows in `folder`.
pub fn flights(every: Option<&str>) -> String {
    let plugin = shell::target().join("plugins/flights.wasm");
    format!(
        r#"name = "bench-flights"
parallelism = 2
{}
[source.departures]
type = "file"
path = "flights-*.csv"
format = "csv"
timestamp = "/time_hour"
[source.departures.event-time]
max-disorder = "40d"
[plugin.flights]
path = "{}"
[step.by-plane]
from = "departures"
key = ["/tailnum", "/flight"]
[step.parsed]
from = "by-plane"
transform = "flights.parse"
[step.planes]
from = "parsed"
window = {{ tumbling = "1000d" }}
aggregate = "flights.delay-stats"
[sink.out]
from = "planes"
type = "blackhole"
"#,
        checkpoint(every),
        plugin.display()
    )
}

/// Nexmark's q18, the last bid of each person for each auction, into nothing.
pub fn nexmark(every: Option<&str>) -> Result<String> {
    let text = fs::read_to_string(shell::root().join("examples/nexmark/q18.toml"))
        .context("read examples/nexmark/q18.toml")?;
    let plugins = format!("{}/plugins/", shell::target().display());
    let (job, _) = text
        .split_once("[sink.out]")
        .context("q18 has no sink called out")?;
    let job = job
        .replace("../../target/plugins/", &plugins)
        .replace("data/events.jsonl.gz", "events-*.jsonl")
        .replacen(
            "\n[plugin",
            &format!("\nparallelism = 2\n{}[plugin", checkpoint(every)),
            1,
        );
    Ok(job + "[sink.out]\nfrom = \"last\"\ntype = \"blackhole\"\n")
}

/// What the jobs read, made once.
pub fn make(folder: &Path) -> Result<()> {
    let head = shell::output(
        Command::new("gzip").args(["-dc", "examples/flights/data/flights-2013-01.csv.gz"]),
    )?;
    let (header, rows) = head.split_once('\n').context("the month has no header")?;
    let plane = header
        .split(',')
        .position(|c| c == "tailnum")
        .context("the flights have no planes")?;
    for file in 0..FLIGHT_FILES {
        // Each begins with other fleets, so that the files do not all make new keys at once.
        let fleets = (0..FLEETS).map(|n| (n + file * FLEETS / FLIGHT_FILES) % FLEETS);
        let made = folder.join(format!("flights-{file}.csv"));
        if !made.exists() {
            let mut out = BufWriter::new(File::create(&made).context("make flights")?);
            writeln!(out, "{header}")?;
            for fleet in fleets {
                for row in rows.lines() {
                    let cells = row.split(',').enumerate().map(|(at, cell)| match at {
                        _ if at == plane => format!("{cell}-{fleet}"),
                        _ => cell.to_owned(),
                    });
                    writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))?;
                }
            }
            out.flush()?;
        }
        for name in 1..FLIGHT_NAMES {
            link(&made, &folder.join(format!("flights-{file}-{name}.csv")))?;
        }
    }
    let events = folder.join("events-0.jsonl");
    if !events.exists() {
        let generator = w2::generator(&shell::target().join("bench"))?;
        let file = File::create(&events).context("make events-0.jsonl")?;
        shell::run(
            Command::new(generator)
                .args(["nexmark", &EVENTS.to_string()])
                .stdout(file),
        )?;
    }
    (1..EVENT_FILES)
        .try_for_each(|name| link(&events, &folder.join(format!("events-{name}.jsonl"))))
}

/// Another name for a file.
fn link(file: &Path, name: &Path) -> Result<()> {
    if name.exists() {
        return Ok(());
    }
    fs::hard_link(file, name).with_context(|| format!("name {}", name.display()))
}
