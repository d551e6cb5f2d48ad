//! The jobs of `examples/nexmark` against plain loops over the same events (`plain`), which also give the
//! golden results there: `UPDATE_GOLDEN=1` writes those anew, from the loops and never from the engine.

mod plain;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use wasmill_tests::{command, compare_lines, lines_of_parts, plugin, root, run};

use plain::Events;

/// The example's folder.
fn example() -> PathBuf {
    root().join("examples/nexmark")
}

/// The example's input.
fn events() -> Result<Events> {
    let path = example().join("data/events.jsonl.gz");
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut events = Events::default();
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        events.add(&serde_json::from_str(&line?)?);
    }
    Ok(events)
}

/// The lines as this program writes JSON, sorted: what a number is, not how it is written.
fn alike(lines: impl IntoIterator<Item = String>) -> Result<Vec<String>> {
    let mut alike = Vec::new();
    for line in lines {
        let value: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        alike.push(value.to_string());
    }
    alike.sort();
    Ok(alike)
}

/// What the job writes.
fn results(query: &str, parallelism: u32) -> Result<Vec<String>> {
    let out = tempfile::tempdir()?;
    let out = out.path().join("out");
    let set = |name: &str, path: &Path| format!("{name}={}", path.display());
    let args = [
        "run".to_owned(),
        format!("{query}.toml"),
        "--quiet".to_owned(),
        "--set".to_owned(),
        format!("parallelism={parallelism}"),
        "--set".to_owned(),
        set("plugin.nexmark.path", &plugin("nexmark")?),
        "--set".to_owned(),
        set("sink.out.path", &out),
    ];
    run(command(&example(), args), b"")?.expect_code(0)?;
    alike(lines_of_parts(&out)?)
}

/// The golden result is what the plain loop says, and what the job writes.
fn agrees(query: &str, rows: impl FnOnce(&Events) -> Vec<Value>) -> Result<()> {
    let plain = alike(rows(&events()?).iter().map(Value::to_string))?;
    assert!(!plain.is_empty(), "{query} has results to compare");
    let path = example().join(format!("expected/{query}.jsonl"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, plain.join("\n") + "\n")?;
    }
    let golden = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let golden: Vec<String> = golden.lines().map(str::to_owned).collect();
    compare_lines(&format!("the golden result of {query}"), &plain, &golden)?;
    for parallelism in [1, 2] {
        let got = match query {
            "q12" => totals(&results(query, parallelism)?)?,
            _ => results(query, parallelism)?,
        };
        compare_lines(
            &format!("{query} at parallelism {parallelism}"),
            &golden,
            &got,
        )?;
    }
    Ok(())
}

/// Counts of windows added up by bidder: which windows the clock made of a run is chance.
fn totals(lines: &[String]) -> Result<Vec<String>> {
    let mut totals: BTreeMap<i64, i64> = BTreeMap::new();
    for line in lines {
        let line: Value = serde_json::from_str(line)?;
        let number = |pointer: &str| {
            let value = line.pointer(pointer).and_then(Value::as_i64);
            value.with_context(|| format!("no {pointer} in {line}"))
        };
        let (start, end) = (number("/window/start")?, number("/window/end")?);
        assert_eq!(end - start, 10_000, "{line}");
        assert_eq!(
            (number("/value/start")?, number("/value/end")?),
            (start, end),
            "{line}"
        );
        *totals.entry(number("/value/id")?).or_default() += number("/value/num")?;
    }
    alike(plain::totals(&totals).iter().map(Value::to_string))
}

macro_rules! queries {
    ($($name:ident: $query:ident,)*) => {
        $(
            #[test]
            fn $name() -> Result<()> {
                agrees(stringify!($query), plain::$query)
            }
        )*
    };
}

queries! {
    q0_passes_bids_on: q0,
    q1_shows_prices_in_euros: q1,
    q2_picks_every_123rd_auction: q2,
    q3_finds_who_sells_in_three_states: q3,
    q4_means_what_auctions_came_to: q4,
    q5_finds_the_hottest_auctions_of_sliding_windows: q5,
    q7_finds_the_highest_bids_of_windows: q7,
    q8_finds_newcomers_that_sell: q8,
    q11_counts_bids_of_sessions: q11,
    q12_counts_every_bid_by_the_clock: q12,
    q14_reckons_bids_of_a_middling_price: q14,
    q17_describes_the_days_of_auctions: q17,
    q18_keeps_the_last_bid_of_each_bidder: q18,
    q20_puts_bids_and_auctions_together: q20,
    q22_takes_addresses_apart: q22,
}
