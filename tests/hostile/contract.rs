//! Hostile code: guests that hold the contract in their own way, or another one.

use crate::components::{Asked, component};
use crate::host::{Attack, Ending, Watch, shared_engine};
use crate::wat::{Guest, INHERIT, NO_KEYS, NO_SOURCE, NO_TIMES, emit, transform};
use wasmill::plugin::LoadOptions;

#[test]
fn g19_what_is_put_out_may_lie_anywhere_and_over_each_other_and_is_copied_once() {
    // All rows, right out of what the host passed in.
    let input = format!(
        "(local.set $n (i32.add (local.get $len) (i32.const 1)))
         (local.set $m (i32.load (i32.add (local.get $offsets) (i32.shl (local.get $len) (i32.const 2)))))
         {}",
        emit(NO_SOURCE, "1 $offsets $n $data $m", NO_KEYS, NO_TIMES)
    );
    // Source, offsets, data and key in the same eight bytes, of row 0; then static data.
    let over = "(i32.store (i32.const 1028) (i32.const 2))".to_owned()
        + &emit("1 1024 1", "1 1024 2 1024 2", "1 1024 2 1024 2", NO_TIMES);
    let fixed = "(i32.store (i32.const 1028) (i32.const 6))".to_owned()
        + &emit("1 1024 1", "1 1024 2 16 6", NO_KEYS, NO_TIMES);
    for (body, first) in [
        (input, &["a", "b", "x1", "c", "d"][..]),
        (over, &["\0\0"]),
        (fixed, &["attack"]),
    ] {
        let guest = Guest {
            traits: 1,
            body: &body,
            ..Guest::default()
        };
        let outcome = Attack::transform(&transform(&guest), "").run();
        assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
        let expected: Vec<&str> = first
            .iter()
            .copied()
            .chain(["a", "b", "x1", "c", "d"])
            .collect();
        assert_eq!(outcome.out, expected, "{outcome:?}");
    }
}

/// Why it is no plugin.
fn no_plugins(cases: &[(String, &str)]) {
    let watch = Watch::begin();
    for (text, words) in cases {
        let loaded = shared_engine().load(text.as_bytes(), &LoadOptions::default());
        let error = loaded.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{words}: {error}");
    }
    watch.expect_unharmed();
}

#[test]
fn g21_exports_that_are_not_as_they_should_be_are_named() {
    let whole = transform(&Guest::default());
    let close = "(func (export \"wasmill:plugin/lifecycle@0.1.0#close\") )";
    let put = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}");
        whole.replace(from, to)
    };
    no_plugins(&[
        (put(close, &close.replace(") )", ") (param i64))")), "close"),
        (
            put(
                close,
                "(global (export \"wasmill:plugin/lifecycle@0.1.0#close\") i32 (i32.const 0))",
            ),
            "close",
        ),
        (
            put(close, &close.repeat(2)),
            "not valid WebAssembly for this host",
        ),
        (
            put("(memory (export \"memory\") 3)", "(memory 3)"),
            "the core module cannot be made a component",
        ),
        (
            put("\"cabi_realloc\"", "\"cabi_reallok\""),
            "the core module cannot be made a component",
        ),
        (
            put(
                "(param i32 i32) (result i32)\n    (local $i i32)",
                "(param i32 i64) (result i32)\n    (local $i i32)",
            ),
            "the core module cannot be made a component",
        ),
    ]);
}

#[test]
fn g21_emits_without_rows_are_nothing() {
    let guest = Guest {
        body: &emit("1 1024 0", "1 1024 1 1040 0", NO_KEYS, NO_TIMES),
        ..Guest::default()
    };
    let outcome = Attack::transform(&transform(&guest), "").run();
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["a", "b", "x1", "c", "d"]);
}

#[test]
fn g33_shared_memory_and_what_waits_on_it_are_refused() {
    let with = |memory, imports, items| {
        transform(&Guest {
            memory,
            imports,
            items,
            ..Guest::default()
        })
    };
    let words = "not valid WebAssembly for this host";
    no_plugins(&[
        (with("3 4 shared", "", ""), words),
        (
            with("3", "(import \"env\" \"m\" (memory 1 1 shared))", ""),
            words,
        ),
        (
            with(
                "3",
                "",
                "(func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))",
            ),
            words,
        ),
        (
            with("3", "", "(func (drop (ref.i31 (i32.const 0))))"),
            words,
        ),
        (with("3", "", "(func (try_table))"), words),
    ]);
}

#[test]
fn g31_what_wasi_has_of_files_and_network_is_a_trap_by_name_granted_or_not() {
    for (interface, function) in [
        ("wasi:sockets/tcp", "connect"),
        ("wasi:filesystem/types", "open"),
        ("wasi:http/outgoing-handler", "handle"),
        ("wasi:cli/environment", "get-secrets"),
        ("wasi:io/poll", "wait"),
    ] {
        let (package, name) = interface.split_once('/').expect("two parts");
        let asked = Asked {
            world: &format!("import {interface}@0.2.6;"),
            packages: &format!(
                "package {package}@0.2.6 {{ interface {name} {{ {function}: func(); }} }}"
            ),
        };
        let imports = format!("(import \"{interface}@0.2.6\" \"{function}\" (func $ask))");
        let text = transform(&Guest {
            imports: &imports,
            body: "(call $ask)",
            ..Guest::default()
        });
        let bytes = component(&text, &asked);
        for settings in ["", "wasi = \"inert\""] {
            let outcome = Attack::transform("", settings)
                .file("mine.wasm", &bytes)
                .run();
            assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
            assert_eq!(outcome.out, ["a", "b", "c", "d"], "{outcome:?}");
            let words = format!(
                "x1 trap: the guest called {interface}@0.2.6#{function}, which no plugin may"
            );
            assert!(outcome.letters[0].starts_with(&words), "{outcome:?}");
        }
    }
}

#[test]
fn g22_a_guest_that_puts_out_what_it_was_given_may_do_so_often() {
    // Shapes that change with every row are no attack: a whole batch of them has room.
    let lines: String = (0..8_192).map(|n| format!("x{n}\n")).collect();
    let body =
        "(i32.store (i32.const 2048) (local.get $i)) (i32.store (i32.const 1028) (i32.const 1))"
            .to_owned()
            + &emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES)
            + &emit("1 2048 1", "1 1024 2 16 1", NO_KEYS, NO_TIMES);
    let guest = Guest {
        body: &body,
        ..Guest::default()
    };
    let outcome = Attack::transform(&transform(&guest), "")
        .input(&lines)
        .run();
    assert_eq!(outcome.ending, Ending::Finished);
    assert_eq!((outcome.out.len(), outcome.letters.len()), (3 * 8_192, 0));
}
