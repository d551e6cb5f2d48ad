//! Hostile code: typed columns that are none, and worlds that a guest asks for.

use crate::components::{Asked, component};
use crate::host::{Attack, Ending, Outcome};
use crate::wat::{Guest, INHERIT, NO_KEYS, NO_SOURCE, NO_TIMES, emit, transform};

/// Kinds and columns, as the contract numbers them.
const TEXT: u8 = 0;
const INTS: u8 = 1;
const FLOATS: u8 = 2;
const BOOLS: u8 = 3;
const JSON: u8 = 4;
const INPUT: u8 = 5;

/// A guest that writes one field, `attack`, of this kind. For its row with an `x` it puts out a column of
/// the kind `column` with these words, nothing for the others.
fn writes(
    kind: u8,
    column: u8,
    words: [i32; 4],
    prepare: &str,
    valid: Option<(i32, i32)>,
) -> String {
    let (has_valid, valid) = (i32::from(valid.is_some()), valid.unwrap_or_default());
    let field = [has_valid, valid.0, valid.1, i32::from(column)];
    let stores: String = field
        .iter()
        .chain(&words)
        .enumerate()
        .map(|(n, word)| {
            format!(
                "(i32.store (i32.const {}) (i32.const {word}))",
                1024 + 4 * n
            )
        })
        .collect();
    let body = format!(
        "(i32.store (i32.const 2048) (local.get $i)) {stores} {prepare} {}",
        emit("1 2048 1", "2 1024 1 0 0", NO_KEYS, NO_TIMES)
    );
    let open = format!(
        "(i32.store (i32.const 900) (i32.const 16)) (i32.store (i32.const 904) (i32.const 6)) (i32.store8 (i32.const 908) (i32.const {kind}))
         (i32.store (i32.const 60) (i32.const 900)) (i32.store (i32.const 64) (i32.const 1))"
    );
    let whole = transform(&Guest {
        open: &open,
        body: &body,
        ..Guest::default()
    });
    // Only the attack is put out.
    let pass = emit(NO_SOURCE, INHERIT, NO_KEYS, NO_TIMES);
    whole.replace(&pass, "")
}

fn run(wat: &str) -> Outcome {
    Attack::transform(wat, "").run()
}

#[test]
fn g18_a_column_as_announced_comes_out() {
    // The offsets 0 and 1 and the letter "b": the frame is right, so what follows fails for its own reason.
    let text =
        "(i32.store (i32.const 2056) (i32.const 1)) (i32.store8 (i32.const 2064) (i32.const 98))";
    let outcome = run(&writes(TEXT, TEXT, [2052, 2, 2064, 1], text, None));
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["{\"attack\":\"b\"}"], "{outcome:?}");
}

#[test]
fn g18_columns_that_lie_about_their_kind_or_content_are_bad_output() {
    let one = "(i32.store (i32.const 2056) (i32.const 1))";
    let byte = |value: u8| format!("{one} (i32.store8 (i32.const 2064) (i32.const {value}))");
    let text = [2052, 2, 2064, 1];
    let memory = "the answer cannot be read: list pointer/length out of bounds of memory";
    let cases = [
        // Text that is no UTF-8; JSON that is none.
        (
            writes(TEXT, TEXT, text, &byte(255), None),
            "emit: field \"attack\" (text): row 0: not UTF-8 at byte 0",
        ),
        (
            writes(JSON, JSON, text, &byte(255), None),
            "emit: field \"attack\" (json): row 0: not UTF-8 at byte 0",
        ),
        (
            writes(JSON, JSON, text, &byte(b'{'), None),
            "emit: field \"attack\" (json): row 0: not JSON: EOF while parsing an object at line 1 column 1",
        ),
        // Another kind than announced; one that there is not.
        (
            writes(TEXT, INTS, [2064, 1, 0, 0], "", None),
            "emit: field \"attack\" (text): holds ints",
        ),
        (
            writes(BOOLS, FLOATS, [2064, 1, 0, 0], "", None),
            "emit: field \"attack\" (bools): holds floats",
        ),
        (
            writes(TEXT, 9, text, &byte(98), None),
            "the answer cannot be read: unexpected discriminant: 9",
        ),
        // Too few rows, too many, and rows that end beyond the memory.
        (
            writes(INTS, INTS, [2064, 0, 0, 0], "", None),
            "emit: field \"attack\" (ints): has 0 entries for 1 rows",
        ),
        (
            writes(INTS, INTS, [2064, 2, 0, 0], "", None),
            "emit: field \"attack\" (ints): has 2 entries for 1 rows",
        ),
        (
            writes(INTS, INTS, [2064, 0x2000_0000, 0, 0], "", None),
            memory,
        ),
        (writes(INTS, INTS, [-8, 1, 0, 0], "", None), memory),
        // A bool that is neither.
        (
            writes(BOOLS, BOOLS, [2064, 1, 0, 0], &byte(7), None),
            "emit: field \"attack\" (bools): row 0: byte 7 is neither 0 nor 1",
        ),
        // Marks of nulls for more rows than there are, and marks that are none.
        (
            writes(TEXT, TEXT, text, &byte(98), Some((2064, 2))),
            "emit: field \"attack\" (text): valid: has 2 entries for 1 rows",
        ),
        (
            writes(TEXT, TEXT, text, &byte(98), Some((2064, 1))),
            "emit: field \"attack\" (text): valid: row 0: byte 98 is neither 0 nor 1",
        ),
        // A field of the input that the function does not read.
        (
            writes(TEXT, INPUT, [0, 0, 0, 0], "", None),
            "emit: field \"attack\" (text): input(0), but the function reads 0 fields",
        ),
        (
            writes(TEXT, INPUT, [-1, 0, 0, 0], "", None),
            "emit: field \"attack\" (text): input(4294967295), but the function reads 0 fields",
        ),
    ];
    let mut ended = Vec::new();
    for (n, (wat, _)) in cases.iter().enumerate() {
        let outcome = run(wat);
        assert_eq!(outcome.ending, Ending::Finished, "case {n}: {outcome:?}");
        assert!(outcome.out.is_empty(), "case {n}: {outcome:?}");
        ended.extend(outcome.letters);
    }
    let expected = cases.map(|(_, words)| format!("x1 bad-output: {words}"));
    assert_eq!(ended, expected);
}

