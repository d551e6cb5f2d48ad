//! Jobs and scripts broken at random: whatever they say, the program ends by itself, with an exit code of
//! its own, a word why, and never with a panic; and what still works does the same at any parallelism.
//!
//! `MUTATIONS=n` tries n instead of a few, `MUTATION_SEED=n` starts at another seed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use wasmill_tests::{Ended, command, root, run};

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

/// A case's job and script.
fn read(case: &Path) -> Result<(String, String)> {
    let file = |name: &str| fs::read_to_string(case.join(name)).context(name.to_owned());
    Ok((file("job.toml")?, file("script.jsonl")?))
}

/// A line of another text, somewhere.
fn splice(text: &str, other: &str, random: &mut Random) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let others: Vec<&str> = other.lines().collect();
    if !others.is_empty() {
        let at = random.below(lines.len() + 1);
        lines.insert(at, others[random.below(others.len())]);
    }
    lines.join("\n") + "\n"
}

/// Bytes that are no text, where there was some.
fn damage(text: String, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    if !bytes.is_empty() && random.below(20) == 0 {
        let at = random.below(bytes.len());
        bytes[at] = [0, 0x80, 0xC3, 0xED, 0xFF][random.below(5)];
    }
    bytes
}

/// How often steps keep state: behind the first of them, order between tasks may show.
fn stateful_steps(job: &str) -> usize {
    let starts = |line: &str| {
        ["window", "join", "lookup", "dedup", "process"]
            .iter()
            .any(|key| line.trim_start().starts_with(key))
    };
    job.lines().filter(|line| starts(line)).count()
}

/// Runs it, and sees to it that it ends as it should.
fn attempt(folder: &Path, parallelism: &str, paranoid: bool) -> Result<Ended> {
    let mut args = vec![
        "test",
        "job.toml",
        "script.jsonl",
        "--parallelism",
        parallelism,
    ];
    args.extend(paranoid.then_some("--paranoid"));
    let ended = run(command(folder, args), b"")?;
    let code = ended.status.code();
    let explained = code == Some(0) || ended.stderr.lines().any(|line| !line.trim().is_empty());
    ensure!(
        matches!(code, Some(0..=2)) && explained && !ended.stderr.contains("panicked"),
        "{}\n{}",
        ended.status,
        ended.said()
    );
    Ok(ended)
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
    let count = number("MUTATIONS").unwrap_or(150);
    let mut worked = 0;
    for seed in first..first + count {
        let random = &mut Random(seed);
        let (mut job, mut script) = read(&cases[random.below(cases.len())])?;
        let other = read(&cases[random.below(cases.len())])?;
        for _ in 0..=random.below(3) {
            match random.below(6) {
                0 => job = splice(&job, &other.0, random),
                1 => script = splice(&script, &other.1, random),
                2 | 3 => job = mutate(&job, random),
                _ => script = mutate(&script, random),
            }
        }
        let about = format!("MUTATION_SEED={seed}\n{job}\n{script}");
        let steps = stateful_steps(&job);
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("job.toml"), damage(job, random))?;
        fs::write(folder.path().join("script.jsonl"), damage(script, random))?;
        let parallelism = ["1", "2", "7"][random.below(3)];
        let paranoid = random.below(4) == 0;
        let ended = attempt(folder.path(), parallelism, paranoid).with_context(|| about.clone())?;
        worked += u64::from(ended.status.success());
        // What still works gives the same at another parallelism.
        if random.below(3) == 0 && steps < 2 {
            let again = attempt(folder.path(), "3", false).with_context(|| about.clone())?;
            let same = ended.status.code() == again.status.code()
                && (!ended.status.success() || ended.stdout == again.stdout);
            ensure!(
                same,
                "parallelism {parallelism}: {}\n{}parallelism 3: {}\n{}{about}",
                ended.status,
                ended.said(),
                again.status,
                again.said()
            );
        }
    }
    ensure!(
        worked * 10 > count,
        "only {worked} of {count} still work: the changes are too wild to find much"
    );
    Ok(())
}
