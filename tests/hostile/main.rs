//! The hostile corpus: guests, files and jobs made to do harm. Each case asserts how the attacking job
//! ended, word by word, and then the oracle (`host`) looks at what is left: this process and the job beside
//! it must be as if nothing had been.
//!
//! These tests drive the library, several jobs in one process, since "same process" cannot be seen from
//! outside of one that runs a single job. Plugins are compiled by the binary, as in `wasmill run`.

mod compile;
mod components;
mod contract;
mod cost;
mod fairness;
mod floods;
mod fuzz;
mod guests;
mod host;
mod jobs;
mod limit_cost;
mod limits;
mod places;
mod records;
mod secrets;
mod states;
mod terminal;
mod values;
mod wat;

/// The table of the corpus says which test holds each case.
#[test]
fn corpus_names_only_tests_that_there_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    let mut folders = vec![root.join("tests"), root.join("host/src")];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).expect("a folder").flatten() {
            let path = entry.path();
            match path.extension().is_some_and(|e| e == "rs") {
                true => sources += &std::fs::read_to_string(path).expect("text"),
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
