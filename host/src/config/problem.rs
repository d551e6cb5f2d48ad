//! What is wrong with a job file, where, and what would be right: all of it at once.
//!
//! Nothing here decides what is wrong; `document`, `spec` and `check` do, and go on after each
//! problem, so that a user mends a file in one round.

use std::fmt::Write as _;

use super::conceal::{conceal, conceal_in_place};
use crate::printable;

/// A piece of text: of the job file (origin 0), or of the n-th `--set` (origin n).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// 0: the file; n: the n-th override.
    pub origin: u16,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

/// One thing that is wrong (or, as a warning, worth knowing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; none: the job as a whole.
    pub span: Option<Span>,
    /// What, in one line.
    pub message: String,
    /// What is allowed, or how to go on; one line each.
    pub help: Vec<String>,
}

impl Problem {
    /// Adds a line on what is allowed, or what to do.
    pub fn help(&mut self, line: impl Into<String>) -> &mut Problem {
        self.help.push(short(line.into()));
        self
    }
}

/// The texts that spans point into.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The job file's name as messages show it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// `--set` overrides, as typed.
    pub overrides: Vec<String>,
}

/// Where a span is, for people and for editors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// File name, or the override.
    pub file: String,
    /// From 1; 0 for an override.
    pub line: usize,
    /// From 1, in characters; 0 for an override.
    pub column: usize,
}

impl Texts {
    /// Line and column of a span's start.
    pub fn position(&self, span: Span) -> Position {
        if span.origin > 0 {
            let file = self
                .overrides
                .get(usize::from(span.origin) - 1)
                .map_or("--set", String::as_str);
            return Position {
                file: format!("--set {}", conceal(file)),
                line: 0,
                column: 0,
            };
        }
        let at = floor_boundary(&self.text, span.start as usize);
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Position {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: self.text[line_start..at].chars().count() + 1,
        }
    }

    /// `file:line:column`, or the override.
    pub fn place(&self, span: Option<Span>) -> String {
        match span {
            None => self.file.clone(),
            Some(span) => {
                let at = self.position(span);
                if at.line == 0 {
                    at.file
                } else {
                    format!("{}:{}:{}", at.file, at.line, at.column)
                }
            }
        }
    }

