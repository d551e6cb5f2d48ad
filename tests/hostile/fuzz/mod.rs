//! Fuzzing on a stable tool-chain: bytes made from a seed, each tried against one reader of foreign bytes.
//! Nothing may panic, hang or grow; what is read must be the same when it is read again.
//!
//! Each target runs a few seconds in the tests; `cargo xtask fuzz [TARGET] [--minutes n]` runs longer. A
//! failure prints its seed: `WASMILL_FUZZ_SEED=n` begins there.

mod modules;
mod rows;

use std::cell::LazyCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use arbitrary::Unstructured;
use arrow_array::BinaryArray;
use wasmill::checkpoint::manifest::Manifest;
use wasmill::checkpoint::state;
use wasmill::cli::engine::EngineHost;
use wasmill::config::plan::KeyPointers;
use wasmill::config::{CheckOptions, Operator, Texts, check_text};
use wasmill::format::envelope::write_envelopes;
use wasmill::plugin::{CacheDir, Compiler, Engine, EngineOptions, LoadOptions};
use wasmill::record::{Batch, Form, Value, codec};
use wasmill::script::line;
use wasmill::time::Stopwatch;

use crate::host::program;
use crate::wat::{Guest, transform};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// One of the corpus, changed in a few places.
    fn bytes(&mut self, corpus: &[&[u8]]) -> Vec<u8> {
        const NASTY: &[&[u8]] = &[
            b"\0",
            b"\xff",
            b"\"",
            b"\\",
            b"\\u",
            b"\\ud800",
            b"{",
            b"[",
            b"]",
            b"}",
            b",",
            b"\n",
            b"\r\n",
            b"1e999",
            b"-9223372036854775808",
            b"18446744073709551616",
            b"null",
            b"\xef\xbb\xbf",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\xff\xff\xff\xff",
            b"=",
            b"\"\"\"",
        ];
        let mut bytes = corpus[self.below(corpus.len())].to_vec();
        for _ in 0..self.below(8) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
                3 => {
                    let other = corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(64)).min(other.len());
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
                4 => {
                    let nasty = NASTY[self.below(NASTY.len())];
                    let times = if self.below(50) == 0 { 5_000 } else { 1 };
                    bytes.splice(at..at, nasty.repeat(times));
                }
                _ => bytes.insert(at, self.next() as u8),
            }
        }
        bytes
    }
}

/// Tries seeds until the time is over.
fn fuzz(target: &str, mut one: impl FnMut(&mut Random)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let time = Duration::from_secs(number("WASMILL_FUZZ_SECONDS").unwrap_or(2));
    let first = number("WASMILL_FUZZ_SEED").unwrap_or(0);
    let _alone = crate::host::alone();
    let started = Stopwatch::start();
    let mut seed = first;
    while started.elapsed() < time || seed < first + 20 {
        let tried = catch_unwind(AssertUnwindSafe(|| one(&mut Random(seed))));
        assert!(tried.is_ok(), "{target}: WASMILL_FUZZ_SEED={seed}");
        seed += 1;
    }
    println!("{target}: seeds {first}..{seed}");
}

/// An engine for a target: made with its first seed, for the ticker would be a thread left behind by whoever is alone until
/// then.
fn engine(compiler: Compiler) -> Engine {
    Engine::new(EngineOptions {
        cache: CacheDir::Off,
        ..EngineOptions::new(compiler)
    })
    .expect("the machine runs WebAssembly")
}

const JOB: &[u8] = include_bytes!("../corpus/job.toml");
const SCRIPT: &[u8] = include_bytes!("../corpus/script.jsonl");
const JSON: &[u8] = include_bytes!("../corpus/values.jsonl");

#[test]
fn job_file() {
    let operator = Operator::default();
    let host = LazyCell::new(|| EngineHost::with(engine(Compiler::Child(program())), &operator));
    // Without functions, so that nothing is compiled again and again.
    let corpus: &[&[u8]] = &[
        JOB,
        b"[source.a]\ntype = \"stdin\"\n[sink.b]\nfrom = \"a\"\ntype = \"console\"\n",
    ];
    fuzz("job_file", |random| {
        let text = String::from_utf8_lossy(&random.bytes(corpus)).replace("aggregate", "x");
        let texts = Texts {
            file: "job.toml".into(),
            text,
            ..Texts::default()
        };
        if let Err(problems) = check_text(
            texts,
            Path::new("/nowhere"),
            &CheckOptions::default(),
            &*host,
        ) {
            assert!(!problems.render().is_empty());
        }
    });
}

#[test]
fn script_line() {
    let lines: Vec<&[u8]> = SCRIPT.split(|b| *b == b'\n').collect();
    fuzz("script_line", |random| {
        let bytes = random.bytes(&lines);
        let _ = line::parse(&String::from_utf8_lossy(&bytes));
    });
}

#[test]
fn json_values() {
    let lines: Vec<&[u8]> = JSON.split(|b| *b == b'\n').collect();
    let key = KeyPointers::One("/k".into());
    fuzz("json_values", |random| {
        let rows: Vec<Vec<u8>> = (0..1 + random.below(20))
            .map(|_| random.bytes(&lines))
            .collect();
        let batch = || {
            Batch::of(
                rows.len(),
                Value::new(Form::Bytes(BinaryArray::from_iter_values(&rows))),
            )
        };
        let read = || {
            let mut batch = batch();
            let (keys, bad) = wasmill::format::keys(&mut batch, &key);
            let bad: Vec<u32> = bad.iter().map(|r| r.row).collect();
            (
                keys,
                bad,
                wasmill::format::check_documents(&mut batch).len(),
            )
        };
        assert_eq!(read(), read());
        // What is written of any value is JSON, a line a record.
        let mut out = Vec::new();
        write_envelopes(&mut batch(), &mut out);
        let written = out.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        let mut count = 0;
        for line in written {
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(line);
            // What serde_json does not go into: very deep documents, numbers that no double holds, half a surrogate pair.
            let deep = parsed.as_ref().is_err_and(|e| {
                let words = e.to_string();
                [
                    "recursion limit",
                    "number out of range",
                    "surrogate",
                    "hex escape",
                ]
                .iter()
                .any(|w| words.contains(w))
            });
            assert!(
                parsed.is_ok() || deep,
                "{:?}",
                String::from_utf8_lossy(line)
            );
            count += 1;
        }
        assert_eq!(count, rows.len());
    });
}

