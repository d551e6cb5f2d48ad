//! Reads the keys of one table: types, ranges, choices. Every key that is asked for is allowed; what
//! is left at the end is unknown and reported with a near match, so a list of allowed keys is never
//! kept twice.

use super::document::{Entry, Node, Value};
use super::problem::{Problems, Span, did_you_mean, listed};
use super::values::{check_pointer, duration_ms, show_duration, show_size, size_bytes};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// What.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> At<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> At<T> {
        At { value, span }
    }
}

/// A table being read.
pub struct Reader<'d> {
    /// How messages name it: `[source.lines]`.
    pub title: String,
    /// Where it starts.
    pub span: Span,
    entries: &'d [Entry],
    asked: Vec<&'static str>,
    elsewhere: Vec<(&'static str, &'static str)>,
}

impl<'d> Reader<'d> {
    /// Reads a table; notes an error where the node is none. `span`: its key.
    pub fn new(
        title: impl Into<String>,
        node: &'d Node,
        span: Span,
        problems: &mut Problems,
    ) -> Option<Reader<'d>> {
        let title = title.into();
        match &node.value {
            Value::Table(entries) => Some(Reader {
                title,
                span,
                entries,
                asked: Vec::new(),
                elsewhere: Vec::new(),
            }),
            other => {
                problems.error(
                    node.span,
                    format!("{title} is {}; it is a table", other.kind()),
                );
                None
            }
        }
    }

    /// The value of a key, of any type.
    pub fn any(&mut self, key: &'static str) -> Option<&'d Node> {
        self.entry(key).map(|e| &e.node)
    }

    /// The key with its value.
    pub fn entry(&mut self, key: &'static str) -> Option<&'d Entry> {
        self.asked.push(key);
        self.entries.iter().find(|e| e.key == key)
    }

    /// Whether a key is there, without saying that it is allowed.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|e| e.key == key)
    }

    /// Where a key stands.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.entries
            .iter()
            .find(|e| e.key == key)
            .map(|e| e.key_span)
    }

    /// All entries, for tables with names as keys.
    pub fn all(&self) -> &'d [Entry] {
        self.entries
    }

    /// A key that is known, but does not go here: what an unknown-key message says of it.
    pub fn elsewhere(&mut self, key: &'static str, why: &'static str) {
        self.elsewhere.push((key, why));
    }

    /// Text.
    pub fn string(&mut self, key: &'static str, problems: &mut Problems) -> Option<At<String>> {
        let node = self.any(key)?;
        string(node, key, problems)
    }

    /// Text that must be there.
    pub fn required_string(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<String>> {
        self.require(key, problems);
        self.string(key, problems)
    }

    /// Notes an error if a key is missing.
    pub fn require(&mut self, key: &'static str, problems: &mut Problems) {
        if !self.has(key) {
            problems.error(
                self.span,
                format!("{} has no {key:?}, which is required", self.title),
            );
        }
    }

    /// true or false.
    pub fn boolean(&mut self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        let node = self.any(key)?;
        match node.value {
            Value::Boolean(b) => Some(b),
            ref other => {
                problems.error(
                    node.span,
                    format!("{key:?} is {}; write true or false", other.kind()),
                );
                None
            }
        }
    }

    /// A whole number of a range.
    pub fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<i64> {
        let node = self.any(key)?;
        let help = format!("allowed: {} to {}", range.start(), range.end());
        match node.value {
            Value::Integer(i) if range.contains(&i) => Some(i),
            Value::Integer(i) => {
                problems
                    .error(node.span, format!("{key:?} cannot be {i}"))
                    .help(help);
                None
            }
            ref other => {
                problems
                    .error(
                        node.span,
                        format!("{key:?} is {}; write a whole number", other.kind()),
                    )
                    .help(help);
                None
            }
        }
    }

    /// Milliseconds of a range.
    pub fn duration(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<i64> {
        let node = self.any(key)?;
        duration(node, key, range, problems)
    }

    /// Bytes of a range.
    pub fn size(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Option<u64> {
        let node = self.any(key)?;
        let help = || {
            format!(
                "allowed: {} to {}",
                show_size(*range.start()),
                show_size(*range.end())
            )
        };
        let text = match &node.value {
            Value::String(text) => text,
            other => {
                problems
                    .error(
                        node.span,
                        format!(
                            "{key:?} is {}; a size is a string such as \"256KiB\"",
                            other.kind()
                        ),
                    )
                    .help(help());
                return None;
            }
        };
        match size_bytes(text) {
            Ok(bytes) if range.contains(&bytes) => Some(bytes),
            Ok(_) => {
                problems
                    .error(node.span, format!("{key:?} cannot be {text:?}"))
                    .help(help());
                None
            }
            Err(message) => {
                problems
                    .error(node.span, format!("{key:?}: {message}"))
                    .help(help());
                None
            }
        }
    }

    /// One of a few words.
    pub fn one_of<T: Clone>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<At<T>> {
        let text = self.string(key, problems)?;
        match choices.iter().find(|(name, _)| *name == text.value) {
            Some((_, value)) => Some(At::new(value.clone(), text.span)),
            None => {
                let names = choices.iter().map(|(name, _)| *name);
                let hint = did_you_mean(&text.value, names.clone());
                let quoted = names.map(|n| format!("{n:?}"));
                problems
                    .error(
                        text.span,
                        format!("{key:?} cannot be {:?}{hint}", text.value),
                    )
                    .help(format!("allowed: {}", listed(quoted)));
                None
            }
        }
    }

    /// A string, or a list of them (never an empty one).
    pub fn strings(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Vec<At<String>>> {
        let node = self.any(key)?;
        match &node.value {
            Value::String(s) => Some(vec![At::new(s.clone(), node.span)]),
            Value::Array(items) if !items.is_empty() => {
                let all: Vec<_> = items
                    .iter()
                    .filter_map(|item| string(item, key, problems))
                    .collect();
                (all.len() == items.len()).then_some(all)
            }
            Value::Array(_) => {
                problems.error(node.span, format!("{key:?} is an empty list"));
                None
            }
            other => {
                problems.error(
                    node.span,
                    format!(
                        "{key:?} is {}; write a string or a list of strings",
                        other.kind()
                    ),
                );
                None
            }
        }
    }

    /// A table inside.
    pub fn table(&mut self, key: &'static str, problems: &mut Problems) -> Option<Reader<'d>> {
        let entry = self.entry(key)?;
        let title = format!("{key:?} of {}", self.title);
        Reader::new(title, &entry.node, entry.key_span, problems)
    }

    /// Reports all keys that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        let mut allowed = self.asked.clone();
        allowed.dedup();
        let mut seen = Vec::new();
        allowed.retain(|k| {
            !seen.contains(k) && {
                seen.push(*k);
                true
            }
        });
        for entry in self
            .entries
            .iter()
            .filter(|e| !self.asked.contains(&e.key.as_str()))
        {
            if let Some((_, why)) = self.elsewhere.iter().find(|(key, _)| *key == entry.key) {
                problems.error(
                    entry.key_span,
                    format!("{:?} does not go into {}: {why}", entry.key, self.title),
                );
                continue;
            }
            let hint = did_you_mean(&entry.key, allowed.iter().copied());
            problems
                .error(
                    entry.key_span,
                    format!("unknown key {:?} in {}{hint}", entry.key, self.title),
                )
                .help(format!("allowed: {}", listed(&allowed)));
        }
    }
}

/// Text of a node.
pub fn string(node: &Node, key: &str, problems: &mut Problems) -> Option<At<String>> {
    match &node.value {
        Value::String(s) => Some(At::new(s.clone(), node.span)),
        other => {
            problems.error(
                node.span,
                format!("{key:?} is {}; write a string", other.kind()),
            );
            None
        }
    }
}

/// Milliseconds of a node.
pub fn duration(
    node: &Node,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<i64> {
    let help = || {
        format!(
            "allowed: {} to {}",
            show_duration(*range.start()),
            show_duration(*range.end())
        )
    };
    let text = match &node.value {
        Value::String(text) => text,
        other => {
            problems
                .error(
                    node.span,
                    format!(
                        "{key:?} is {}; a duration is a string such as \"10s\"",
                        other.kind()
                    ),
                )
                .help(help());
            return None;
        }
    };
    match duration_ms(text) {
        Ok(ms) if range.contains(&ms) => Some(ms),
        Ok(_) => {
            problems
                .error(node.span, format!("{key:?} cannot be {text:?}"))
                .help(help());
            None
        }
        Err(message) => {
            problems
                .error(node.span, format!("{key:?}: {message}"))
                .help(help());
            None
        }
    }
}

/// A JSON pointer of a node.
pub fn pointer(
    text: At<String>,
    key: &str,
    problems: &mut Problems,
) -> Option<std::sync::Arc<str>> {
    match check_pointer(&text.value) {
        Ok(()) => Some(text.value.into()),
        Err(message) => {
            problems.error(text.span, format!("{key:?}: {message}"));
            None
        }
    }
}
