//! Hostile code with keyed state and timers.

use std::fs;

use crate::guests::TRAP;
use crate::host::{Attack, Ending, Watch, shared_engine};
use crate::wat::{Guest, INHERIT, NO_KEYS, NO_TIMES, body, emit, process};

fn line(value: &str, n: u32) -> String {
    format!("{{\"v\":\"{value}\",\"k\":\"k{n}\",\"t\":{n}}}\n")
}

/// Seven keys, the fourth of which traps in the midst of the others' states and timers; `between`; then each is asked what
/// it has.
fn seven_keys(between: &str) -> String {
    let put = (0..7).map(|n| line(if n == 3 { "trap" } else { "put" }, n));
    let ask = (0..7).map(|n| line("ask", n));
    put.chain([between.to_owned()]).chain(ask).collect()
}

/// By the letter after `{"v":"`: `p` sets a state and a timer for the end, `t` does so too and puts itself out, and then
/// traps; `a` puts itself out if there is a state. Timers that fire put out how many.
fn keeper() -> String {
    let own = "(i32.store (i32.const 2048) (local.get $i))".to_owned()
        + &emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES);
    let group = "(i32.load (i32.add (i32.load offset=64 (local.get $p)) (i32.shl (local.get $i) (i32.const 2))))";
    // The answer's states are one byte each: as many as there are groups, whether present or not.
    let put = format!(
        "(i32.store8 (i32.add (i32.load (i32.const 516)) {group}) (i32.const 1))
         (call $set-timer {group} (i32.const 0) (i64.const 1000000))"
    );
    let row = format!(
        "(local.set $m (i32.load8_u offset=6 (local.get $at)))
         (if (i32.eq (local.get $m) (i32.const 112)) (then {put}))
         (if (i32.eq (local.get $m) (i32.const 116)) (then {put} {own} unreachable))
         (if (i32.and (i32.eq (local.get $m) (i32.const 97))
                      (i32.load8_u (i32.add (i32.load offset=88 (local.get $p)) {group}))) (then {own}))"
    );
    process(&Guest {
        call: &fired(),
        body: &row,
        first: b'{',
        ..Guest::default()
    })
}

const KEYED: &str = "name = \"keyed\"\nparallelism = 1\nbatch = { records = BATCH }\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\nformat = \"json\"\nkey = \"/k\"\ntimestamp = \"/t\"\nevent-time = { max-disorder = \"0s\" }\n\
    [plugin.mine]\npath = \"mine.wasm\"\n[step.kept]\nfrom = \"in\"\nprocess = \"mine.attack\"\nttl = \"1d\"\n\
    [sink.out]\nfrom = \"kept\"\ntype = \"console\"\nformat = \"value\"\n";
const LETTERS: &str =
    "[sink.letters]\nfrom = \"kept.errors\"\ntype = \"console\"\nformat = \"json\"\n";

/// What they have but for the fourth, and all their timers, which fire in one call at the end.
fn six_of_seven() -> Vec<String> {
    let ask = [0, 1, 2, 4, 5, 6].map(|n| line("ask", n).trim().to_owned());
    ask.into_iter().chain(["6".into()]).collect()
}

#[test]
fn g28_a_trap_after_timers_and_states_leaves_none_of_them() {
    // However the records are cut into calls, and by a new instance for each of them, it is the same.
    for (records, paranoid) in [(1, false), (3, false), (7, false), (14, false), (14, true)] {
        let job = KEYED.replace("BATCH", &records.to_string()) + LETTERS;
        let mut attack = Attack::job(&job)
            .file("mine.wasm", keeper().as_bytes())
            .input(&seven_keys(""));
        attack.paranoid = paranoid;
        let outcome = attack.run();
        assert_eq!(outcome.ending, Ending::Finished, "{records}: {outcome:?}");
        assert_eq!(outcome.out, six_of_seven(), "{records}: {outcome:?}");
        let letter = format!("{} {TRAP}", line("trap", 3).trim());
        assert_eq!(outcome.letters, [letter], "{records}");
    }
}

#[test]
fn g28_what_a_trap_undid_is_in_no_checkpoint_either() {
    let watch = Watch::begin();
    let kept = "[checkpoint]\npath = \"checkpoints\"\nevery = \"10ms\"\n[source.in]";
    let job = KEYED.replace("BATCH", "25").replace("[source.in]", kept) + LETTERS;
    // So many that there are some checkpoints behind the trap, however fast the machine; then one that ends the job.
    let idle = line("idle", 0).repeat(300_000);
    let attack = Attack::job(&job)
        .file("mine.wasm", keeper().as_bytes())
        .input(&seven_keys(&format!("{idle}no json\n")));
    let folder = attack.folder();
    let run = || attack.run_in(folder.path(), &shared_engine(), watch.permits());
    let first = run();
    assert!(
        matches!(first.ending, Ending::Failed(_)),
        "{:?}",
        first.ending
    );
    assert_eq!((first.out.len(), first.letters.len()), (0, 1), "{first:?}");
    fs::write(folder.path().join("in.txt"), seven_keys(&idle)).expect("a scratch file");
    let second = run();
    assert_eq!(second.ending, Ending::Finished);
    // It went on behind the trap: no letter.
    assert_eq!((second.out, second.letters), (six_of_seven(), vec![]));
    drop(folder);
    watch.expect_unharmed();
}

