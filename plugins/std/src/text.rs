//! `parse-int` and `split-words`: transforms of text.

use std::str::from_utf8;

use wasmill_plugin::contract::{
    Batch, BytesCol, Descriptor, Failure, FunctionKind, Kind, Payload, Traits,
};
use wasmill_plugin::text::integer;
use wasmill_plugin::{
    Bytes, Export, Function, Instance, Output, Reject, Schema, config, host, reject,
};

use crate::field::{Strings, Wanted};
use crate::numeric::{OfField, pointer};

/// What is done with each text. `same`: a text that stays as it is may be put out as the record's own value. (Those that
/// are passed on and those that are made are handed over apart: after the first that was made none is passed on.)
type Each = fn(&[u8], same: &mut bool, &mut Output<Bytes>) -> Result<(), Reject>;

/// Whether all of these are what the function would make of them.
type Done = fn(&BytesCol) -> bool;

struct Text {
    wanted: Wanted,
    traits: Traits,
    each: Each,
    done: Done,
    out: Output<Bytes>,
}

fn open(
    config: &[u8],
    traits: Traits,
    each: Each,
    done: Done,
) -> Result<Box<dyn Instance>, Failure> {
    let config = config::read::<OfField>(config)?;
    let field = pointer(config.field).map_err(|e| Failure::new(format!("config: {e}")))?;
    let (out, _) = Output::new(&[], &[], traits).map_err(Failure::new)?;
    Ok(Box::new(Text {
        wanted: Wanted::of(&Some(field)),
        traits,
        each,
        done,
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
            wanted,
            each,
            done,
            out,
            ..
        } = self;
        let texts = Strings::of(wanted, &input, 0);
        if input.len > 0 && texts.all_whole().is_some_and(*done) {
            host::emit(None, &Payload::Inherit, None, None);
            return Ok(());
        }
        out.begin(input.len);
        let mut same = texts.is_whole();
        for row in 0..input.len {
            out.at(row);
            let done = match texts.get(row as usize) {
                None => Err(reject("the text is null")),
                Some(bytes) => each(bytes, &mut same, out),
            };
            if let Err(reason) = done {
                host::reject(row, reason.reason());
            }
        }
        out.end();
        Ok(())
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Reject> {
    from_utf8(bytes).map_err(|_| reject("the value is not UTF-8 text"))
}

/// Digits that surely fit 64 bits.
const SURE_DIGITS: usize = 18;

/// Whether this is an integer in the one way that JSON writes it. (Some long ones are, and are not told.)
#[inline]
fn is_written_int(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let fits = (1..=SURE_DIGITS).contains(&digits.len());
    // No `-0`: that is 0; no `07`; no white space, which is trimmed.
    let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    fits && plain(digits.first())
        && plain(digits.last())
        && (digits[0] != b'0' || bytes.len() == 1)
        && integer(digits).is_some()
}

/// Whether all are. Most columns of integers have digits only, which is seen of many bytes at once.
fn are_written_ints(column: &BytesCol) -> bool {
    let digits_only = |bytes: &[u8]| bytes.iter().fold(true, |all, b| all & b.is_ascii_digit());
    if !digits_only(&column.data) {
        return (0..column.len()).all(|row| is_written_int(column.get(row)));
    }
    column.offsets.windows(2).all(|ends| {
        let (start, end) = (ends[0] as usize, ends[1] as usize);
        match end - start {
            0 => false,
            1 => true,
            len => len <= SURE_DIGITS && column.data[start] != b'0',
        }
    })
}

/// Digits with an optional sign, within 64 bits. A whole value may be a JSON string of them.
fn to_int(bytes: &[u8], same: &mut bool, out: &mut Output<Bytes>) -> Result<(), Reject> {
    if is_written_int(bytes) {
        drop(if *same { out.pass() } else { out.emit(bytes) });
        return Ok(());
    }
    let text = text_of(bytes)?;
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
    *same = false;
    out.emit(number.to_string().as_bytes());
    Ok(())
}

fn words(bytes: &[u8], _: &mut bool, out: &mut Output<Bytes>) -> Result<(), Reject> {
    for word in text_of(bytes)?.split_whitespace() {
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
        open: |config| open(config, Traits::empty(), to_int, are_written_ints),
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
        open: |config| open(config, Traits::SETS_KEYS, words, |_| false),
    };
}
