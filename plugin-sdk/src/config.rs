//! A function's config: a serde struct whose JSON Schema reaches the host.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::contract::Failure;

/// The config of a function. `#[config]` on a struct implements it.
pub trait Config: DeserializeOwned + Schema {}

impl<T: DeserializeOwned + Schema> Config for T {}

/// Types that know their JSON Schema. `#[config]` (or `#[derive(Schema)]`) implements it.
pub trait Schema {
    /// Whether a struct may leave out a member of this type.
    const OPTIONAL: bool = false;
    /// The schema, as JSON text.
    fn schema() -> String;
}

macro_rules! schema {
    ($($type:ty => $text:literal),* $(,)?) => { $(
        impl Schema for $type {
            fn schema() -> String {
                $text.into()
            }
        }
    )* };
}

schema! {
    bool => r#"{"type":"boolean"}"#,
    String => r#"{"type":"string"}"#,
    f32 => r#"{"type":"number"}"#,
    f64 => r#"{"type":"number"}"#,
    i8 => r#"{"type":"integer","minimum":-128,"maximum":127}"#,
    i16 => r#"{"type":"integer","minimum":-32768,"maximum":32767}"#,
    i32 => r#"{"type":"integer","minimum":-2147483648,"maximum":2147483647}"#,
    i64 => r#"{"type":"integer"}"#,
    u8 => r#"{"type":"integer","minimum":0,"maximum":255}"#,
    u16 => r#"{"type":"integer","minimum":0,"maximum":65535}"#,
    u32 => r#"{"type":"integer","minimum":0,"maximum":4294967295}"#,
    u64 => r#"{"type":"integer","minimum":0}"#,
    usize => r#"{"type":"integer","minimum":0,"maximum":4294967295}"#,
    serde_json::Value => "{}",
}

impl<T: Schema> Schema for Option<T> {
    const OPTIONAL: bool = true;
    fn schema() -> String {
        T::schema()
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema() -> String {
        format!(r#"{{"type":"array","items":{}}}"#, T::schema())
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema() -> String {
        format!(
            r#"{{"type":"object","additionalProperties":{}}}"#,
            T::schema()
        )
    }
}

/// The config of a function that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl Schema for NoConfig {
    fn schema() -> String {
        r#"{"type":"object","additionalProperties":false}"#.into()
    }
}

/// Reads a config; what is wrong with it is said as serde says it, with line and column.
pub fn read<C: Config>(json: &[u8]) -> Result<C, Failure> {
    let json = if json.is_empty() { b"{}" } else { json };
    serde_json::from_slice(json).map_err(|e| Failure::new(format!("config: {e}")))
}

/// Puts an object's schema together. Called by what `#[config]` makes.
#[doc(hidden)]
pub fn object_schema(doc: &str, members: &[(&str, &str, String, bool)], closed: bool) -> String {
    let text = |s: &str| serde_json::Value::from(s).to_string();
    let mut out = String::from(r#"{"type":"object""#);
    if !doc.is_empty() {
        out += &format!(r#","description":{}"#, text(doc));
    }
    out += r#","properties":{"#;
    for (i, (name, doc, schema, _)) in members.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let schema = match (doc.is_empty(), schema.strip_prefix('{')) {
            (false, Some(rest)) if !rest.starts_with(r#""description""#) => {
                let comma = if rest == "}" { "" } else { "," };
                format!(r#"{{"description":{}{comma}{rest}"#, text(doc))
            }
            _ => schema.clone(),
        };
        out += &format!("{comma}{}:{schema}", text(name));
    }
    out.push('}');
    let required: Vec<_> = members.iter().filter(|m| m.3).map(|m| m.0).collect();
    if !required.is_empty() {
        out += &format!(r#","required":{}"#, serde_json::Value::from(required));
    }
    if closed {
        out += r#","additionalProperties":false"#;
    }
    out.push('}');
    out
}
