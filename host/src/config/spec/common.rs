//! Pieces that several sections share: keys, inputs, function references.

use super::super::document::{Entry, Node, Value};
use super::super::plan::KeyPointers;
use super::super::problem::{Problems, Span};
use super::super::reader::{At, Reader, pointer};

/// `plugin.function` with its config, as typed.
#[derive(Clone, Debug)]
pub struct FunctionRef {
    /// Name of the plugin.
    pub plugin: String,
    /// Name of the function.
    pub function: String,
    /// Where the reference stands.
    pub span: Span,
    /// `config`, if given: the key and the table.
    pub config: Option<Entry>,
}

/// Reads `key = "plugin.function"`. `config` is taken from the same table.
pub fn function(
    reader: &mut Reader<'_>,
    key: &'static str,
    problems: &mut Problems,
) -> Option<FunctionRef> {
    let config = reader.entry("config").cloned();
    let text = reader.string(key, problems)?;
    let reference = text
        .value
        .split_once('.')
        .map(|(p, f)| (p.to_string(), f.to_string()));
    let Some((plugin, function)) = reference.filter(|(p, f)| !p.is_empty() && !f.is_empty()) else {
        problems.error(
            text.span,
            format!(
                "{key:?} cannot be {:?}: write plugin.function, such as \"std.count\"",
                text.value
            ),
        );
        return None;
    };
    if let Some(entry) = &config
        && !matches!(entry.node.value, Value::Table(_))
    {
        problems.error(
            entry.node.span,
            format!("\"config\" is {}; it is a table", entry.node.value.kind()),
        );
        return None;
    }
    Some(FunctionRef {
        plugin,
        function,
        span: text.span,
        config,
    })
}

/// `from`: a name or a list of names.
pub fn from(reader: &mut Reader<'_>, problems: &mut Problems) -> Vec<At<String>> {
    reader.require("from", problems);
    reader.strings("from", problems).unwrap_or_default()
}

/// A key made of pointers: one, or a list.
pub fn key(
    reader: &mut Reader<'_>,
    key: &'static str,
    problems: &mut Problems,
) -> Option<KeyPointers> {
    let many = matches!(
        reader.any(key),
        Some(Node {
            value: Value::Array(_),
            ..
        })
    );
    let texts = reader.strings(key, problems)?;
    let count = texts.len();
    let mut pointers: Vec<_> = texts
        .into_iter()
        .filter_map(|t| pointer(t, key, problems))
        .collect();
    if pointers.len() < count {
        return None;
    }
    Some(if many {
        KeyPointers::Many(pointers)
    } else {
        KeyPointers::One(pointers.remove(0))
    })
}
