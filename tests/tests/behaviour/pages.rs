//! A keyed window job over made-up page views, against a plain loop over the same records: `run` gives
//! the same set of results at any parallelism and from any number of files.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;
use wasmill_tests::{command, compare_lines, lines_of_parts, run};

/// Records in all.
const RECORDS: u64 = 60_000;
/// Event-time disorder, milliseconds: the job allows as much.
const DISORDER: u64 = 5_000;
/// Window size, milliseconds.
const WINDOW: u64 = 10_000;
/// Of the made-up data; printed on failure as part of the folder's job.
const SEED: u64 = 20_261_125;

const JOB: &str = r#"
name = "pages"
parallelism = PARALLELISM
[source.pages]
type = "file"
path = "pages-*.jsonl"
format = "json"
key = "/user"
timestamp = "/ts"
SPLIT
[source.pages.event-time]
max-disorder = "5s"
[step.views]
from = "pages"
window = { tumbling = "10s" }
aggregate = "std.sum"
config = { field = "/ms" }
[sink.out]
from = "views"
type = "file"
path = "out"
format = "json"
"#;

/// splitmix64: record i is a function of the seed and i.
fn mix(i: u64) -> u64 {
    let mut z = SEED.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Writes the views into so many files, dealt in blocks of event time, and answers the sums per window
/// and user as the job must write them.
fn views(folder: &Path, files: u64) -> Result<Vec<String>> {
    let mut texts = vec![String::new(); files as usize];
    let mut sums: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for i in 0..RECORDS {
        let (r, q) = (mix(2 * i), mix(2 * i + 1));
        let ts = 1_700_000_000_000 + DISORDER + i - r % (DISORDER + 1);
        let (user, ms) = ((r >> 20) % 500, q % 2_000);
        *sums.entry((ts / WINDOW * WINDOW, user)).or_default() += ms;
        let text = &mut texts[(i % files) as usize];
        writeln!(
            text,
            r#"{{"page":"/p/{}","user":"u{user}","ts":{ts},"ms":{ms}}}"#,
            q % 97
        )?;
    }
    for (i, text) in texts.iter().enumerate() {
        fs::write(folder.join(format!("pages-{i}.jsonl")), text)?;
    }
    let line = |((start, user), sum): (&(u64, u64), &u64)| {
        let end = start + WINDOW;
        let timestamp = end - 1;
        format!(
            r#"{{"key":"u{user}","value":{sum},"timestamp":{timestamp},"window":{{"start":{start},"end":{end}}}}}"#
        )
    };
    let mut lines: Vec<String> = sums.iter().map(line).collect();
    lines.sort();
    Ok(lines)
}

/// Runs the job over so many files at this parallelism.
fn agrees_with_the_plain_loop(files: u64, parallelism: u32, split: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let expected = views(folder.path(), files)?;
    let job = JOB
        .replace("PARALLELISM", &parallelism.to_string())
        .replace("SPLIT", split);
    fs::write(folder.path().join("job.toml"), job)?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    compare_lines(
        "the windows",
        &expected,
        &lines_of_parts(&folder.path().join("out"))?,
    )
}

#[test]
fn one_file_on_one_task() -> Result<()> {
    agrees_with_the_plain_loop(1, 1, "")
}

#[test]
fn one_file_split_over_several_tasks() -> Result<()> {
    agrees_with_the_plain_loop(1, 2, "partitions = 3")
}

#[test]
fn several_files_on_two_tasks() -> Result<()> {
    agrees_with_the_plain_loop(4, 2, "")
}

#[test]
fn more_files_than_tasks_and_more_tasks_than_cores() -> Result<()> {
    agrees_with_the_plain_loop(9, 7, "")
}
