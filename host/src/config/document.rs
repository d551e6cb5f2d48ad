//! The job file as a tree of values, each with its place in the text; `--set` overrides put in.
//! It knows TOML and nothing of what the keys mean.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, Span};

/// A job file longer than this is refused before it is parsed.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// What TOML knows.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text.
    String(String),
    /// 64 bits.
    Integer(i64),
    /// 64 bits.
    Float(f64),
    /// true or false.
    Boolean(bool),
    /// As written.
    Datetime(String),
    /// In order.
    Array(Vec<Node>),
    /// In the order of the text.
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// The word for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The value as JSON, in the order of the text.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::String(s) | Value::Datetime(s) => s.as_str().into(),
            Value::Integer(i) => (*i).into(),
            Value::Float(f) => (*f).into(),
            Value::Boolean(b) => (*b).into(),
            Value::Array(nodes) => nodes.iter().map(Node::to_json).collect(),
            Value::Table(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|e| (e.key.clone(), e.node.to_json()))
                    .collect(),
            ),
        }
    }
}

/// Parses the job file and puts the overrides in. Syntax errors are noted in `problems`; what could
/// still be read is answered only if there are none.
pub fn parse(problems: &mut Problems) -> Option<Node> {
    let text = problems.texts.text.clone();
    if text.len() > FILE_BYTES_MAX {
        problems.error(
            None,
            format!(
                "the file has {} bytes; a job file has at most {FILE_BYTES_MAX}",
                text.len()
            ),
        );
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        problems.error(
            span_of(0, 0, &span),
            format!("not TOML: {}", error.message().trim()),
        );
    }
    if !errors.is_empty() {
        return None;
    }
    let mut root = Node {
        span: span_of(0, 0, &table.span()),
        value: Value::Table(entries(0, 0, table.get_ref(), problems)),
    };
    for index in 0..problems.texts.overrides.len() {
        apply(&mut root, index, problems);
    }
    Some(root)
}

/// Puts `a.b.c=value` into the tree. The value is TOML; what is not TOML is taken as a string, so that
/// paths need no quotes.
fn apply(root: &mut Node, index: usize, problems: &mut Problems) {
    let text = problems.texts.overrides[index].clone();
    let origin = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let whole = span_of(origin, 0, &(0..text.len()));
    let Some((key, value)) = text.split_once('=') else {
        problems.error(
            whole,
            "an override is written key=value, such as source.lines.path=data/a.txt",
        );
        return;
    };
    let Some(path) = key_path(key) else {
        problems.error(
            whole,
            format!(
                "{:?} is not a key: write names with dots between, such as source.lines.path",
                key.trim()
            ),
        );
        return;
    };
    let value = value.trim();
    let node = match DeValue::parse(value) {
        Ok(parsed) => node(origin, 0, &parsed, problems),
        Err(_) => Node {
            span: whole,
            value: Value::String(value.to_string()),
        },
    };
    let mut at = root;
    for (depth, name) in path.iter().enumerate() {
        let kind = at.value.kind();
        let Value::Table(entries) = &mut at.value else {
            problems.error(
                whole,
                format!("{} is {}, not a table", path[..depth].join("."), kind),
            );
            return;
        };
        let place = entries
            .iter()
            .position(|e| e.key == *name)
            .unwrap_or_else(|| {
                let empty = Node {
                    span: whole,
                    value: Value::Table(Vec::new()),
                };
                entries.push(Entry {
                    key: name.clone(),
                    key_span: whole,
                    node: empty,
                });
                entries.len() - 1
            });
        at = &mut entries[place].node;
    }
    *at = node;
}

/// The parts of a dotted key.
fn key_path(key: &str) -> Option<Vec<String>> {
    // As TOML itself reads it, quotes and all.
    let text = format!("{key} = 0");
    let table = DeTable::parse(&text).ok()?.into_inner();
    let mut path = Vec::new();
    let mut at = table;
    loop {
        let (name, value) = at.into_iter().next()?;
        path.push(name.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => at = inner,
            _ => return Some(path),
        }
    }
}

fn span_of(origin: u16, base: usize, span: &std::ops::Range<usize>) -> Span {
    let at = |i: usize| u32::try_from(i + base).unwrap_or(u32::MAX);
    Span {
        origin,
        start: at(span.start),
        end: at(span.end),
    }
}

fn entries(origin: u16, base: usize, table: &DeTable<'_>, problems: &mut Problems) -> Vec<Entry> {
    let mut out: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: span_of(origin, base, &key.span()),
            node: node(origin, base, value, problems),
        })
        .collect();
    // The parser sorts by name; people think in the order of the text.
    out.sort_by_key(|e| e.key_span.start);
    out
}

fn node(origin: u16, base: usize, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Node {
    let span = span_of(origin, base, &value.span());
    let value = match value.get_ref() {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Value::Integer(i),
            Err(_) => {
                problems.error(
                    span,
                    format!("the integer {} does not fit 64 bits", i.as_str()),
                );
                Value::Integer(0)
            }
        },
        DeValue::Float(f) => Value::Float(f.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Boolean(*b),
        DeValue::Datetime(d) => Value::Datetime(d.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|v| node(origin, base, v, problems))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(entries(origin, base, table, problems)),
    };
    Node { span, value }
}
