//! Hostile code: what a guest does while it runs, one record at a time.

use crate::host::{Attack, Ending, Outcome};
use crate::wat::{Guest, INHERIT, NO_KEYS, NO_TIMES, body, emit, transform};

/// The attack cost its own record and nothing else; how, in words.
pub fn costs_its_record(outcome: &Outcome) -> &str {
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["a", "b", "c", "d"], "{outcome:?}");
    let [letter] = &outcome.letters[..] else {
        panic!("one dead letter: {outcome:?}")
    };
    letter.strip_prefix("x1 ").expect("the record with the x")
}

/// Quick deadlines.
pub const QUICK: &str =
    "record-deadline = \"20ms\"\ncall-deadline = \"50ms\"\nopen-deadline = \"50ms\"";

fn by_record(guest: &Guest<'_>) -> String {
    costs_its_record(&Attack::transform(&transform(guest), QUICK).run()).to_owned()
}

fn all_pass(guest: &Guest<'_>) {
    let outcome = Attack::transform(&transform(guest), QUICK).run();
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["a", "b", "x1", "c", "d"], "{outcome:?}");
    assert!(outcome.letters.is_empty(), "{outcome:?}");
}

fn failed(outcome: Outcome) -> String {
    match outcome.ending {
        Ending::Failed(message) => message,
        other => panic!("it should have failed: {other:?}"),
    }
}

/// Refused: the first line says why, without the place in the job file.
pub fn refused(outcome: Outcome) -> String {
    match outcome.ending {
        Ending::Refused(message) => {
            let line = message.lines().next().unwrap_or_default();
            let placed = line.split_once("job.toml:").map_or(line, |(_, rest)| rest);
            let at = placed.find(' ').map_or(0, |at| at + 1);
            placed[at..].to_owned()
        }
        other => panic!("it should have been refused: {other:?}"),
    }
}

fn turned_away(guest: &Guest<'_>) -> String {
    refused(Attack::transform(&transform(guest), QUICK).run())
}

const LOOP: &str = "(loop $for-ever (br $for-ever))";
const DEADLINE: &str = "deadline: the call took more than 20 ms of CPU time";
pub const TRAP: &str = "trap: the guest gave up (unreachable instruction)";
const STACK: &str = "stack: the guest's stack overflowed (endless recursion?)";

#[test]
fn g01_endless_start_function_is_turned_away_with_the_job() {
    let guest = Guest {
        items: "(func $start (loop $l (br $l))) (start $start)",
        ..Guest::default()
    };
    assert!(turned_away(&guest).contains("the call took more than 50 ms of CPU time"));
    let guest = Guest {
        open: LOOP,
        ..Guest::default()
    };
    assert!(turned_away(&guest).contains("the call took more than 50 ms of CPU time"));
}

#[test]
fn g02_endless_loop_costs_its_record() {
    assert_eq!(by_record(&body(LOOP)), DEADLINE);
}

#[test]
fn g03_endless_loop_after_the_answer_costs_its_record() {
    let guest = Guest {
        items: "(global $armed (mut i32) (i32.const 0))",
        body: "(global.set $armed (i32.const 1))",
        forget: "(if (global.get $armed) (then (loop $l (br $l)))) (global.set $top (i32.const 65536))",
        ..Guest::default()
    };
    assert_eq!(by_record(&guest), DEADLINE);
    // Nothing waits for a close that does not end.
    all_pass(&Guest {
        close: LOOP,
        ..Guest::default()
    });
}

#[test]
fn g05_time_spent_in_the_host_counts() {
    let body = body("(loop $l (call $log (i32.const 2) (i32.const 16) (i32.const 6)) (br $l))");
    assert_eq!(by_record(&body), DEADLINE);
}

#[test]
fn g06_filling_memory_again_and_again_ends_one_fill_past_the_deadline() {
    let body = body(
        "(drop (memory.grow (i32.const 900))) (loop $l (memory.fill (i32.const 131072) (i32.const 1) (i32.const 58982400)) (br $l))",
    );
    assert_eq!(by_record(&body), DEADLINE);
}

#[test]
fn g07_growing_memory_stops_at_the_limit_without_harm() {
    all_pass(&body(
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))",
    ));
    let gives_up = body(
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    );
    assert!(by_record(&gives_up).starts_with("memory: the guest wanted "));
}

#[test]
fn g08_g09_what_is_declared_beyond_the_limits_is_turned_away() {
    let memory = Guest {
        memory: "60000",
        ..Guest::default()
    };
    assert!(turned_away(&memory).contains("bytes of memory to begin with; the limit is 67108864"));
    let table = Guest {
        items: "(table 10000000 funcref)",
        ..Guest::default()
    };
    assert!(
        turned_away(&table).contains("10000000 table elements to begin with; the limit is 20000")
    );
    all_pass(&Guest {
        items: "(table $t 1 funcref)",
        body: "(if (i32.ne (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1)) (then unreachable))",
        ..Guest::default()
    });
}

