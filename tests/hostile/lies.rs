//! Hostile code: guests that lie about where things lie, and how many there are.

use crate::guests::{QUICK, costs_its_record, refused};
use crate::host::{Attack, Ending, Outcome};
use crate::wat::{Guest, INHERIT, NO_KEYS, NO_SOURCE, NO_TIMES, body, emit, transform};

/// A transform with these traits does each of these, and it costs its record in these words.
fn are_bad_output(traits: u8, cases: &[(String, &str)]) {
    let ended = cases.iter().map(|(case, _)| {
        let guest = Guest {
            traits,
            ..body(case)
        };
        let outcome = Attack::transform(&transform(&guest), QUICK).run();
        costs_its_record(&outcome).to_owned()
    });
    let expected: Vec<String> = cases
        .iter()
        .map(|(_, words)| format!("bad-output: {words}"))
        .collect();
    assert_eq!(ended.collect::<Vec<_>>(), expected);
}

#[test]
fn g13_to_g17_lists_that_lie_are_bad_output() {
    let outside = "the answer cannot be read: list pointer/length out of bounds of memory";
    // Row 0 as source, and the two rows of the text "aa", which some cases get wrong.
    let word = |at: u32, value: i32| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    let text = |offsets: &[i32], rest: &str| {
        let stores = (0..).zip(offsets).map(|(n, o)| word(1024 + 4 * n, *o));
        stores.collect::<String>() + "(i32.store8 (i32.const 1040) (i32.const 97))" + rest
    };
    let payload = |offsets: &[i32], data: u32| {
        let rows = offsets.len() - 1;
        let payload = format!("1 1024 {} 1040 {data}", offsets.len());
        text(
            offsets,
            &emit(&format!("1 2048 {rows}"), &payload, NO_KEYS, NO_TIMES),
        )
    };
    let cases = [
        // G13: a pointer and a length that wrap. G14: the greatest length, at 0. G15: a count whose bytes overflow.
        (emit("1 -16 8", INHERIT, NO_KEYS, NO_TIMES), outside),
        (emit(NO_SOURCE, "1 0 2 0 -1", NO_KEYS, NO_TIMES), outside),
        (emit("1 1024 1073741825", INHERIT, NO_KEYS, NO_TIMES), outside),
        (emit(NO_SOURCE, "1 -4 2 0 0", NO_KEYS, NO_TIMES), outside),
        // G16: no offsets, a first one that is not 0, falling ones, a negative one, a last one beyond the data, one
        // short of it, and data for none.
        (emit(NO_SOURCE, "1 1024 0 1024 0", NO_KEYS, NO_TIMES), "emit: values: has no offsets (n strings have n + 1)"),
        (payload(&[1, 1], 1), "emit: values: starts at offset 1, not 0"),
        (payload(&[0, 2, 1], 1), "emit: values: row 1: its end, offset 1, lies before its start, 2"),
        (payload(&[0, -1, 1], 1), "emit: values: row 1: its end, offset 1, lies before its start, 4294967295"),
        (payload(&[0, 2], 1), "emit: values: ends at offset 2, but has 1 bytes of data"),
        (payload(&[0, i32::MAX], 1), "emit: values: ends at offset 2147483647, but has 1 bytes of data"),
        (payload(&[0, -1], 1), "emit: values: ends at offset 4294967295, but has 1 bytes of data"),
        (payload(&[0, 1], 2), "emit: values: ends at offset 1, but has 2 bytes of data"),
        (payload(&[0], 1), "emit: values: ends at offset 0, but has 1 bytes of data"),
        // G17: more rows than sources, fewer, sources beyond the batch, an unknown variant, an unaligned list.
        (text(&[0, 1], &emit("1 2048 2", "1 1024 2 1040 1", NO_KEYS, NO_TIMES)), "emit: values: has 1 entries for 2 rows"),
        (text(&[0, 1], &emit("1 2048 0", "1 1024 2 1040 1", NO_KEYS, NO_TIMES)), "emit: values: has 1 entries for 0 rows"),
        (word(2048, 70_000) + &emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES), "emit: source: entry 0: there is no input row 70000 (there are 1)"),
        (word(2048, -1) + &emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES), "emit: source: entry 0: there is no input row 4294967295 (there are 1)"),
        (emit(NO_SOURCE, "7 0 0 0 0", NO_KEYS, NO_TIMES), "the answer cannot be read: unexpected discriminant: 7"),
        (emit("9 0 0", INHERIT, NO_KEYS, NO_TIMES), "the answer cannot be read: invalid option discriminant"),
        (emit("1 1025 1", INHERIT, NO_KEYS, NO_TIMES), "the answer cannot be read: list pointer is not aligned"),
        // Keys and times that the descriptor does not announce; fields of a function that writes none.
        (emit("1 2048 1", INHERIT, "1 2048 2 2048 0", NO_TIMES), "emit: keys from a function whose descriptor does not say sets-keys"),
        (emit("1 2048 1", INHERIT, NO_KEYS, "1 2048 1"), "emit: timestamps from a function whose descriptor does not say sets-timestamps"),
        (emit("1 2048 1", "2 1024 1 0 0", NO_KEYS, NO_TIMES), "emit: 1 fields, but the descriptor emits 0"),
        // Text that is none (G18), of an answer and of a line of the log.
        ("(i32.store8 (i32.const 1024) (i32.const 255)) (call $reject (local.get $i) (i32.const 1024) (i32.const 1))".into(), "the answer cannot be read: invalid utf-8 sequence of 1 bytes from index 0"),
        ("(i32.store8 (i32.const 1024) (i32.const 255)) (call $log (i32.const 2) (i32.const 1024) (i32.const 1))".into(), "the answer cannot be read: invalid utf-8 sequence of 1 bytes from index 0"),
    ];
    are_bad_output(0, &cases);
}

