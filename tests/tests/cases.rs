//! Runs every folder under `tests/cases` as one test, by its name, and the scripts of the examples. What
//! the files of a case mean is told in `tests/README.md`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use wasmill_tests::cases::{PARALLELISM, copy, file, folders};
use wasmill_tests::{
    Ended, command, compare_lines, lines_of_parts, missing_lines, root, run, scratch,
};

fn main() {
    let arguments = Arguments::from_args();
    let cases = root().join("tests/cases");
    let mut trials: Vec<Trial> = Vec::new();
    for group in folders(&cases) {
        for case in folders(&group) {
            let name = case
                .strip_prefix(&cases)
                .expect("it is in there")
                .display()
                .to_string();
            trials.push(Trial::test(name, move || {
                one(&case).map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    assert!(!trials.is_empty(), "no case under {}", cases.display());
    for example in folders(&root().join("examples")) {
        if example.join("script.jsonl").exists() {
            let name = example
                .strip_prefix(root())
                .expect("it is in there")
                .display()
                .to_string();
            trials.push(Trial::test(name.clone(), move || {
                scripted(&name).map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// An example's own test, as its README shows it.
fn scripted(example: &str) -> Result<()> {
    let file = |name: &str| format!("{example}/{name}");
    let (job, script, expected) = (
        file("job.toml"),
        file("script.jsonl"),
        file("expected.jsonl"),
    );
    let args = ["test", &job, &script, "--expect", &expected];
    run(command(root(), args), b"")?.expect_code(0).map(|_| ())
}

/// Runs a case: once, or once per parallelism.
fn one(case: &Path) -> Result<()> {
    let args = file(case, "args")?;
    if args.is_none() && case.join("script.jsonl").exists() {
        let list = file(case, "parallelism")?.unwrap_or(PARALLELISM.into());
        for parallelism in list.split_whitespace() {
            let args = format!("test job.toml script.jsonl --parallelism {parallelism}");
            attempt(case, &args).with_context(|| format!("wasmill {args}"))?;
        }
        return Ok(());
    }
    let args = args.unwrap_or("run job.toml --quiet".into());
    let args = args.trim();
    attempt(case, args).with_context(|| format!("wasmill {args}"))
}

/// Runs a case in a copy of its folder, and compares all that it says something about.
fn attempt(case: &Path, args: &str) -> Result<()> {
    let folder = tempfile::tempdir_in(scratch()?).context("make a folder for the case")?;
    copy(case, folder.path())?;
    let stdin = file(case, "stdin")?.unwrap_or_default();
    let ended = run(
        command(folder.path(), args.split_whitespace()),
        stdin.as_bytes(),
    )?;
    let said = ended.said();
    compare(case, folder.path(), ended).with_context(|| said)
}

fn compare(case: &Path, folder: &Path, ended: Ended) -> Result<()> {
    let error = file(case, "error")?;
    let ended = match &error {
        Some(text) => {
            let code = text
                .lines()
                .next()
                .and_then(|first| first.strip_prefix("exit "));
            let code = code
                .and_then(|c| c.trim().parse().ok())
                .context("`error` begins with a line `exit N`")?;
            let ended = ended.expect_code(code)?;
            patterns("stderr", text.lines().skip(1), &ended.stderr)?;
            ended
        }
        None => ended.expect_code(0)?,
    };
    if let Some(text) = file(case, "stderr")? {
        patterns("stderr", text.lines(), &ended.stderr)?;
    }
    if let Some(text) = file(case, "stdout")? {
        patterns("stdout", text.lines(), &ended.stdout)?;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut compared = error.is_some();
    if let Some(text) = file(case, "expected")? {
        compare_lines("stdout", &lines(&text), &lines(&ended.stdout))?;
        compared = true;
    }
    if let Some(text) = file(case, "expected-sorted")? {
        let mut got = lines(&ended.stdout);
        got.sort();
        compare_lines("stdout, sorted,", &lines(&text), &got)?;
        compared = true;
    }
    for entry in fs::read_dir(case)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(sink) = name.strip_prefix("expected.") {
            let text = file(case, &name)?.unwrap_or_default();
            compare_lines(sink, &lines(&text), &lines_of_parts(&folder.join(sink))?)?;
            compared = true;
        }
    }
    if !compared && !case.join("stdout").exists() {
        bail!(
            "the case expects nothing: it needs `expected`, `expected.FOLDER`, `stdout` or `error`"
        );
    }
    Ok(())
}

fn patterns<'a>(what: &str, patterns: impl Iterator<Item = &'a str>, text: &str) -> Result<()> {
    let missing = missing_lines(patterns, text);
    if !missing.is_empty() {
        bail!("{what} lacks (or, after `!`, has):\n{}", missing.join("\n"));
    }
    Ok(())
}
