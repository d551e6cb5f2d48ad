//! Colour, only where a person looks, and text that fits 80 columns. Whatever the commands say goes through here, so that
//! nothing that came from outside is obeyed by a terminal.

use std::io::{IsTerminal as _, Write as _};

use crate::printable;

/// Lines to standard output. Whoever reads may have enough: that is no mistake.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", printable::lines(text));
}

/// Lines to standard error, begun by a word with its colour.
pub fn tell(word: &str, text: &str) {
    let gap = if word.is_empty() { "" } else { " " };
    eprintln!("{word}{gap}{}", printable::lines(text));
}

/// Columns of text for people.
pub const WIDTH: usize = 80;

/// Whether standard error takes colour: a terminal, and nobody said no.
pub fn colour_on_stderr() -> bool {
    std::io::stderr().is_terminal() && allowed()
}

/// Whether standard output takes colour.
pub fn colour_on_stdout() -> bool {
    std::io::stdout().is_terminal() && allowed()
}

fn allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Terminal colours, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether to colour.
    pub on: bool,
}

impl Style {
    /// What must be seen first.
    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// What is not wrong, but matters.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Headings and names.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// The same for a part of text that is folded already: colour codes take no columns.
    pub fn bold_in(self, text: String, part: &str) -> String {
        if self.on {
            text.replacen(part, &self.bold(part), 1)
        } else {
            text
        }
    }

    /// What explains.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// Breaks text into lines of at most `WIDTH` columns; the first begins with `first`, the others with
/// as many spaces as `indent`. Words longer than a line stand alone on one. Names and texts of others may be in it.
pub fn fold(first: &str, indent: usize, text: &str) -> String {
    let (first, text) = (&printable::line(first), &printable::line(text));
    let mut out = String::new();
    let mut line = first.to_string();
    let mut empty = true;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let width = line.chars().count() + word.chars().count() + usize::from(!empty);
        if !empty && width > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

/// 1234567 as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// 1234567 as `1.23 M`, for rates.
pub fn rate(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A time of day and date, UTC, from milliseconds since 1970; the ends of time by name.
pub fn moment(ms: i64) -> String {
    match ms {
        i64::MAX => "end".to_string(),
        i64::MIN => "-".to_string(),
        ms => chrono::DateTime::from_timestamp_millis(ms).map_or_else(
            || ms.to_string(),
            |t| {
                t.format("%Y-%m-%d %H:%M:%S%.3f")
                    .to_string()
                    .trim_end_matches(".000")
                    .to_string()
            },
        ),
    }
}

/// A span of time for people: `1.2s`, `3m20s`.
pub fn elapsed(ms: u64) -> String {
    match ms {
        ms if ms < 1_000 => format!("{ms}ms"),
        ms if ms < 60_000 => format!("{:.1}s", ms as f64 / 1e3),
        ms => {
            let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX / 1_000);
            crate::config::show_duration(seconds * 1_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_folded_at_80_columns_and_indented() {
        let text = fold("  name  ", 8, &"word ".repeat(40));
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        assert!(
            text.lines().skip(1).all(|l| l.starts_with("        word")),
            "{text}"
        );
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn numbers_and_moments_are_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(rate(4_120_000.0), "4.12 M");
        assert_eq!(rate(12_345.0), "12 k");
        assert_eq!(moment(1_357_034_399_999), "2013-01-01 09:59:59.999");
        assert_eq!(moment(0), "1970-01-01 00:00:00");
        assert_eq!(moment(i64::MAX), "end");
        assert_eq!(elapsed(200_000), "3m20s");
    }
}
