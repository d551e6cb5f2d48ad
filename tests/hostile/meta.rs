//! About the tests themselves: every case of the corpus has one, and every one is under the oracle.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The table of the corpus says which test holds each case.
#[test]
fn corpus_names_only_tests_that_there_are() {
    let root = root();
    let mut sources = String::new();
    let mut folders = vec![root.join("tests"), root.join("host/src")];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).expect("a folder").flatten() {
            let path = entry.path();
            match path.extension().is_some_and(|e| e == "rs") {
                true => sources += &fs::read_to_string(path).expect("text"),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
    }
    let rows = include_str!("README.md")
        .lines()
        .filter(|l| l.starts_with("| "));
    let named = rows.skip(2).flat_map(|row| {
        let last = row.trim_end_matches(" |").rsplit(" | ").next();
        last.unwrap_or_default().split('`').skip(1).step_by(2)
    });
    let mut count = 0;
    for name in named.filter(|name| !name.ends_with(".rs")) {
        let test = name.rsplit("::").next().unwrap_or(name);
        assert!(
            sources.contains(&format!("fn {test}(")),
            "there is no test {name}"
        );
        count += 1;
    }
    assert!(count > 80, "{count}");
}

/// A function of these sources.
struct Function {
    file: String,
    name: String,
    /// Attributes before it.
    head: String,
    body: String,
}

/// All functions of the files in this folder. Text is enough: `cargo fmt` says where one begins and ends.
fn functions() -> Vec<Function> {
    let mut all = Vec::new();
    let entries = fs::read_dir(root().join("tests/hostile")).expect("a folder");
    for path in entries.flatten().map(|e| e.path()) {
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = &line[..line.len() - code.len()];
            let Some(named) = code.trim_start_matches("pub ").strip_prefix("fn ") else {
                continue;
            };
            let before = lines[..at].iter().rev();
            let attributes = before.take_while(|l| l.trim_start().starts_with("#["));
            let last = format!("{indent}}}");
            let inside = lines[at..].iter().skip(1).take_while(|l| **l != last);
            all.push(Function {
                file: path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into(),
                name: named.split(['(', '<']).next().unwrap_or_default().into(),
                head: attributes.copied().collect(),
                body: inside.copied().collect::<Vec<_>>().join("\n"),
            });
        }
    }
    all
}

/// What begins a watch, or runs an attack under one: of `host`, but the last, of `jobs`.
const UNDER_A_WATCH: [&str; 7] = [
    "Watch::begin(",
    "Watch::by(",
    "Watch::with(",
    ".run()",
    ".run_by(",
    "Attack::run_made(",
    " bounded(",
];

/// Whether one calls the other, of the same file, by its name alone or as its type's.
fn calls(caller: &Function, callee: &Function) -> bool {
    let call = format!("{}(", callee.name);
    let mut found = caller.body.match_indices(&call);
    let whole = |at: usize| {
        !caller.body[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
    };
    caller.file == callee.file && found.any(|(at, _)| whole(at))
}

/// Every attack is looked at afterwards: its test begins a watch, or calls what does. (One that was begun and not
/// asked fails its test by itself.) Only what measures, and this file, does without; the fuzz targets have a folder of
/// their own, since what they try is no attack until it is found to be one.
#[test]
fn every_hostile_test_is_under_the_oracle() {
    let all = functions();
    let begins = |body: &str| UNDER_A_WATCH.iter().any(|call| body.contains(call));
    let mut under: BTreeSet<usize> = (0..all.len()).filter(|&n| begins(&all[n].body)).collect();
    loop {
        let more: Vec<usize> = (0..all.len())
            .filter(|n| !under.contains(n))
            .filter(|&n| under.iter().any(|&to| calls(&all[n], &all[to])))
            .collect();
        if more.is_empty() {
            break;
        }
        under.extend(more);
    }
    let mut count = 0;
    for (n, function) in all.iter().enumerate() {
        let attack = function.head.contains("#[test]")
            && !function.head.contains("#[ignore")
            && function.file != "meta";
        assert!(
            !attack || under.contains(&n),
            "{}::{} does not go through the oracle",
            function.file,
            function.name
        );
        count += usize::from(attack);
    }
    assert!(count > 75, "{count}");
}
