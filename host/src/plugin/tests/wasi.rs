//! A component whose runtime calls WASI when it starts: with and without `wasi = "inert"`.

use std::sync::Mutex;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldItem};

use super::*;

/// As much of WASI as the module below imports.
const WASI: &str = r#"
package wasi:io@0.2.6 {
  interface error { resource error { to-debug-string: func() -> string; } }
  interface streams {
    use error.{error};
    variant stream-error { last-operation-failed(error), closed }
    resource output-stream {
      blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
      blocking-splice: func(len: u64) -> result<u64, stream-error>;
    }
  }
}
package wasi:cli@0.2.6 {
  interface environment { get-environment: func() -> list<tuple<string, string>>; }
  interface stdout {
    use wasi:io/streams@0.2.6.{output-stream};
    get-stdout: func() -> output-stream;
  }
}
package wasi:clocks@0.2.6 {
  interface wall-clock {
    record datetime { seconds: u64, nanoseconds: u32 }
    now: func() -> datetime;
  }
}
package wasi:random@0.2.6 {
  interface random { get-random-u64: func() -> u64; get-random-bytes: func(len: u64) -> list<u8>; }
}
"#;

const IMPORTS: &str = r#"
  (import "wasi:cli/environment@0.2.6" "get-environment" (func $environment (param i32)))
  (import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-splice" (func $splice (param i32 i64 i32)))
  (import "wasi:clocks/wall-clock@0.2.6" "now" (func $now (param i32)))
  (import "wasi:random/random@0.2.6" "get-random-u64" (func $random (result i64)))
  (import "wasi:random/random@0.2.6" "get-random-bytes" (func $bytes (param i64 i32)))
"#;

/// What `open` does first: traps unless the environment is empty, the clock at 0, and randomness what it
/// always is; then says "same" and a newline.
const CALLS: &str = r#"
    (call $environment (i32.const 600))
    (if (i32.load (i32.const 604)) (then unreachable))
    (call $now (i32.const 600))
    (if (i32.wrap_i64 (i64.load (i32.const 600))) (then unreachable))
    (if (i64.eqz (call $random)) (then unreachable))
    (i32.store8 (i32.const 620) (i32.const 10))
    (call $write (call $stdout) (i32.const 16) (i32.const 4) (i32.const 600))
    (call $write (call $stdout) (i32.const 620) (i32.const 1) (i32.const 600))
"#;

fn component(calls: &str) -> Vec<u8> {
    let text = PLAIN
        .replacen(
            "  (memory (export",
            &format!("{IMPORTS}  (memory (export"),
            1,
        )
        .replacen(
            "(param i32 i32) (result i32)\n",
            &format!("(param i32 i32) (result i32)\n{calls}"),
            1,
        );
    let contract = include_str!("../../../../wit/plugin.wit");
    let world = "world with-wasi { include plugin; import wasi:cli/environment@0.2.6; import wasi:cli/stdout@0.2.6; \
                 import wasi:io/streams@0.2.6; import wasi:clocks/wall-clock@0.2.6; import wasi:random/random@0.2.6; }";
    let mut resolve = Resolve::new();
    let package = resolve
        .push_source("all.wit", &format!("{contract}\n{world}\n{WASI}"))
        .unwrap();
    let world = resolve.select_world(&[package], Some("with-wasi")).unwrap();
    let unused: Vec<_> = resolve.worlds[world]
        .exports
        .iter()
        .filter(|(_, item)| {
            let WorldItem::Interface { id, .. } = item else {
                return false;
            };
            let name = resolve.interfaces[*id].name.as_deref();
            !["lifecycle", "transform", "filter"]
                .map(Some)
                .contains(&name)
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in unused {
        resolve.worlds[world].exports.shift_remove(&key);
    }
    let mut module = wat::parse_str(&text).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

fn plugin(calls: &str, wasi_inert: bool) -> Result<Plugin, LoadError> {
    let limits = Limits {
        wasi_inert,
        ..Limits::default()
    };
    let options = LoadOptions {
        name: "test".into(),
        limits,
    };
    engine().load(&component(calls), &options)
}

#[test]
fn without_the_grant_the_call_is_a_trap_that_names_it() {
    let words = plugin(CALLS, false)
        .unwrap()
        .open("same", "{}")
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("the guest called wasi:cli/environment@0.2.6#get-environment"),
        "{words}"
    );
}

#[test]
fn inert_wasi_is_empty_still_and_the_same_in_every_instance() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let plugin = plugin(CALLS, true).unwrap();
    let sink = {
        let lines = lines.clone();
        move |line: &LogLine<'_>| lines.lock().unwrap().push(line.text.to_string())
    };
    let plugin = plugin.with_options(InstanceOptions {
        log: Some(Arc::new(sink)),
        ..InstanceOptions::default()
    });
    let out = transform_of(&plugin, "same")
        .process(&mut records(&["a", "b"]))
        .unwrap();
    assert_eq!(texts(&out.ports[0]), ["a", "b"]);
    assert_eq!(*lines.lock().unwrap(), ["same"]);
}

#[test]
fn inert_wasi_is_nothing_more_than_that() {
    for (call, word) in [
        (
            "(call $splice (call $stdout) (i64.const 1) (i32.const 600))",
            "blocking-splice",
        ),
        (
            "(call $bytes (i64.const 100000000) (i32.const 600))",
            "100000000 random bytes at once, more than 65536",
        ),
    ] {
        let words = plugin(call, true)
            .unwrap()
            .open("same", "{}")
            .unwrap_err()
            .to_string();
        assert!(words.contains(word), "{words}");
    }
}
