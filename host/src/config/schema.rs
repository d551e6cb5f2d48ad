//! Checks a function's `config` against its JSON Schema, with the place of each error in the job file.
//!
//! It knows the part of JSON Schema that describes plain settings: type, properties, required,
//! additionalProperties, enum, const, bounds on numbers, texts and lists, items, anyOf/oneOf/allOf and
//! references into the schema itself. A keyword that it does not know refuses nothing: the function
//! sees the config in `open` anyway and has the last word.

use serde_json::Value as Json;

use super::document::{Entry, Node, Value};
use super::problem::{Problem, Problems, Span, did_you_mean, listed};

/// References and nesting that are followed; a schema that refers to itself ends here.
const DEPTH_MAX: usize = 32;

/// Notes what is wrong with `config`. `span`: what to point at where the config is absent.
pub fn check(
    schema: &Json,
    config: Option<&Node>,
    span: Span,
    what: &str,
    problems: &mut Problems,
) {
    let empty = Node {
        span,
        value: Value::Table(Vec::new()),
    };
    let mut found = Vec::new();
    let checker = Checker { root: schema };
    checker.node(schema, config.unwrap_or(&empty), what, 0, &mut found);
    problems.errors.append(&mut found);
}

struct Checker<'s> {
    root: &'s Json,
}

impl Checker<'_> {
    fn node(&self, schema: &Json, node: &Node, path: &str, depth: usize, found: &mut Vec<Problem>) {
        let Json::Object(rules) = schema else {
            if *schema == Json::Bool(false) {
                found.push(problem(node.span, format!("{path} is not allowed")));
            }
            return;
        };
        if depth > DEPTH_MAX {
            return;
        }
        if let Some(target) = rules
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|r| self.resolve(r))
        {
            self.node(target, node, path, depth + 1, found);
        }
        for all in rules
            .get("allOf")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            self.node(all, node, path, depth + 1, found);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(choices) = rules.get(key).and_then(Json::as_array) {
                self.choices(choices, node, path, depth, found);
            }
        }
        let types: Vec<&str> = match rules.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|t| is_type(&node.value, t)) {
            let wanted: Vec<_> = types
                .iter()
                .filter(|t| **t != "null")
                .map(|t| article(t))
                .collect();
            found.push(problem(
                node.span,
                format!(
                    "{path} is {}; it is {}",
                    node.value.kind(),
                    wanted.join(" or ")
                ),
            ));
            return;
        }
        if let Some(allowed) = rules.get("enum").and_then(Json::as_array) {
            one_of(allowed, node, path, found);
        }
        if let Some(only) = rules.get("const") {
            one_of(std::slice::from_ref(only), node, path, found);
        }
        match &node.value {
            Value::Table(entries) => self.table(rules, entries, node.span, path, depth, found),
            Value::Array(items) => self.array(rules, items, node.span, path, depth, found),
            Value::String(text) => bounds(
                rules,
                "Length",
                text.chars().count() as f64,
                "characters",
                node.span,
                path,
                found,
            ),
            Value::Integer(n) => number(rules, *n as f64, node.span, path, found),
            Value::Float(n) => number(rules, *n, node.span, path, found),
            Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }

    fn resolve(&self, reference: &str) -> Option<&Json> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// Fine if one of them fits; else what is wrong with the one that fits best.
    fn choices(
        &self,
        choices: &[Json],
        node: &Node,
        path: &str,
        depth: usize,
        found: &mut Vec<Problem>,
    ) {
        let mut best: Option<Vec<Problem>> = None;
        let mut words = Vec::new();
        for choice in choices {
            let mut mine = Vec::new();
            self.node(choice, node, path, depth + 1, &mut mine);
            if mine.is_empty() {
                return;
            }
            if let Some(word) = choice.get("const") {
                words.push(word.clone());
            }
            if best.as_ref().is_none_or(|b| mine.len() < b.len()) {
                best = Some(mine);
            }
        }
        if words.len() == choices.len() && !words.is_empty() {
            one_of(&words, node, path, found);
        } else {
            found.append(&mut best.unwrap_or_default());
        }
    }

    fn table(
        &self,
        rules: &serde_json::Map<String, Json>,
        entries: &[Entry],
        span: Span,
        path: &str,
        depth: usize,
        found: &mut Vec<Problem>,
    ) {
        let none = serde_json::Map::new();
        let properties = rules
            .get("properties")
            .and_then(Json::as_object)
            .unwrap_or(&none);
        for name in rules
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
        {
            if !entries.iter().any(|e| e.key == name) {
                let mut p = problem(span, format!("{path} has no {name:?}, which is required"));
                if let Some(doc) = properties
                    .get(name)
                    .and_then(|s| s.get("description"))
                    .and_then(Json::as_str)
                {
                    p.help(format!("{name}: {}", doc.lines().next().unwrap_or("")));
                }
                found.push(p);
            }
        }
        for entry in entries {
            let inner = format!("{path}.{}", entry.key);
            if let Some(schema) = properties.get(&entry.key) {
                self.node(schema, &entry.node, &inner, depth + 1, found);
                continue;
            }
            match rules.get("additionalProperties") {
                Some(Json::Bool(false)) => {
                    let known = properties.keys().map(String::as_str);
                    let hint = did_you_mean(&entry.key, known.clone());
                    let mut p = problem(
                        entry.key_span,
                        format!("unknown key {:?} in {path}{hint}", entry.key),
                    );
                    p.help(format!("allowed: {}", listed(known)));
                    found.push(p);
                }
                Some(schema) => self.node(schema, &entry.node, &inner, depth + 1, found),
                None => {}
            }
        }
    }

    fn array(
        &self,
        rules: &serde_json::Map<String, Json>,
        items: &[Node],
        span: Span,
        path: &str,
        depth: usize,
        found: &mut Vec<Problem>,
    ) {
        bounds(
            rules,
            "Items",
            items.len() as f64,
            "items",
            span,
            path,
            found,
        );
        if let Some(schema) = rules.get("items") {
            for (i, item) in items.iter().enumerate() {
                self.node(schema, item, &format!("{path}[{i}]"), depth + 1, found);
            }
        }
    }
}