    /// The line of the file with the span marked under it, two lines.
    fn excerpt(&self, span: Span, out: &mut String) {
        if span.origin > 0 {
            return;
        }
        let at = self.position(span);
        let Some(line) = self.text.lines().nth(at.line - 1) else {
            return;
        };
        let width = at.line.to_string().len().max(4);
        // Long lines are shown from a little before the place.
        let column = at.column - 1;
        let skipped = if column > 60 { column - 40 } else { 0 };
        let visible = |c: char| if printable::is_obeyed(c) { ' ' } else { c };
        let line = conceal_in_place(line);
        let shown: String = line.chars().skip(skipped).take(100).map(visible).collect();
        let from = column - skipped;
        if from > shown.chars().count() {
            return;
        }
        let start = floor_boundary(&self.text, span.start as usize);
        let end = floor_boundary(&self.text, (span.end as usize).max(start));
        let marked = self.text[start..end]
            .lines()
            .next()
            .unwrap_or("")
            .chars()
            .count();
        let marks = marked.clamp(1, (shown.chars().count() - from).max(1));
        let _ = writeln!(out, " {:>width$} | {shown}", at.line);
        let _ = writeln!(
            out,
            " {:>width$} | {}{}",
            "",
            " ".repeat(from),
            "^".repeat(marks)
        );
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// More errors are not of use, and a hostile file must not make a report of gigabytes.
const PROBLEMS_MAX: usize = 200;

/// Bytes of a message: a name may be as long as the file, and be wrong in many ways.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The start of a message, if it is very long.
fn short(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(floor_boundary(&message, MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

/// Problems and warnings of one job file.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    /// What spans point into.
    pub texts: Texts,
    /// Errors, in order of position once `sort` ran.
    pub errors: Vec<Problem>,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

impl Problems {
    /// Nothing is wrong yet.
    pub fn new(texts: Texts) -> Problems {
        Problems {
            texts,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes an error. Past the bound on errors, the rest is dropped: nobody reads it.
    pub fn error(
        &mut self,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> &mut Problem {
        Self::push(&mut self.errors, span.into(), message.into())
    }

    /// Notes a warning.
    pub fn warning(
        &mut self,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> &mut Problem {
        Self::push(&mut self.warnings, span.into(), message.into())
    }

    fn push(list: &mut Vec<Problem>, span: Option<Span>, message: String) -> &mut Problem {
        if list.len() >= PROBLEMS_MAX {
            list.pop();
        }
        list.push(Problem {
            span,
            message: short(message),
            help: Vec::new(),
        });
        list.last_mut().expect("just pushed")
    }

    /// Whether further errors would be dropped.
    pub fn is_full(&self) -> bool {
        self.errors.len() >= PROBLEMS_MAX
    }

    /// Orders by position and drops repetitions.
    pub fn sort(&mut self) {
        for list in [&mut self.errors, &mut self.warnings] {
            list.sort_by_key(|p| p.span.map_or((0, 0), |s| (s.origin, s.start + 1)));
            list.dedup();
        }
    }

    /// All errors as text, for people.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for problem in &self.errors {
            let _ = writeln!(
                out,
                "{}: {}",
                plain(&self.texts.place(problem.span)),
                plain(&problem.message)
            );
            if let Some(span) = problem.span {
                self.texts.excerpt(span, &mut out);
            }
            for line in &problem.help {
                let _ = writeln!(out, "      = {}", plain(line));
            }
        }
        out
    }

    /// Warnings, one line each.
    pub fn warning_lines(&self) -> Vec<String> {
        let line = |p: &Problem| {
            let help: String = p.help.iter().map(|h| format!(" ({h})")).collect();
            plain(&format!(
                "{}: {}{help}",
                self.texts.place(p.span),
                p.message
            ))
        };
        self.warnings.iter().map(line).collect()
    }

    /// Errors and warnings as JSON, for editors and scripts.
    pub fn to_json(&self) -> serde_json::Value {
        let one = |p: &Problem| {
            let at = p.span.map(|s| self.texts.position(s));
            serde_json::json!({
                "file": at.as_ref().map_or(&self.texts.file, |a| &a.file),
                "line": at.as_ref().map(|a| a.line).filter(|l| *l > 0),
                "column": at.as_ref().map(|a| a.column).filter(|c| *c > 0),
                "message": conceal(&p.message),
                "help": p.help.iter().map(|line| conceal(line)).collect::<Vec<_>>(),
            })
        };
        serde_json::json!({
            "errors": self.errors.iter().map(one).collect::<Vec<_>>(),
            "warnings": self.warnings.iter().map(one).collect::<Vec<_>>(),
        })
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.render().trim_end())
    }
}

impl std::error::Error for Problems {}

/// One line without secrets that does nothing to a terminal, whatever names and paths are in it.
fn plain(text: &str) -> String {
    printable::line(&conceal(text)).into_owned()
}

/// The one of `known` that was probably meant, if any is near.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing is quadratic in the lengths; no name that is allowed is longer than this.
    if typed.len() > 128 {
        return None;
    }
    let lower = typed.to_lowercase();
    let length = lower.chars().count();
    if length < 2 {
        return None;
    }
    // Doubled, so that a common prefix ("from" for "fromage") comes right after one wrong letter.
    let distance = |k: &str| {
        let wrong = 2 * strsim::osa_distance(&lower, &k.to_lowercase());
        let prefix =
            length >= 3 && (k.starts_with(&lower) || (k.len() >= 3 && lower.starts_with(k)));
        if prefix { wrong.min(3) } else { wrong }
    };
    let bound = 2 * length.div_ceil(3);
    known
        .into_iter()
        .map(|k| (distance(k), k))
        .filter(|(d, _)| *d <= bound)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Ending of a message about an unknown name.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, known).map_or(String::new(), |k| format!("; did you mean {k:?}?"))
}

/// `a, b, c` for people; `nothing` where there is none.
pub fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const SHOWN_MAX: usize = 30;
    let names: Vec<String> = names.into_iter().map(|n| n.as_ref().to_string()).collect();
    match names.len() {
        0 => "nothing".to_string(),
        n if n > SHOWN_MAX => format!("{}, … ({n} in all)", names[..SHOWN_MAX].join(", ")),
        _ => names.join(", "),
    }
}