#[test]
fn checkpoint_files() {
    let manifest = br#"{"format":1,"epoch":3,"taken_at":5,"identity":{"job":"a"},"run":"r","finished":false,"files":[],"positions":[],"times":{},"prepared":[]}"#;
    let mut rows = Vec::new();
    let batch = Batch::of(
        3,
        Value::new(Form::Bytes(BinaryArray::from_iter_values(["a", "bb", ""]))),
    );
    let values = codec::values_of(&batch);
    (0..3).for_each(|row| codec::put_row(&mut rows, &batch, &values, row, false));
    let corpus: &[&[u8]] = &[manifest, &rows, b"\x05hello\xff\xff\xff\xff\x0f"];
    fuzz("checkpoint_files", |random| {
        let bytes = random.bytes(corpus);
        if let Ok(manifest) = Manifest::decode(&bytes) {
            assert!(Manifest::decode(&manifest.encode()).is_ok());
            let _ = manifest.chains();
        }
        let _ = state::open(&bytes, None);
        let mut reader = codec::Reader::new(&bytes);
        while !reader.is_empty() {
            let went = match random.below(5) {
                0 => reader.byte().is_ok(),
                1 => reader.i64().is_ok(),
                2 => reader.varint().is_ok(),
                3 => reader.count().is_ok(),
                _ => reader.bytes().is_ok(),
            };
            if !went {
                break;
            }
        }
    });
}

/// Modules of wasm-smith, and our own frame with bytes changed, through load: refused, or a plugin.
#[test]
fn plugin_files() {
    let engine = LazyCell::new(|| engine(Compiler::InProcess));
    let frame = wat::parse_str(transform(&Guest::default())).expect("the frame parses");
    let options = LoadOptions::default();
    fuzz("plugin_files", |random| {
        let bytes = match random.below(3) {
            0 => {
                let noise: Vec<u8> = (0..2_000).map(|_| random.next() as u8).collect();
                let config = wasm_smith::Config {
                    max_funcs: 20,
                    ..wasm_smith::Config::default()
                };
                match wasm_smith::Module::new(config, &mut Unstructured::new(&noise)) {
                    Ok(module) => module.to_bytes(),
                    Err(_) => noise,
                }
            }
            _ => random.bytes(&[&frame]),
        };
        let _ = engine.load(&bytes, &options);
    });
}

/// Random code in our frame: a body that wasm-smith did not make could not call our imports with such
/// arguments as these.
#[test]
fn guest_output() {
    let engine = LazyCell::new(|| engine(Compiler::InProcess));
    let options = LoadOptions::default();
    fuzz("guest_output", |random| {
        let number = |random: &mut Random| {
            const NUMBERS: &[i64] = &[
                0,
                1,
                2,
                3,
                5,
                7,
                16,
                1024,
                2048,
                65_536,
                -1,
                -4,
                0x7fff_ffff,
                -0x8000_0000,
                70_000,
            ];
            NUMBERS[random.below(NUMBERS.len())]
        };
        let mut body = String::new();
        for word in 0..16 {
            body += &format!(
                "(i32.store (i32.const {}) (i32.const {}))",
                1024 + 4 * word,
                number(random)
            );
        }
        for _ in 0..1 + random.below(3) {
            let choice = |random: &mut Random, n: usize| random.below(n).to_string();
            let mut words: Vec<String> = (0..16).map(|_| number(random).to_string()).collect();
            words[0] = choice(random, 2);
            words[3] = choice(random, 3);
            words[8] = choice(random, 2);
            words[13] = choice(random, 2);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            body += &crate::wat::emit(
                &words[..3].join(" "),
                &words[3..8].join(" "),
                &words[8..13].join(" "),
                &words[13..].join(" "),
            );
            body += &format!(
                "(call $reject (i32.const {}) (i32.const {}) (i32.const {}))",
                number(random),
                number(random),
                number(random)
            );
        }
        let guest = Guest {
            body: &body,
            traits: random.below(4) as u8,
            ..Guest::default()
        };
        let plugin = engine
            .load(transform(&guest).as_bytes(), &options)
            .expect("a plugin");
        let descriptor = plugin.open("attack", "{}").expect("it opens");
        let tag = wasmill::plugin::InstanceTag {
            job: "job".into(),
            step: "step".into(),
            partition: 0,
        };
        let mut function = plugin
            .transform("attack", "{}", &descriptor, tag)
            .expect("a transform");
        let mut batch = Batch::of(
            3,
            Value::new(Form::Bytes(BinaryArray::from_iter_values([
                "a", "xb", "xc",
            ]))),
        );
        batch.keys = Some(BinaryArray::from_iter_values(["k", "l", "m"]));
        batch.timestamps = Some((0..3).map(Some).collect());
        if let Ok(mut done) = function.process(&mut batch) {
            for port in &mut done.ports {
                let mut out = Vec::new();
                write_envelopes(port, &mut out);
            }
        }
    });
}