#[test]
fn g18_json_of_ten_thousand_levels_goes_through_as_it_is() {
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    let fill = "(i32.store (i32.const 2056) (i32.const 20000)) (memory.fill (i32.const 4096) (i32.const 91) (i32.const 10000)) (memory.fill (i32.const 14096) (i32.const 93) (i32.const 10000))";
    let wat = writes(JSON, JSON, [2052, 2, 4096, 20_000], fill, None);
    // Written as JSON, and looked into for a table.
    for format in ["value", "json", "table"] {
        let mut attack = Attack::transform(&wat, "");
        let (from, to) = ("format = \"value\"", format!("format = \"{format}\""));
        attack.job = attack.job.replace(from, &to);
        let outcome = attack.run();
        assert_eq!(outcome.ending, Ending::Finished, "{format}");
        let whole = format!("{{\"attack\":{open}{close}}}");
        let shown = outcome.out.iter().any(|line| line.contains(&whole));
        assert!(shown || format == "table", "{format}");
    }
}

#[test]
fn g18_numbers_that_no_json_holds_do_not_break_the_output() {
    for bits in ["nan", "inf", "-inf", "nan:0x4000000000001"] {
        let store = format!("(f64.store (i32.const 2064) (f64.const {bits}))");
        let outcome = run(&writes(FLOATS, FLOATS, [2064, 1, 0, 0], &store, None));
        assert_eq!(outcome.ending, Ending::Finished, "{bits}: {outcome:?}");
        for line in &outcome.out {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
            assert!(parsed.is_ok(), "{bits}: {line}");
        }
        assert_eq!(outcome.out.len() + outcome.letters.len(), 1, "{outcome:?}");
    }
}

/// A component that asks WASI for random numbers and the time, and rejects its rows with both.
fn oracle() -> Vec<u8> {
    let imports = r#"
      (import "wasi:random/random@0.2.6" "get-random-u64" (func $random (result i64)))
      (import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))"#;
    let hex = |local: &str, at: u32| -> String {
        let letter = |n: u32| {
            format!(
                "(i32.store8 (i32.const {}) (i32.add (i32.const 65) (i32.and (i32.wrap_i64 (i64.shr_u (local.get {local}) (i64.const {}))) (i32.const 15))))",
                at + n,
                4 * n
            )
        };
        (0..16).map(letter).collect()
    };
    let body = format!(
        "(local.set $answer (call $random)) {} (local.set $answer (call $now)) {} (call $reject (local.get $i) (i32.const 1024) (i32.const 32))",
        hex("$answer", 1024),
        hex("$answer", 1040)
    );
    let text = transform(&Guest {
        imports,
        body: &body,
        ..Guest::default()
    })
    .replace("(local $i i32)", "(local $answer i64) (local $i i32)");
    let asked = Asked {
        world: "import wasi:random/random@0.2.6; import wasi:clocks/monotonic-clock@0.2.6;",
        packages:
            "package wasi:random@0.2.6 { interface random { get-random-u64: func() -> u64; } }
            package wasi:clocks@0.2.6 { interface monotonic-clock { now: func() -> u64; } }",
    };
    component(&text, &asked)
}

#[test]
fn g32_clock_and_randomness_are_a_trap_or_the_same_in_every_run() {
    let bytes = oracle();
    let ask = |settings: &str| {
        let attack = Attack::transform("", settings).file("mine.wasm", &bytes);
        attack.input("x\nx\na\nx\n").run()
    };
    let none = ask("");
    assert_eq!(none.ending, Ending::Finished, "{none:?}");
    assert_eq!((none.out.len(), none.letters.len()), (1, 3), "{none:?}");
    for letter in &none.letters {
        assert!(
            letter.contains("the guest called wasi:random/random@0.2.6#get-random-u64"),
            "{letter}"
        );
    }
    let (first, second) = (ask("wasi = \"inert\""), ask("wasi = \"inert\""));
    assert_eq!(first.ending, Ending::Finished, "{first:?}");
    assert_eq!(first.out, ["a"]);
    assert_eq!(first.letters.len(), 3, "{first:?}");
    assert_eq!(first.letters, second.letters, "two runs are equal");
    // Random among each other; the clock stands still.
    let (random, time): (Vec<&str>, Vec<&str>) = first
        .letters
        .iter()
        .map(|letter| letter.split_at(letter.len() - 16))
        .unzip();
    assert!(random[0] != random[1] && time[0] == time[1], "{first:?}");
}
