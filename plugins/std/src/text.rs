//! `parse-int` and `split-words`: transforms of text.

use std::str::from_utf8;

use wasmill_plugin::contract::{Batch, Descriptor, Failure, FunctionKind, Kind, Traits};
use wasmill_plugin::{
    Bytes, Export, Function, Instance, Output, Reject, Schema, config, host, reject,
};

use crate::field::{Strings, Wanted};
use crate::numeric::{OfField, pointer};

/// What is done with each text.
type Each = fn(&str, &mut Output<Bytes>) -> Result<(), Reject>;

struct Text {
    wanted: Wanted,
    traits: Traits,
    each: Each,
    out: Output<Bytes>,
}

fn open(config: &[u8], traits: Traits, each: Each) -> Result<Box<dyn Instance>, Failure> {
    let config = config::read::<OfField>(config)?;
    let field = pointer(config.field).map_err(|e| Failure::new(format!("config: {e}")))?;
    let (out, _) = Output::new(&[], &[], traits).map_err(Failure::new)?;
    Ok(Box::new(Text {
        wanted: Wanted::of(&Some(field)),
        traits,
        each,
        out,
    }))
}

impl Instance for Text {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor {
            traits: self.traits,
            ..Descriptor::default()
        };
        self.wanted.need(&mut descriptor, Kind::Text);
        descriptor
    }

    fn transform(&mut self, input: Batch) -> Result<(), Failure> {
        let Text {
            wanted, each, out, ..
        } = self;
        let texts = Strings::of(wanted, &input, 0);
        out.begin(input.len);
        for row in 0..input.len {
            out.at(row);
            let done = match texts.get(row as usize) {
                None => Err(reject("the text is null")),
                Some(bytes) => match from_utf8(bytes) {
                    Ok(text) => each(text, out),
                    Err(_) => Err(reject("the value is not UTF-8 text")),
                },
            };
            if let Err(reason) = done {
                host::reject(row, reason.reason());
            }
        }
        out.end();
        Ok(())
    }
}

/// Digits with an optional sign, within 64 bits. A whole value may be a JSON string of them.
fn to_int(text: &str, out: &mut Output<Bytes>) -> Result<(), Reject> {
    let unquoted: Option<String> = if text.starts_with('"') {
        serde_json::from_str(text).ok()
    } else {
        None
    };
    let text = unquoted.as_deref().unwrap_or(text);
    let number: i64 = text.parse().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        reject(format!("`{shown}` is no 64-bit integer"))
    })?;
    out.emit(number.to_string().as_bytes());
    Ok(())
}

fn words(text: &str, out: &mut Output<Bytes>) -> Result<(), Reject> {
    for word in text.split_whitespace() {
        out.emit(word.as_bytes()).with_key(word);
    }
    Ok(())
}

/// Function `parse-int`.
#[expect(
    non_camel_case_types,
    reason = "a function's type is named like the function"
)]
pub enum parse_int {}

impl Export for parse_int {
    const FUNCTION: Function = Function {
        name: "parse-int",
        kind: FunctionKind::Transform,
        doc: "text to a JSON integer; other text is rejected",
        schema: OfField::schema,
        open: |config| open(config, Traits::empty(), to_int),
    };
}

/// Function `split-words`.
#[expect(
    non_camel_case_types,
    reason = "a function's type is named like the function"
)]
pub enum split_words {}

impl Export for split_words {
    const FUNCTION: Function = Function {
        name: "split-words",
        kind: FunctionKind::Transform,
        doc: "one record per word between Unicode white space, key and value the word",
        schema: OfField::schema,
        open: |config| open(config, Traits::SETS_KEYS, words),
    };
}