#[test]
fn g17_keys_and_times_that_lie_are_bad_output() {
    let word = |at: u32, value: i32| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    // Keys of one row too few, falling, beyond their data; times of two rows for one.
    let keys = |offsets: [i32; 2], count: u32, data: u32| {
        word(1024, offsets[0])
            + &word(1028, offsets[1])
            + &emit(
                "1 2048 1",
                INHERIT,
                &format!("1 1024 {count} 1040 {data}"),
                NO_TIMES,
            )
    };
    let cases = [
        (keys([0, 0], 1, 0), "emit: keys: has 0 entries for 1 rows"),
        (keys([1, 0], 2, 0), "emit: keys: starts at offset 1, not 0"),
        (
            keys([0, 9], 2, 1),
            "emit: keys: ends at offset 9, but has 1 bytes of data",
        ),
        (
            emit("1 2048 1", INHERIT, NO_KEYS, "1 2048 2"),
            "emit: timestamps: has 2 entries for 1 rows",
        ),
        (
            emit("1 2048 1", INHERIT, NO_KEYS, "1 2048 0"),
            "emit: timestamps: has 0 entries for 1 rows",
        ),
        (
            emit("1 2048 1", INHERIT, NO_KEYS, "1 -8 2"),
            "the answer cannot be read: list pointer/length out of bounds of memory",
        ),
    ];
    are_bad_output(3, &cases);
}

/// How a job ends whose allocator does this, from `open` on or only afterwards.
fn allocated_by(realloc: &str, from_open: bool) -> Outcome {
    let late = format!(
        "(if (result i32) (global.get $opened) (then {realloc}) (else (call $room (local.get $size))))"
    );
    let guest = Guest {
        items: "(global $opened (mut i32) (i32.const 0))",
        open: "(global.set $opened (i32.const 1))",
        realloc: if from_open { realloc } else { &late },
        ..Guest::default()
    };
    Attack::transform(&transform(&guest), QUICK).run()
}

#[test]
fn g20_allocators_that_lie_fail_the_call_and_nothing_else() {
    // In `open` it is no plugin. Afterwards no record can be blamed: every call goes wrong, so that all of them fail, one by
    // one. The one that logs calls the host from where no call may leave.
    for (realloc, opening, kind, words) in [
        (
            "(i32.const -65536)",
            "the answer cannot be read: realloc return: beyond end of memory",
            "bad-output",
            "the answer cannot be read: realloc return: beyond end of memory",
        ),
        (
            "(i32.const -1)",
            "the answer cannot be read: realloc return: beyond end of memory",
            "bad-output",
            "the answer cannot be read: realloc return: result not aligned",
        ),
        (
            "(call $log (i32.const 2) (i32.const 16) (i32.const 6)) (call $room (local.get $size))",
            "wasm trap: cannot leave component instance",
            "trap",
            "wasm trap: cannot leave component instance",
        ),
        (
            "unreachable",
            "the guest gave up (unreachable instruction)",
            "trap",
            "the guest gave up (unreachable instruction)",
        ),
        (
            "(loop $l (br $l)) unreachable",
            "the call took more than 50 ms of CPU time",
            "deadline",
            "the call took more than 20 ms of CPU time",
        ),
    ] {
        let said = refused(allocated_by(realloc, true));
        let expected = format!("mine.attack cannot be opened: attack: open: {opening}");
        assert_eq!(said, expected, "{realloc}");
        all_fail(&allocated_by(realloc, false), &format!("{kind}: {words}"));
    }
    // `open` is given bytes, which lie anywhere; a batch has numbers, which do not.
    for realloc in [
        "(i32.add (call $room (local.get $size)) (i32.const 1))",
        "(i32.const 65535)",
    ] {
        let words = "bad-output: the answer cannot be read: realloc return: result not aligned";
        all_fail(&allocated_by(realloc, true), words);
        all_fail(&allocated_by(realloc, false), words);
    }
    // Where all lies in one place, the guest hears lies of its own making; the host has its own copy, and puts that out.
    // And memory that moves beneath the host's hands.
    for realloc in [
        "(i32.const 0)",
        "(i32.const 65536)",
        "(drop (memory.grow (i32.const 1))) (call $room (local.get $size))",
    ] {
        for from_open in [true, false] {
            let outcome = allocated_by(realloc, from_open);
            assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
            assert_eq!(outcome.out, ["a", "b", "x1", "c", "d"], "{outcome:?}");
            assert!(outcome.letters.is_empty(), "{outcome:?}");
        }
    }
}

/// Each record failed by itself, with these words.
fn all_fail(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert!(outcome.out.is_empty(), "{outcome:?}");
    let expected = ["a", "b", "x1", "c", "d"].map(|value| format!("{value} {words}"));
    assert_eq!(outcome.letters, expected, "{outcome:?}");
}
