//! Compares what came out with what was expected, line by line, and shows the difference for people.

/// Lines shown around a difference, and differences shown at all.
const CONTEXT_LINES: usize = 2;
const SHOWN_LINES_MAX: usize = 80;

/// The difference as text, `-` expected, `+` came out; none if there is none. Lines that are JSON are compared as
/// JSON: the order of members and white space do not matter.
pub fn diff(expected: &[String], actual: &[String]) -> Option<String> {
    let left: Vec<Comparable> = expected.iter().map(|l| Comparable::of(l)).collect();
    let right: Vec<Comparable> = actual.iter().map(|l| Comparable::of(l)).collect();
    if left == right {
        return None;
    }
    let mut lines: Vec<(char, usize, &str)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (from, to) in common(&left, &right)
        .into_iter()
        .chain([(left.len(), right.len())])
    {
        lines.extend((i..from).map(|n| ('-', n + 1, expected[n].as_str())));
        lines.extend((j..to).map(|n| ('+', n + 1, actual[n].as_str())));
        if from < left.len() {
            lines.push((' ', to + 1, actual[to].as_str()));
        }
        (i, j) = (from + 1, to + 1);
    }
    let near = |at: usize| {
        let (from, to) = (
            at.saturating_sub(CONTEXT_LINES),
            (at + CONTEXT_LINES + 1).min(lines.len()),
        );
        lines[from..to].iter().any(|l| l.0 != ' ')
    };
    let mut text = String::from("the output differs (- expected, + came out):\n");
    let mut shown = 0;
    let mut gap = false;
    for (at, (sign, number, line)) in lines.iter().enumerate() {
        if !near(at) {
            gap = true;
            continue;
        }
        if shown == SHOWN_LINES_MAX {
            text += "… and more\n";
            break;
        }
        if gap {
            text += "  …\n";
            gap = false;
        }
        text += &format!("{sign} {number:>4} {line}\n");
        shown += 1;
    }
    Some(text)
}

#[derive(PartialEq)]
enum Comparable {
    Json(serde_json::Value),
    Text(String),
}

impl Comparable {
    fn of(line: &str) -> Comparable {
        serde_json::from_str(line)
            .map_or_else(|_| Comparable::Text(line.to_owned()), Comparable::Json)
    }
}

/// Pairs of equal lines, ascending on both sides: a longest common subsequence after equal ends are taken off;
/// beyond a few thousand lines, the pairs at equal places.
fn common(left: &[Comparable], right: &[Comparable]) -> Vec<(usize, usize)> {
    const TABLE_MAX: usize = 4_000_000;
    let head = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let tail = left[head..]
        .iter()
        .rev()
        .zip(right[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (inner_left, inner_right) = (
        &left[head..left.len() - tail],
        &right[head..right.len() - tail],
    );
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|i| (i, i)).collect();
    let (n, m) = (inner_left.len(), inner_right.len());
    if n * m <= TABLE_MAX {
        let mut longest = vec![0u32; (n + 1) * (m + 1)];
        let at = |i: usize, j: usize| i * (m + 1) + j;
        for i in (0..n).rev() {
            for j in (0..m).rev() {
                longest[at(i, j)] = if inner_left[i] == inner_right[j] {
                    longest[at(i + 1, j + 1)] + 1
                } else {
                    longest[at(i + 1, j)].max(longest[at(i, j + 1)])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < n && j < m {
            if inner_left[i] == inner_right[j] {
                pairs.push((head + i, head + j));
                (i, j) = (i + 1, j + 1);
            } else if longest[at(i + 1, j)] >= longest[at(i, j + 1)] {
                i += 1;
            } else {
                j += 1;
            }
        }
    } else {
        pairs.extend(
            (0..n.min(m))
                .filter(|&i| inner_left[i] == inner_right[i])
                .map(|i| (head + i, head + i)),
        );
    }
    pairs.extend(
        (0..tail)
            .rev()
            .map(|i| (left.len() - 1 - i, right.len() - 1 - i)),
    );
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        assert_eq!(
            diff(&lines(r#"{"a":1,"b":2}"#), &lines(r#"{"b": 2, "a": 1}"#)),
            None
        );
    }

    #[test]
    fn a_missing_and_a_changed_line_are_shown_with_their_neighbours() {
        let text = diff(&lines("a|b|c|d|e|f|g"), &lines("a|b|x|d|e|f|g|h")).expect("they differ");
        let shown = "-    3 c\n+    3 x\n     4 d\n     5 e\n     6 f\n     7 g\n+    8 h\n";
        assert!(text.ends_with(shown), "{text}");
    }
}
