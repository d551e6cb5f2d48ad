//! Hostile code: what a guest could make the host keep for it, call by call. The oracle sees what is left; here, too, how
//! much there was at most.

use crate::components::{Asked, component};
use crate::host::{Attack, Ending, Outcome, Peak};
use crate::wat::{Guest, INHERIT, NO_KEYS, NO_TIMES, body, emit, transform};

/// More than an attack takes that does nothing: two instances, their output at its limit as it comes and as it goes,
/// compilers' answers.
const MEMORY_AT_MOST: u64 = 256 << 20;

const SLOW: &str = "record-deadline = \"1s\"\ncall-deadline = \"3s\"";

/// Runs it: the host never had more than so much for it.
fn run(attack: Attack) -> Outcome {
    let peak = Peak::start();
    let outcome = attack.run();
    let grown = peak.bytes();
    assert!(
        grown < MEMORY_AT_MOST,
        "{} MiB at once: {:?}",
        grown >> 20,
        outcome.ending
    );
    outcome
}

fn by_record(guest: &Guest<'_>) -> String {
    let outcome = run(Attack::transform(&transform(guest), SLOW));
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["a", "b", "c", "d"], "{outcome:?}");
    let [letter] = &outcome.letters[..] else {
        panic!("one dead letter: {outcome:?}")
    };
    letter.strip_prefix("x1 ").expect("the record").to_owned()
}

/// Again and again.
fn for_ever(what: &str) -> String {
    format!("(i32.store (i32.const 2048) (local.get $i)) (loop $l {what} (br $l))")
}

#[test]
fn g22_emits_that_never_have_the_shape_of_the_one_before_are_bounded_too() {
    // Neither has a record, or any bytes but an offset.
    let none = [
        emit("1 2048 0", INHERIT, NO_KEYS, NO_TIMES),
        emit("1 2048 0", "1 1024 1 1040 0", NO_KEYS, NO_TIMES),
    ];
    assert_eq!(
        by_record(&body(&for_ever(&none.concat()))),
        "deadline: the call took more than 1000 ms of CPU time"
    );
    // A record each.
    let one = [
        emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES),
        emit("1 2048 1", "1 1024 2 1040 0", NO_KEYS, NO_TIMES),
    ];
    assert_eq!(
        by_record(&body(&for_ever(&one.concat()))),
        "output-limit: emit: more than 33554432 bytes put out by one call"
    );
}

#[test]
fn g24_headers_count_as_output() {
    // One header: of a name and a value of 32,768 bytes each.
    let headers = "(i32.store (i32.const 1028) (i32.const 1)) (i32.store (i32.const 1036) (i32.const 32768))
        (call $emit-headers (i32.const 1024) (i32.const 2) (i32.const 1032) (i32.const 2) (i32.const 4096) (i32.const 32768) (i32.const 1032) (i32.const 2) (i32.const 4096) (i32.const 32768))";
    let imports = r#"(import "wasmill:plugin/host@0.1.0" "emit-headers" (func $emit-headers (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
    for what in [
        format!("{headers} {}", emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES)),
        // Headers that no emit ever takes.
        headers.into(),
    ] {
        let guest = Guest {
            imports,
            body: &for_ever(&what),
            ..Guest::default()
        };
        assert_eq!(
            by_record(&guest),
            "output-limit: emit: more than 33554432 bytes put out by one call"
        );
    }
}

#[test]
fn g25_a_log_of_fifty_megabytes_a_line_is_cut_and_shows_as_text() {
    // Escape sequences, line ends, quotes, from 1,048,576 on; 50 MB of it, as one line, without end.
    let text = "(memory.copy (i32.add (i32.const 1048576) (i32.mul (local.get $n) (i32.const 16))) (i32.const 1024) (i32.const 16))";
    let body_text = format!(
        "(drop (memory.grow (i32.const 900)))
         (i64.store (i32.const 1024) (i64.const 0x2233_6d31_335b_1b0a)) (i64.store (i32.const 1032) (i64.const 0x247b_6a6e_6469_3a22))
         (loop $fill {text} (br_if $fill (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3125000))))
         (loop $l (call $log (i32.const 2) (i32.const 1048576) (i32.const 50000000)) (br $l))"
    );
    let outcome = run(Attack::transform(&transform(&body(&body_text)), SLOW));
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:.300?}");
    assert_eq!(outcome.letters.len(), 1);
    assert!(
        outcome.letters[0].starts_with("x1 deadline: "),
        "{outcome:.300?}"
    );
    for line in &outcome.log[..outcome.log.len() - 1] {
        // The level, and at most a KiB, of which each escaped sign is up to six.
        assert!(
            line.len() <= 6 + 6 * 1024 && line.starts_with("info: \\n\\u{1b}[31m"),
            "{line:.300}"
        );
        assert!(!line.contains(['\u{1b}', '\n']), "{line:.300}");
    }
}

/// A component whose guest makes handles until it is stopped.
fn hoarder(asked: &Asked<'_>, imports: &str, items: &str, make: &str) -> String {
    let guest = Guest {
        imports,
        items,
        body: make,
        ..Guest::default()
    };
    let bytes = component(&transform(&guest), asked);
    let settings = format!("{SLOW}\nwasi = \"inert\"");
    let outcome = run(Attack::transform("", &settings).file("mine.wasm", &bytes));
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["a", "b", "c", "d"], "{outcome:?}");
    outcome.letters.concat()
}

#[test]
fn g26_handles_that_are_never_given_back_are_bounded() {
    let words = "x1 trap: the guest wanted more than 10000 handles at once";
    let asked = Asked {
        world: "import wasi:cli/stdout@0.2.6;",
        packages: "package wasi:io@0.2.6 { interface streams { resource output-stream; } }
            package wasi:cli@0.2.6 { interface stdout { use wasi:io/streams@0.2.6.{output-stream}; get-stdout: func() -> output-stream; } }",
    };
    let imports = r#"(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))"#;
    let of_the_host = hoarder(
        &asked,
        imports,
        "",
        "(loop $l (drop (call $stdout)) (br $l))",
    );
    assert_eq!(of_the_host, words);
    // The guest's own.
    let asked = Asked {
        world: "export evil:hoard/things@0.1.0;",
        packages: "package evil:hoard@0.1.0 { interface things { resource thing { constructor(); } } }",
    };
    let imports = r#"(import "[export]evil:hoard/things@0.1.0" "[resource-new]thing" (func $new (param i32) (result i32)))"#;
    let items = r#"(func (export "evil:hoard/things@0.1.0#[constructor]thing") (result i32) (i32.const 0))"#;
    let of_its_own = hoarder(
        &asked,
        imports,
        items,
        "(loop $l (drop (call $new (i32.const 1))) (br $l))",
    );
    assert_eq!(of_its_own, words);
}