#[test]
fn g11_g12_recursion_without_end_costs_its_record() {
    let direct = Guest {
        items: "(func $deep (call $deep) (call $deep))",
        body: "(call $deep)",
        ..Guest::default()
    };
    assert_eq!(by_record(&direct), STACK);
    let mutual = Guest {
        items: "(type $v (func)) (table 2 funcref) (elem (i32.const 0) $f $g)
            (func $f (call_indirect (type $v) (i32.const 1)) (call_indirect (type $v) (i32.const 1)))
            (func $g (call_indirect (type $v) (i32.const 0)) (call_indirect (type $v) (i32.const 0)))",
        body: "(call $f)",
        ..Guest::default()
    };
    assert_eq!(by_record(&mutual), STACK);
    // The host is called from ever deeper, and still has room.
    let calls = Guest {
        items: "(func $deep (call $log (i32.const 2) (i32.const 16) (i32.const 6)) (call $deep) (call $deep))",
        body: "(call $deep)",
        ..Guest::default()
    };
    let how = by_record(&calls);
    assert!(how == STACK || how == DEADLINE, "{how}");
}

#[test]
fn g21_exports_that_are_missing_or_of_another_version_are_named() {
    let whole = transform(&Guest::default());
    let other = whole.replace("transform@0.1.0#process", "transform@0.9.0#process");
    let words = refused(Attack::transform(&other, "").run());
    assert!(words.contains("0.9.0"), "{words}");
    let missing = whole.replace("wasmill:plugin/lifecycle@0.1.0#close", "close");
    let words = refused(Attack::transform(&missing, "").run());
    assert!(words.contains("close"), "{words}");
}

/// Puts out the row's source again and again.
fn flood(payload: &str, keys: &str) -> String {
    format!(
        "(i32.store (i32.const 1028) (i32.const 131072)) (i32.store (i32.const 2048) (local.get $i)) (loop $l {} (br $l))",
        emit("1 2048 1", payload, keys, NO_TIMES)
    )
}

#[test]
fn g22_to_g24_more_output_than_allowed_is_cut_off_with_the_record() {
    let by_record = |guest: &Guest<'_>| {
        let slow = "record-deadline = \"3s\"\ncall-deadline = \"5s\"";
        costs_its_record(&Attack::transform(&transform(guest), slow).run()).to_owned()
    };
    assert_eq!(
        by_record(&body(&flood("1 1024 2 0 131072", NO_KEYS))),
        "output-limit: emit: more than 33554432 bytes put out by one call"
    );
    let keys = Guest {
        traits: 1,
        body: &flood(INHERIT, "1 1024 2 0 131072"),
        ..Guest::default()
    };
    assert_eq!(
        by_record(&keys),
        "output-limit: emit: more than 33554432 bytes put out by one call"
    );
    let many = format!(
        "(i32.store (i32.const 2048) (local.get $i)) (loop $l {} (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5000))))",
        emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES)
    );
    let how = by_record(&body(&many));
    assert!(
        how.starts_with("output-limit: ") && how.contains("1000"),
        "{how}"
    );
}

#[test]
fn g25_floods_of_log_and_of_text_are_cut() {
    let reason = "(memory.fill (i32.const 1024) (i32.const 97) (i32.const 60000)) (call $reject (local.get $i) (i32.const 1024) (i32.const 60000))";
    let how = by_record(&body(reason));
    assert_eq!(how, format!("rejected: {}", "a".repeat(4096)));
    // What would write over a terminal, or begin another line of a log.
    let escapes = "(i32.store (i32.const 1024) (i32.const 0x0a41_1b0d)) (call $reject (local.get $i) (i32.const 1024) (i32.const 4))";
    let how = by_record(&body(escapes));
    assert!(
        !how.contains('\u{1b}') && !how.contains('\n') && how.contains("\\u{1b}"),
        "{how}"
    );
}

#[test]
fn g26_floods_of_names_and_rejects_are_stopped() {
    let names = "(loop $l
        (i32.store (i32.const 1024) (i32.add (i32.const 0x61616161) (i32.add (i32.and (local.get $n) (i32.const 15)) (i32.shl (i32.shr_u (local.get $n) (i32.const 4)) (i32.const 8)))))
        (drop (call $metric (i32.const 1024) (i32.const 4) (i32.const 0)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 200))))";
    let how = by_record(&body(names));
    assert!(
        how.starts_with("metric-limit: ") && how.contains("64"),
        "{how}"
    );
    let rejects = by_record(&body(
        "(loop $l (call $reject (local.get $i) (i32.const 16) (i32.const 6)) (br $l))",
    ));
    assert_eq!(
        rejects,
        "reject-limit: reject: called more than twice a row"
    );
}

