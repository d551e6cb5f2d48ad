//! Comparing lines with what was expected, and showing the difference.

use anyhow::{Result, bail};
use similar::{ChangeTag, TextDiff};

/// Stands for any text within an expected line.
const ANY: char = '…';

/// An error with a diff, unless the lines are the expected ones. `…` in an expected line stands for any
/// text.
pub fn compare_lines(what: &str, expected: &[String], got: &[String]) -> Result<()> {
    // Expected lines that match what stands at their place are shown as what stands there.
    let filled: Vec<String> = expected
        .iter()
        .enumerate()
        .map(|(i, line)| match got.get(i) {
            Some(other) if matches(line, other) => other.clone(),
            _ => line.clone(),
        })
        .collect();
    if filled == got {
        return Ok(());
    }
    let (old, new) = (filled.join("\n"), got.join("\n"));
    let diff = TextDiff::from_lines(&old, &new);
    let mut shown = String::new();
    for change in diff.iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        shown.push(sign);
        shown.push_str(change.value().trim_end_matches('\n'));
        shown.push('\n');
    }
    bail!("{what} differs (- expected, + got):\n{shown}")
}

/// Whether a line is as expected.
fn matches(expected: &str, line: &str) -> bool {
    let mut pieces = expected.split(ANY);
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let Some(last) = expected.contains(ANY).then(|| pieces.next_back()).flatten() else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// The patterns that a text does not satisfy: a line must occur somewhere in it (`…` stands for any text
/// within a line); a line after `! ` must not.
pub fn missing_lines<'a>(patterns: impl Iterator<Item = &'a str>, text: &str) -> Vec<&'a str> {
    let occurs = |pattern: &str| {
        let anywhere = format!("{ANY}{pattern}{ANY}");
        text.lines().any(|line| matches(&anywhere, line))
    };
    let wrong = |pattern: &&str| match pattern.strip_prefix("! ") {
        Some(absent) => occurs(absent),
        None => !occurs(pattern),
    };
    patterns
        .filter(|p| !p.trim().is_empty())
        .filter(wrong)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{compare_lines, matches, missing_lines};

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn ellipsis_stands_for_any_text() {
        assert!(matches("a…c", "abc"));
        assert!(matches("a…c", "ac"));
        assert!(!matches("a…c", "acd"));
        assert!(matches("…b…", "abc"));
        assert!(matches("abc", "abc"));
        assert!(!matches("abc", "abcd"));
    }

    #[test]
    fn difference_is_shown_line_by_line() {
        let error = compare_lines("stdout", &lines("a\nb…\nc"), &lines("a\nbee\nd"))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("\n a\n bee\n-c\n+d\n"), "{error}");
    }

    #[test]
    fn patterns_must_occur_and_forbidden_ones_must_not() {
        let patterns = "one…three\n! four\n! one\nfive";
        assert_eq!(
            missing_lines(patterns.lines(), "x one two three\nfour"),
            ["! four", "! one", "five"]
        );
    }
}
