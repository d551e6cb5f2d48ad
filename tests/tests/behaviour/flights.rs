//! The flights example, against the same sums made by a plain program over the same file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use anyhow::{Context, Result};
use chrono::DateTime;
use flate2::read::GzDecoder;
use wasmill_tests::{command, compare_lines, lines_of_parts, plugin, root, run};

const HOUR: i64 = 3_600_000;

/// Sums over some flights.
#[derive(Default)]
struct Sums {
    flights: i64,
    cancelled: i64,
    delays: Vec<i64>,
}

impl Sums {
    /// As the plugin writes them.
    fn value(&self) -> String {
        let total: i64 = self.delays.iter().sum();
        let mean = match self.delays.len() {
            0 => "null".to_owned(),
            n => format!("{:?}", total as f64 / n as f64),
        };
        let worst = self
            .delays
            .iter()
            .max()
            .map_or("null".to_owned(), i64::to_string);
        format!(
            r#"{{"flights":{},"cancelled":{},"mean_delay":{mean},"worst_delay":{worst},"total_delay":{total}}}"#,
            self.flights, self.cancelled
        )
    }
}

/// Results per hour, airport and carrier, as lines of the sink, sorted.
fn by_hand() -> Result<Vec<String>> {
    let file = root().join("examples/flights/data/flights-2013-01.csv.gz");
    let mut text = String::new();
    GzDecoder::new(fs::File::open(&file)?).read_to_string(&mut text)?;
    let mut rows = text.lines();
    let header: Vec<&str> = rows.next().context("no header")?.split(',').collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|h| *h == name)
            .with_context(|| format!("no column {name}"))
    };
    let (time, delay) = (column("time_hour")?, column("dep_delay")?);
    let (origin, carrier) = (column("origin")?, column("carrier")?);
    let mut hours: BTreeMap<(i64, &str, &str), Sums> = BTreeMap::new();
    for row in rows {
        // The file has no quoted cell.
        let cells: Vec<&str> = row.split(',').collect();
        let ts = DateTime::parse_from_rfc3339(cells[time])?.timestamp_millis();
        let sums = hours
            .entry((ts / HOUR * HOUR, cells[origin], cells[carrier]))
            .or_default();
        sums.flights += 1;
        match cells[delay].parse() {
            Ok(minutes) => sums.delays.push(minutes),
            Err(_) => sums.cancelled += 1,
        }
    }
    let line = |((start, origin, carrier), sums): (&(i64, &str, &str), &Sums)| {
        let (end, value) = (start + HOUR, sums.value());
        let timestamp = end - 1;
        format!(
            r#"{{"key":["{origin}","{carrier}"],"value":{value},"timestamp":{timestamp},"window":{{"start":{start},"end":{end}}}}}"#
        )
    };
    let mut lines: Vec<String> = hours.iter().map(line).collect();
    lines.sort();
    Ok(lines)
}

/// Runs the example with these further arguments, its results in a folder of our own.
fn agrees_with(arguments: &[&str], parallelism: u32) -> Result<()> {
    plugin("flights")?;
    let folder = tempfile::tempdir()?;
    // The job as it is, with absolute paths and another parallelism.
    let example = root().join("examples/flights");
    let job = fs::read_to_string(example.join("job.toml"))?
        .replace("\"data/", &format!("\"{}/data/", example.display()))
        .replace(
            "../../target/plugins/flights.wasm",
            &plugin("flights")?.display().to_string(),
        )
        .replace(
            "name = \"flights\"",
            &format!("name = \"flights\"\nparallelism = {parallelism}"),
        );
    fs::write(folder.path().join("job.toml"), job)?;
    let args = ["run", "job.toml", "--quiet"].iter().chain(arguments);
    let ended = run(command(folder.path(), args), b"")?.expect_code(0)?;
    compare_lines(
        "the hours",
        &by_hand()?,
        &lines_of_parts(&folder.path().join("out"))?,
    )?;
    for word in ["EWR", "JFK", "LGA"] {
        assert!(
            ended.stdout.contains(word),
            "the table lacks {word}\n{}",
            ended.stdout
        );
    }
    Ok(())
}

#[test]
fn flights_are_as_a_plain_program_sums_them() -> Result<()> {
    agrees_with(&[], 2)
}

#[test]
fn flights_are_the_same_on_one_task() -> Result<()> {
    agrees_with(&[], 1)
}

#[test]
fn flights_are_the_same_with_a_new_instance_for_every_call() -> Result<()> {
    agrees_with(&["--paranoid"], 2)
}
