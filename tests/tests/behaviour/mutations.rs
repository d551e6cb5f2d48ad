//! Jobs and scripts broken at random: whatever they say, the program ends by itself, with an exit code of
//! its own and never with a panic.
//!
//! `MUTATIONS=n` tries n instead of a few, `MUTATION_SEED=n` starts at another seed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use wasmill_tests::{command, root, run};

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// Texts that are likely to hurt where a number or a string was.
const NASTY: &[&str] = &[
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e999",
    "1.5",
    "null",
    "\"\"",
    "\"0s\"",
    "\"1ms\"",
    "\"292471208d\"",
    "\"\\u0000\"",
    "[]",
    "{}",
    "true",
    "\"w\"",
    "\"in\"",
    "\"w.late\"",
    "\"std.count\"",
    "\"std.collect\"",
];

/// One change at random.
fn mutate(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return text.to_owned();
    }
    let at = random.below(lines.len());
    match random.below(6) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[random.below(lines.len())].clone()),
        2 => {
            let other = random.below(lines.len());
            lines.swap(at, other);
        }
        3 => {
            let cut: String = lines[at]
                .chars()
                .take(random.below(lines[at].chars().count()))
                .collect();
            lines[at] = cut;
        }
        4 => {
            let mut letters: Vec<char> = lines[at].chars().collect();
            let place = random.below(letters.len() + 1);
            letters.insert(
                place,
                ['"', '{', '}', '=', '.', ',', '\u{0}', 'é', '9', '-'][random.below(10)],
            );
            lines[at] = letters.into_iter().collect();
        }
        _ => {
            // A value (what follows = or :, up to the next , or }) becomes a nasty one.
            let line = &lines[at];
            let starts: Vec<usize> = line.match_indices([':', '=']).map(|(i, _)| i + 1).collect();
            if !starts.is_empty() {
                let start = starts[random.below(starts.len())];
                let end = line[start..]
                    .find([',', '}'])
                    .map_or(line.len(), |i| start + i);
                lines[at] = format!(
                    "{}{}{}",
                    &line[..start],
                    NASTY[random.below(NASTY.len())],
                    &line[end..]
                );
            }
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn broken_jobs_and_scripts_never_make_it_panic_or_hang() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("MUTATION_SEED").unwrap_or(0);
    let mut cases: Vec<PathBuf> = Vec::new();
    for group in fs::read_dir(root().join("tests/cases"))? {
        for case in fs::read_dir(group?.path())? {
            let case = case?.path();
            if case.join("script.jsonl").exists() {
                cases.push(case);
            }
        }
    }
    cases.sort();
    for seed in first..first + number("MUTATIONS").unwrap_or(150) {
        let random = &mut Random(seed);
        let case = &cases[random.below(cases.len())];
        let mut job = fs::read_to_string(case.join("job.toml"))?;
        let mut script = fs::read_to_string(case.join("script.jsonl"))?;
        for _ in 0..=random.below(3) {
            match random.below(2) {
                0 => job = mutate(&job, random),
                _ => script = mutate(&script, random),
            }
        }
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("job.toml"), &job)?;
        fs::write(folder.path().join("script.jsonl"), &script)?;
        let about = || format!("MUTATION_SEED={seed}\n{job}\n{script}");
        let ended = run(
            command(folder.path(), ["test", "job.toml", "script.jsonl"]),
            b"",
        )
        .with_context(about)?;
        let fine = matches!(ended.status.code(), Some(0..=2)) && !ended.stderr.contains("panicked");
        ensure!(fine, "{}\n{}\n{}", ended.status, ended.said(), about());
    }
    Ok(())
}