/// What a step does whose guest counts its timers as they fire.
fn fired() -> String {
    format!(
        "(if (i32.load offset=116 (local.get $p)) (then
           (i32.store8 (i32.const 1100) (i32.add (i32.const 48) (i32.load offset=116 (local.get $p))))
           (i32.store (i32.const 1028) (i32.const 1))
           (i32.store (i32.const 2048) (i32.load (local.get $p)))
           {}))",
        emit("1 2048 1", "1 1024 2 1100 1", NO_KEYS, NO_TIMES)
    )
}

#[test]
fn g37_g38_states_and_timers_out_of_bounds_cost_their_record() {
    // One state of all five grows: its offsets are written anew, its data lies behind.
    let offsets: String = (0..6)
        .map(|n| {
            let value = if n == 0 { 0 } else { 2_000_000 };
            format!(
                "(i32.store (i32.const {}) (i32.const {value}))",
                1024 + 4 * n
            )
        })
        .collect();
    let big = format!(
        "(drop (memory.grow (i32.const 100))) {offsets} (i32.store (i32.const 524) (i32.const 1024))
         (i32.store (i32.const 532) (i32.const 131072)) (i32.store (i32.const 536) (i32.const 2000000))"
    );
    let flood =
        "(loop $l (call $set-timer (i32.const 0) (i32.const 1) (i64.extend_i32_u (local.get $n)))
        (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $l))";
    for (case, words) in [
        (
            &*big,
            "state-limit: process.process: the state of group 0 has 2000000 bytes, more than the plugin's limit state \
             (1048576): keep less of a key, or raise state; the key starts with \"x1\"",
        ),
        (
            "(i32.store (i32.const 520) (i32.const 0))",
            "bad-output: process.process: 5 states and 0 marks for 5 groups",
        ),
        (
            "(i32.store8 (i32.load (i32.const 516)) (i32.const 7))",
            "bad-output: process.process: states: present: row 0: byte 7 is neither 0 nor 1",
        ),
        (
            "(call $set-timer (i32.const -1) (i32.const 0) (i64.const 5))",
            "bad-output: set-timer: there is no group 4294967295 (there are 5)",
        ),
        (
            "(call $set-timer (i32.const 0) (i32.const 9) (i64.const 5))",
            "bad-output: the answer cannot be read: unexpected discriminant: 9",
        ),
        (
            flood,
            "timer-limit: set-timer: more than 1000 timers set or deleted by one call",
        ),
    ] {
        let settings = "record-deadline = \"3s\"\ncall-deadline = \"5s\"\ntimers = 1000";
        let guest = Guest {
            call: &fired(),
            ..body(case)
        };
        let outcome = Attack::process(&process(&guest), settings).run();
        assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
        assert_eq!(outcome.letters, [format!("x1 {words}")]);
        // And no timer of that call is left.
        assert!(outcome.out.is_empty(), "{outcome:?}");
    }
}

#[test]
fn g38_timers_at_the_ends_of_time_fire_once_or_go_with_their_key() {
    const BEGINNING: [&str; 3] = ["-9223372036854775808", "-9223372036854775807", "-1"];
    const END: [&str; 2] = ["9223372036854775806", "9223372036854775807"];
    // A key's state and timers go when its ttl is over, on the clock of the step: before the last timers of that clock.
    for (clock, step, goes) in [
        (0, "event", true),
        (0, "processing", false),
        (1, "event", true),
        (1, "processing", true),
    ] {
        for time in BEGINNING.iter().chain(&END) {
            let set =
                format!("(call $set-timer (i32.const 0) (i32.const {clock}) (i64.const {time}))");
            let guest = Guest {
                call: &fired(),
                first: if step == "event" { b'{' } else { b'x' },
                ..body(&set)
            };
            let attack = match step {
                "event" => Attack::job(&(KEYED.replace("BATCH", "10") + LETTERS))
                    .file("mine.wasm", process(&guest).as_bytes())
                    .input(&line("x", 7)),
                _ => Attack::process(&process(&guest), ""),
            };
            let outcome = attack.run();
            let fires = usize::from(!goes || BEGINNING.contains(time));
            assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
            assert_eq!(outcome.out, vec!["1"; fires], "{clock} {step} {time}");
            assert!(outcome.letters.is_empty(), "{outcome:?}");
        }
    }
}