#[test]
fn g27_one_trap_among_thousands_costs_one_record() {
    let lines: String = (0..8192)
        .map(|n| {
            if n == 5000 {
                "x\n".into()
            } else {
                format!("{n}\n")
            }
        })
        .collect();
    let outcome = Attack::transform(&transform(&body("unreachable")), QUICK)
        .input(&lines)
        .run();
    assert_eq!(outcome.ending, Ending::Finished);
    let expected: Vec<&str> = lines.lines().filter(|l| *l != "x").collect();
    assert!(outcome.out == expected, "{} came out", outcome.out.len());
    assert_eq!(outcome.letters, [format!("x {TRAP}")]);
}

#[test]
fn g30_odd_values_given_to_the_host_are_bad_output() {
    let cases = [
        (
            "(call $record-metric (i32.const -1) (f64.const 1))",
            "bad-output: record-metric: there is no metric 4294967295",
        ),
        (
            "(call $record-metric (call $metric (i32.const 16) (i32.const 6) (i32.const 1)) (f64.const nan))",
            "bad-output: record-metric: NaN for \"attack\"",
        ),
        (
            "(call $port (i32.const 1) (i32.const 3))",
            "bad-output: port: there is no port 3 (the descriptor names 0)",
        ),
        (
            "(call $port (i32.const 1) (i32.const -1))",
            "bad-output: port: there is no port 4294967295 (the descriptor names 0)",
        ),
        (
            "(call $reject (i32.const -1) (i32.const 16) (i32.const 6))",
            "bad-output: reject: there is no row 4294967295 (there are 1)",
        ),
        (
            "(drop (call $metric (i32.const 16) (i32.const 0) (i32.const 0)))",
            "bad-output: metric name \"\" is not [a-z][a-z0-9_-]{0,99}",
        ),
        // Timers of a function that has none (G36).
        (
            "(call $set-timer (i32.const 0) (i32.const 0) (i64.const 5))",
            "bad-output: set-timer: not in transform.process",
        ),
        // A row to blame that is not there is not believed: it is the one that was alone when it failed.
        (
            "(call $failing-row (i32.const -1) (i32.const 16) (i32.const 6)) unreachable",
            "panic: attack",
        ),
        (
            "(call $failing-row (i32.const 70000) (i32.const 16) (i32.const 6)) unreachable",
            "panic: attack",
        ),
    ];
    let ended = cases.map(|(case, _)| by_record(&body(case)));
    assert_eq!(ended, cases.map(|(_, words)| words.to_owned()));
    // Blame without a failure is none.
    all_pass(&body(
        "(call $failing-row (i32.const -1) (i32.const 16) (i32.const 6))",
    ));
}

#[test]
fn g31_g33_what_no_plugin_gets_is_refused_by_name() {
    let imports =
        r#"(import "wasi_snapshot_preview1" "sock_open" (func)) (import "env" "system" (func))"#;
    let guest = Guest {
        imports,
        ..Guest::default()
    };
    assert_eq!(
        turned_away(&guest),
        "plugin \"mine\": it imports what this host does not offer: wasi_snapshot_preview1 (a core module with WASI must be \
         made a component first: wasm-tools component new --adapt); env (symbols that the linker left open: link with all \
         libraries, or export what is missing)"
    );
    let not_valid = |guest: &Guest<'_>, words: &str| {
        let said = turned_away(guest);
        let start = "plugin \"mine\": not valid WebAssembly for this host, at byte ";
        let why = said.strip_prefix(start).and_then(|w| w.split_once(": "));
        assert_eq!(why.map(|(_, why)| why), Some(words), "{said}");
    };
    for (items, words) in [
        ("(memory $second 1)", "multiple memories"),
        (
            "(func (drop (i32.atomic.load (i32.const 0))))",
            "threads support is not enabled",
        ),
        (
            "(type $s (struct (field i32)))",
            "gc proposal not supported",
        ),
        ("(tag $e)", "exceptions proposal not enabled"),
    ] {
        let guest = Guest {
            items,
            ..Guest::default()
        };
        not_valid(&guest, words);
    }
    let memory64 = Guest {
        memory: "i64 3",
        ..Guest::default()
    };
    not_valid(&memory64, "memory64 must be enabled for 64-bit memories");
}

