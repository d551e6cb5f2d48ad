//! `cargo xtask test`: every check there is, each with its time, and one closing line.
//!
//! A part that cannot run has failed. Parts go on after a failed one, so that one run tells all.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{plugins, readme, shell, tools};

/// What a part counted.
#[derive(Clone, Copy, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// A part: its name, what it is for, what runs it.
struct Part {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<Counts>,
}

const PARTS: &[Part] = &[
    Part {
        name: "format",
        about: "cargo fmt --check",
        run: format,
    },
    Part {
        name: "plugins",
        about: "guest plugins compile to Wasm",
        run: guest_plugins,
    },
    Part {
        name: "clippy",
        about: "no warnings, in any target",
        run: clippy,
    },
    Part {
        name: "docs",
        about: "API docs build without warnings",
        run: docs,
    },
    Part {
        name: "tests",
        about: "unit, property, outside and plugins' native tests",
        run: tests,
    },
    Part {
        name: "kafka",
        about: "sources, sinks and exactly-once against a real broker",
        run: kafka,
    },
    Part {
        name: "doctests",
        about: "examples in the API docs",
        run: doctests,
    },
    Part {
        name: "deny",
        about: "licences, bans and sources of dependencies",
        run: deny,
    },
    Part {
        name: "readme",
        about: "every command that README.md shows",
        run: readme_commands,
    },
];

/// Runs all parts, or those named.
pub fn test(args: &[String]) -> Result<()> {
    if args.iter().any(|a| a == "--list") {
        for part in PARTS {
            println!("{:<9} {}", part.name, part.about);
        }
        return Ok(());
    }
    if let Some(unknown) = args.iter().find(|a| PARTS.iter().all(|p| p.name != **a)) {
        bail!("no part is called {unknown}: `cargo xtask test --list` names them");
    }
    let mut rows = Vec::new();
    for part in PARTS
        .iter()
        .filter(|p| args.is_empty() || args.iter().any(|a| a == p.name))
    {
        println!("\n=== {}: {}", part.name, part.about);
        let start = Instant::now();
        let counts = (part.run)().unwrap_or_else(|error| {
            println!("{}: {error:#}", part.name);
            Counts {
                failed: 1,
                ..Counts::default()
            }
        });
        rows.push((part, counts, start.elapsed()));
    }
    report(&rows)
}

/// Prints the summary; an error if anything failed.
fn report(rows: &[(&Part, Counts, Duration)]) -> Result<()> {
    let mut all = Counts::default();
    println!("\n=== summary");
    for (part, counts, took) in rows {
        let verdict = if counts.failed == 0 { "ok" } else { "FAILED" };
        let Counts {
            passed,
            failed,
            ignored,
        } = counts;
        println!(
            "{:<9} {verdict:<6} {:>7.1} s  {passed} passed, {failed} failed, {ignored} ignored",
            part.name,
            took.as_secs_f64()
        );
        all.passed += passed;
        all.failed += failed;
        all.ignored += ignored;
    }
    let total: f64 = rows.iter().map(|row| row.2.as_secs_f64()).sum();
    println!("all in {total:.0} s, {} ignored", all.ignored);
    println!("{} passed, {} failed", all.passed, all.failed);
    if all.failed > 0 {
        bail!("{} failed", all.failed);
    }
    if all.passed == 0 {
        bail!("nothing ran");
    }
    Ok(())
}

/// One check that either holds or not.
fn one(check: Result<()>) -> Result<Counts> {
    check.map(|()| Counts {
        passed: 1,
        ..Counts::default()
    })
}

fn format() -> Result<Counts> {
    one(shell::run(&mut shell::cargo(&["fmt", "--all", "--check"])))
}

fn guest_plugins() -> Result<Counts> {
    let built = plugins::build()?;
    plugins::show(&built);
    Ok(Counts {
        passed: built.len() as u64,
        ..Counts::default()
    })
}

fn clippy() -> Result<Counts> {
    one(shell::run(&mut shell::cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])))
}

fn docs() -> Result<Counts> {
    let mut doc = shell::cargo(&["doc", "--release", "--workspace", "--no-deps"]);
    one(shell::run(doc.env("RUSTDOCFLAGS", "-D warnings")))
}

fn tests() -> Result<Counts> {
    // The outside tests drive the binary that people run, so it is built first, not by the tests.
    shell::build()?;
    counted(&[
        "test",
        "--release",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
    ])
}

fn kafka() -> Result<Counts> {
    shell::build()?;
    // The jars come first, so that no test waits for them.
    wasmill_tests::kafka::jars()?;
    counted(&[
        "test",
        "--release",
        "-p",
        "wasmill-tests",
        "--test",
        "kafka",
    ])
}

fn doctests() -> Result<Counts> {
    counted(&[
        "test",
        "--release",
        "--workspace",
        "--doc",
        "--no-fail-fast",
    ])
}

fn deny() -> Result<Counts> {
    let cargo_deny = tools::cargo_deny()?;
    let checks = ["licenses", "bans", "sources"];
    let mut check = shell::command(
        cargo_deny,
        &["--all-features", "check", "--hide-inclusion-graph"],
    );
    shell::run(check.args(checks))?;
    Ok(Counts {
        passed: checks.len() as u64,
        ..Counts::default()
    })
}

fn readme_commands() -> Result<Counts> {
    let commands = readme::run_commands()?;
    Ok(Counts {
        passed: commands as u64,
        ..Counts::default()
    })
}

/// Runs `cargo test`, shows its output, and adds up the closing lines of its binaries.
fn counted(args: &[&str]) -> Result<Counts> {
    let mut command = shell::cargo(args);
    let line = shell::line_of(&command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{line}`"))?;
    let mut counts = Counts::default();
    let out = child.stdout.take().context("no output to read")?;
    for text in BufReader::new(out).lines() {
        let text = text.with_context(|| format!("output of `{line}`"))?;
        println!("{text}");
        if let Some(closing) = text.strip_prefix("test result: ") {
            counts.passed += number_before(closing, " passed");
            counts.failed += number_before(closing, " failed");
            counts.ignored += number_before(closing, " ignored");
        }
    }
    let status = child.wait().with_context(|| format!("wait for `{line}`"))?;
    if !status.success() && counts.failed == 0 {
        // It did not compile, or a test binary died: no closing line says so.
        bail!("`{line}` ended with {status}");
    }
    Ok(counts)
}

/// The number that stands before a word: 12 in "ok. 12 passed; 0 failed".
fn number_before(text: &str, word: &str) -> u64 {
    let Some(at) = text.find(word) else { return 0 };
    let digits = text[..at].rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn closing_line_of_a_test_binary_is_read() {
        let line =
            "ok. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(number_before(line, " passed"), 12);
        assert_eq!(number_before(line, " failed"), 3);
        assert_eq!(number_before(line, " ignored"), 1);
        assert_eq!(number_before("nothing", " passed"), 0);
    }
}
