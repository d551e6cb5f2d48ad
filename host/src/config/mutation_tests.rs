//! No text may make the checker panic, hang, or answer without a place. Proptest prints the seed of a
//! failure.

use std::path::Path;

use proptest::prelude::*;

use super::fake::FakeHost;
use super::{CheckOptions, Mode, Texts, check_text};

const WHOLE: &str = include_str!("testdata/whole.toml");

/// Values and pieces that parsers stumble over.
const PIECES: [&str; 24] = [
    "0",
    "-1",
    "9223372036854775807",
    "\"\"",
    "\"-9223372036854775808ms\"",
    "\"99999999999999999999d\"",
    "\"1ms\"",
    "\"73000d\"",
    "nan",
    "[]",
    "{}",
    "[[\"a\"]]",
    "true",
    "1979-05-27",
    "\"a.b.c\"",
    "\".\"",
    "\"parsed.errors\"",
    "\"std.top\"",
    "\"é\u{1F600}\u{0}\"",
    "\"/~\"",
    "{ a = { b = { c = 1 } } }",
    "\"{{\"",
    "\"[a-\"",
    "'''\n\n'''",
];

fn check(text: String, mode: Mode, overrides: Vec<String>) {
    let options = CheckOptions {
        mode,
        overrides: overrides.clone(),
        ..CheckOptions::default()
    };
    let texts = Texts {
        file: "job.toml".into(),
        text,
        overrides,
    };
    if let Err(problems) = check_text(texts, Path::new("src/config/testdata"), &options, &FakeHost)
    {
        assert!(!problems.errors.is_empty());
        assert!(
            problems
                .render()
                .lines()
                .all(|l| l.starts_with(' ') || l.starts_with("job.toml") || l.starts_with("--set"))
        );
        problems.to_json();
    }
}

/// What is done to one line.
#[derive(Clone, Debug)]
enum Change {
    Delete,
    Double,
    Value(usize),
    SwapWith(usize),
    Letter(usize, char),
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let kinds = prop_oneof![
        Just(Change::Delete),
        Just(Change::Double),
        (0..PIECES.len()).prop_map(Change::Value),
        any::<usize>().prop_map(Change::SwapWith),
        (any::<usize>(), any::<char>()).prop_map(|(at, c)| Change::Letter(at, c)),
    ];
    (any::<usize>(), kinds)
}

fn apply(lines: &mut Vec<String>, at: usize, change: Change) {
    if lines.is_empty() {
        return;
    }
    let at = at % lines.len();
    match change {
        Change::Delete => {
            lines.remove(at);
        }
        Change::Double => lines.insert(at, lines[at].clone()),
        Change::Value(piece) => {
            if let Some((key, _)) = lines[at].split_once(" = ") {
                lines[at] = format!("{key} = {}", PIECES[piece]);
            }
        }
        Change::SwapWith(other) => {
            let other = other % lines.len();
            let value = |l: &str| {
                l.split_once(" = ")
                    .map(|(k, v)| (k.to_string(), v.to_string()))
            };
            if let (Some((a, x)), Some((b, y))) = (value(&lines[at]), value(&lines[other])) {
                lines[at] = format!("{a} = {y}");
                lines[other] = format!("{b} = {x}");
            }
        }
        Change::Letter(place, letter) => {
            let mut letters: Vec<char> = lines[at].chars().collect();
            if !letters.is_empty() {
                let place = place % letters.len();
                letters[place] = letter;
            }
            lines[at] = letters.into_iter().collect();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_job_files_are_checked_without_a_panic(
        changes in prop::collection::vec(change(), 1..6),
        test in any::<bool>(),
    ) {
        let mut lines: Vec<String> = WHOLE.lines().map(str::to_string).collect();
        for (at, change) in changes {
            apply(&mut lines, at, change);
        }
        check(lines.join("\n"), if test { Mode::Test } else { Mode::Run }, Vec::new());
    }

    #[test]
    fn any_text_is_checked_without_a_panic(text in "\\PC{0,200}", key in "[a-z.\"= ]{0,20}", value in "\\PC{0,20}") {
        check(text, Mode::Run, Vec::new());
        check(WHOLE.to_string(), Mode::Run, vec![format!("{key}={value}")]);
    }
}