#[test]
fn g35_calling_the_host_while_it_calls_back_is_refused() {
    for forget in [
        "(call $log (i32.const 2) (i32.const 16) (i32.const 6))",
        "(drop (call $metric (i32.const 16) (i32.const 6) (i32.const 1)))",
        "(call $reject (i32.const 0) (i32.const 16) (i32.const 6))",
        "(call $set-timer (i32.const 0) (i32.const 0) (i64.const 5))",
    ] {
        let guest = Guest {
            forget,
            ..Guest::default()
        };
        let outcome = Attack::transform(&transform(&guest), QUICK).run();
        assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
        assert!(outcome.out.is_empty(), "{outcome:?}");
        // It does so after every call, so that no record can be blamed.
        let letter = |value| format!("{value} trap: wasm trap: cannot leave component instance");
        let expected = ["a", "b", "x1", "c", "d"].map(letter);
        assert_eq!(outcome.letters, expected, "{forget}");
    }
}

#[test]
fn g39_g40_a_function_that_fails_for_ever_is_quarantined_and_one_that_rejects_is_not() {
    let lines = "x\n".repeat(500);
    let attack = |body_text: &str| {
        Attack::transform(&transform(&body(body_text)), "failures-in-a-row = 50")
            .input(&lines)
            .run()
    };
    let message = failed(attack("unreachable"));
    assert!(
        message.contains("QUARANTINED: 51 records in a row failed, the last by trap"),
        "{message}"
    );
    let outcome = attack("(call $reject (local.get $i) (i32.const 16) (i32.const 6))");
    assert_eq!(outcome.ending, Ending::Finished);
    assert_eq!(outcome.letters.len(), 500);
}

#[test]
fn a_guest_that_leaks_is_replaced_and_loses_nothing() {
    let lines: String = (0..200_000).map(|n| format!("xxxxxxxx{n}\n")).collect();
    // 1 KiB a record, never given back: more than the limit over all of them.
    let leak = "(global.set $leak (i32.add (global.get $leak) (i32.const 1024))) (drop (memory.grow (i32.and (i32.eqz (i32.and (global.get $leak) (i32.const 65535))) (i32.const 1))))";
    let guest = Guest {
        items: "(global $leak (mut i32) (i32.const 0))",
        body: leak,
        ..Guest::default()
    };
    let outcome = Attack::transform(&transform(&guest), "memory = \"16MiB\"")
        .input(&lines)
        .run();
    assert_eq!(outcome.ending, Ending::Finished);
    assert!(
        outcome.out == lines.lines().collect::<Vec<_>>(),
        "{} came out",
        outcome.out.len()
    );
}

/// Answers differently from its second call on: records with an `x` are rejected only then.
const MOODY: &str = "(if (global.get $calls) (then (call $reject (local.get $i) (i32.const 16) (i32.const 6)))) (global.set $calls (i32.const 1))";

#[test]
fn g29_globals_are_no_state_and_paranoid_shows_who_keeps_some() {
    let guest = Guest {
        items: "(global $calls (mut i32) (i32.const 0))",
        body: MOODY,
        ..Guest::default()
    };
    let run = |paranoid: bool| {
        let mut attack = Attack::transform(&transform(&guest), "").input("x1\nx2\nx3\n");
        attack.paranoid = paranoid;
        // One record a call.
        attack.job = attack.job.replace(
            "parallelism = 1",
            "parallelism = 1\nbatch = { records = 1 }",
        );
        attack.run()
    };
    let (kept, paranoid) = (run(false), run(true));
    assert_eq!((kept.out.len(), kept.letters.len()), (1, 2), "{kept:?}");
    assert_eq!(
        (paranoid.out.len(), paranoid.letters.len()),
        (3, 0),
        "{paranoid:?}"
    );
}

#[test]
fn g39_a_function_that_fails_now_and_then_costs_each_record_that_fails_and_no_other() {
    // Good, and then a failure, again and again: never two in a row, so that it is never quarantined, and never waits. It
    // pays for each failure by itself.
    let lines: String = (0..1_000).map(|n| format!("{n}\nx{n}\n")).collect();
    let good: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let bad: Vec<String> = (0..1_000).map(|n| format!("x{n} {TRAP}")).collect();
    for records in [1, 64, 8_192] {
        let mut attack =
            Attack::transform(&transform(&body("unreachable")), "failures-in-a-row = 1")
                .input(&lines);
        attack.job = attack.job.replace(
            "parallelism = 1",
            &format!("parallelism = 1\nbatch = {{ records = {records} }}"),
        );
        let outcome = attack.run();
        assert_eq!(outcome.ending, Ending::Finished, "{records}");
        assert!(outcome.out == good, "{records}: {:.500?}", outcome.out);
        assert!(
            outcome.letters == bad,
            "{records}: {:.500?}",
            outcome.letters
        );
    }
    // Two in a row are one too many.
    let message = failed(
        Attack::transform(&transform(&body("unreachable")), "failures-in-a-row = 1")
            .input("x0\n1\nx2\nx3\n4\n")
            .run(),
    );
    let words = "QUARANTINED: 2 records in a row failed, the last by trap; none was tried after it";
    assert!(message.contains(words), "{message}");
}