fn problem(span: Span, message: String) -> Problem {
    Problem {
        span: Some(span),
        message,
        help: Vec::new(),
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match (value, name) {
        (Value::String(_) | Value::Datetime(_), "string")
        | (Value::Integer(_), "integer" | "number")
        | (Value::Float(_), "number")
        | (Value::Boolean(_), "boolean")
        | (Value::Array(_), "array")
        | (Value::Table(_), "object") => true,
        (Value::Float(f), "integer") => f.fract() == 0.0,
        _ => false,
    }
}

fn article(name: &str) -> &str {
    match name {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}

fn one_of(allowed: &[Json], node: &Node, path: &str, found: &mut Vec<Problem>) {
    let value = node.to_json();
    if allowed.contains(&value) {
        return;
    }
    let typed = value.as_str().unwrap_or("");
    let hint = did_you_mean(typed, allowed.iter().filter_map(Json::as_str));
    let mut p = problem(node.span, format!("{path} cannot be {value}{hint}"));
    p.help(format!(
        "allowed: {}",
        listed(allowed.iter().map(Json::to_string))
    ));
    found.push(p);
}

/// `minLength`/`maxLength`, `minItems`/`maxItems`.
fn bounds(
    rules: &serde_json::Map<String, Json>,
    suffix: &str,
    count: f64,
    unit: &str,
    span: Span,
    path: &str,
    found: &mut Vec<Problem>,
) {
    let bound = |prefix: &str| {
        rules
            .get(&format!("{prefix}{suffix}"))
            .and_then(Json::as_f64)
    };
    if let Some(min) = bound("min").filter(|m| count < *m) {
        found.push(problem(
            span,
            format!("{path} has {count} {unit}, at least {min} are needed"),
        ));
    }
    if let Some(max) = bound("max").filter(|m| count > *m) {
        found.push(problem(
            span,
            format!("{path} has {count} {unit}, at most {max} are allowed"),
        ));
    }
}

fn number(
    rules: &serde_json::Map<String, Json>,
    n: f64,
    span: Span,
    path: &str,
    found: &mut Vec<Problem>,
) {
    let rule = |key: &str| {
        rules
            .get(key)
            .and_then(Json::as_f64)
            .map(|bound| (bound, key == "minimum" || key == "maximum"))
    };
    let low = rule("minimum").or_else(|| rule("exclusiveMinimum"));
    let high = rule("maximum").or_else(|| rule("exclusiveMaximum"));
    let below = low.is_some_and(|(bound, inclusive)| n < bound || (n == bound && !inclusive));
    let above = high.is_some_and(|(bound, inclusive)| n > bound || (n == bound && !inclusive));
    if below || above || n.is_nan() {
        let mut p = problem(span, format!("{path} cannot be {n}"));
        let low = low.map_or(String::new(), |(b, inclusive)| {
            format!("{} {b}", if inclusive { "from" } else { "above" })
        });
        let high = high.map_or(String::new(), |(b, inclusive)| {
            format!("{} {b}", if inclusive { "up to" } else { "below" })
        });
        p.help(format!("allowed: {}", format!("{low} {high}").trim()));
        found.push(p);
    }
}
