//! What is at a place of a value, whatever form the value has: the one thing between the readers of forms
//! (JSON documents, rows, CSV cells) and the builders of columns, keys and timestamps.

use std::borrow::Cow;

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found<'a> {
    /// Nothing.
    Missing,
    /// JSON null, or a CSV cell that counts as null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of 64 bits, with its text where it has one (empty: it came from a column).
    Int(i64, &'a str),
    /// Any other JSON number, as written.
    Number(&'a str),
    /// A finite float from a column.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// A JSON string with escapes, quotes included.
    Escaped(&'a str),
    /// An object or array, as written.
    Json(&'a str),
    /// A CSV cell, as written. The second part says whether it may be read as a number.
    Cell(&'a str, bool),
}

impl<'a> Found<'a> {
    /// Reads a valid JSON text without white space around it.
    pub fn of_json(json: &'a str) -> Found<'a> {
        match json.as_bytes().first() {
            Some(b'n') => Found::Null,
            Some(b't') => Found::Bool(true),
            Some(b'f') => Found::Bool(false),
            Some(b'"') if json.contains('\\') => Found::Escaped(json),
            Some(b'"') => Found::Text(&json[1..json.len() - 1]),
            Some(b'{' | b'[') => Found::Json(json),
            Some(_) => Found::number(json),
            None => Found::Missing,
        }
    }

    /// Reads a JSON number. As in serde_json `-0` is not an integer.
    pub fn number(token: &'a str) -> Found<'a> {
        match token.parse::<i64>() {
            Ok(0) if token.starts_with('-') => Found::Number(token),
            Ok(int) => Found::Int(int, token),
            Err(_) => Found::Number(token),
        }
    }

    /// In words, for messages: what it is, and its text, cut to a bound.
    pub fn describe(&self) -> String {
        match self {
            Found::Missing => "nothing".into(),
            Found::Null => "null".into(),
            Found::Bool(b) => format!("{b}"),
            Found::Int(int, _) => format!("the number {int}"),
            Found::Number(token) => format!("the number {}", cut(token)),
            Found::Float(float) => format!("the number {float}"),
            Found::Text(text) => format!("the text {:?}", cut(text)),
            Found::Escaped(json) => format!("the text {}", cut(json)),
            Found::Json(json) if json.starts_with('{') => format!("the object {}", cut(json)),
            Found::Json(json) => format!("the array {}", cut(json)),
            Found::Cell(cell, _) => format!("the cell {:?}", cut(cell)),
        }
    }
}

/// The text of a JSON string with escapes (quotes included); none if an escape is half of a surrogate pair.
pub(crate) fn unescape(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// The beginning of a long text.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    /// Enough to recognise a value; a message must not carry a document.
    const BYTES_MAX: usize = 80;
    if text.len() <= BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let end = (0..=BYTES_MAX)
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}
