//! Every limit of the table, overrun: a setting without a case here fails the test.

use wasmill::plugin::limits::SETTINGS;

use crate::host::{Attack, Ending, Outcome};
use crate::wat::{Guest, INHERIT, NO_KEYS, NO_TIMES, emit, process, transform};

/// How an overrun shows.
enum Past {
    /// The record is a dead letter that begins so, and the others pass.
    Letter(&'static str),
    /// So, the end of the letter's log.
    Log(&'static str),
    /// The job ends, saying so.
    Fails(&'static str),
    /// The job is not started, saying so.
    Refused(&'static str),
    /// All pass: what the guest wanted it did not get.
    Nothing,
}

struct Case {
    key: &'static str,
    /// Lines of `[plugin.mine]`.
    settings: &'static str,
    body: String,
    past: Past,
}

const LOOP: &str = "(loop $l (br $l))";
/// One state of all five grows.
const STATE: &str = "(i32.store (i32.const 1024) (i32.const 0)) (i32.store (i32.const 1028) (i32.const 2000)) (i32.store (i32.const 1032) (i32.const 2000)) (i32.store (i32.const 1036) (i32.const 2000)) (i32.store (i32.const 1040) (i32.const 2000)) (i32.store (i32.const 1044) (i32.const 2000)) (i32.store (i32.const 524) (i32.const 1024)) (i32.store (i32.const 532) (i32.const 2048)) (i32.store (i32.const 536) (i32.const 2000))";

/// So often.
fn times(n: u32, body: &str) -> String {
    format!(
        "(loop $l {body} (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {n}))))"
    )
}

fn cases() -> Vec<Case> {
    let case = |key, settings, body: String, past| Case {
        key,
        settings,
        body,
        past,
    };
    let log = "(call $log (i32.const 2) (i32.const 16) (i32.const 6))";
    let again = format!(
        "(i32.store (i32.const 2048) (local.get $i)) {}",
        emit("1 2048 1", INHERIT, NO_KEYS, NO_TIMES)
    );
    let long = "(memory.fill (i32.const 1024) (i32.const 97) (i32.const 60))";
    let bytes = format!(
        "(i32.store (i32.const 1028) (i32.const 2000)) (i32.store (i32.const 2048) (local.get $i)) {}",
        emit("1 2048 1", "1 1024 2 4096 2000", NO_KEYS, NO_TIMES)
    );
    let name = "(i32.store (i32.const 1024) (i32.add (i32.const 0x61616161) (local.get $n))) (drop (call $metric (i32.const 1024) (i32.const 4) (i32.const 0)))";
    let timer = "(call $set-timer (i32.const 0) (i32.const 1) (i64.extend_i32_u (local.get $n)))";
    vec![
        case(
            "memory",
            "memory = \"1MiB\"",
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable".into(),
            Past::Letter("memory: the guest wanted 1114112 bytes of memory, the limit is 1048576"),
        ),
        case(
            "table-elements",
            "table-elements = 10",
            "(if (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1)) (then unreachable))".into(),
            Past::Nothing,
        ),
        case(
            "call-deadline",
            "call-deadline = \"7ms\"",
            LOOP.into(),
            Past::Letter("deadline: the call took more than 7 ms of CPU time"),
        ),
        case(
            "record-deadline",
            "record-deadline = \"5ms\"",
            LOOP.into(),
            Past::Letter("deadline: the call took more than 5 ms of CPU time"),
        ),
        case(
            "wall-deadline",
            "wall-deadline = \"100ms\"\ncall-deadline = \"10s\"",
            LOOP.into(),
            Past::Fails("the call was not done after 100 ms"),
        ),
        case(
            "search-deadline",
            "search-deadline = \"100ms\"\ncall-deadline = \"150ms\"\nrecord-deadline = \"150ms\"",
            LOOP.into(),
            Past::Fails("the search for failing records took more than 100 ms of CPU time in one batch"),
        ),
        case(
            "open-deadline",
            "open-deadline = \"10ms\"",
            String::new(),
            Past::Refused("the call took more than 10 ms of CPU time"),
        ),
        case(
            "output",
            "output = \"1KiB\"",
            bytes,
            Past::Letter("output-limit: emit: more than 1024 bytes put out by one call"),
        ),
        case(
            "output-records",
            "output-records = 10",
            times(20, &again),
            Past::Letter("output-limit: "),
        ),
        case(
            "fan-out",
            "fan-out = 10",
            times(20, &again),
            Past::Letter("output-limit: "),
        ),
        case(
            "state",
            "state = \"1KiB\"",
            STATE.into(),
            Past::Letter("state-limit: "),
        ),
        case(
            "timers",
            "timers = 10",
            times(20, timer),
            Past::Letter("timer-limit: "),
        ),
        case(
            "metrics",
            "metrics = 2",
            times(3, name),
            Past::Letter("metric-limit: "),
        ),
        case(
            "log-line",
            "log-line = \"16B\"",
            format!("{long} (call $log (i32.const 2) (i32.const 1024) (i32.const 60)) unreachable"),
            Past::Log("info: aaaaaaaaaaaaaaaa"),
        ),
        case(
            "log-lines",
            "log-lines = 2",
            format!("{} unreachable", times(5, log)),
            Past::Log("(3 lines were too many for the log)"),
        ),
        case(
            "log",
            "log = \"32B\"",
            format!("{} unreachable", times(20, log)),
            Past::Log("(15 lines were too many for the log)"),
        ),
        case(
            "message",
            "message = \"16B\"",
            format!("{long} (call $reject (local.get $i) (i32.const 1024) (i32.const 60))"),
            Past::Letter("rejected: aaaaaaaaaaaaaaaa"),
        ),
        case(
            "failures-in-a-row",
            "failures-in-a-row = 3",
            "unreachable".into(),
            Past::Fails("QUARANTINED: 4 records in a row failed, the last by trap"),
        ),
    ]
}

fn run(case: &Case) -> Outcome {
    let guest = Guest {
        items: "(table $t 1 funcref)",
        body: &case.body,
        open: if case.key == "open-deadline" {
            LOOP
        } else {
            ""
        },
        ..Guest::default()
    };
    let attack = match case.key {
        "state" | "timers" => Attack::process(&process(&guest), case.settings),
        _ => Attack::transform(&transform(&guest), case.settings),
    };
    match case.key {
        "failures-in-a-row" | "search-deadline" => attack.input("x\nx\nx\nx\nx\nx\n").run(),
        _ => attack.run(),
    }
}

#[test]
fn every_limit_has_an_overrun_that_ends_as_the_table_says() {
    let cases = cases();
    for setting in SETTINGS {
        let of = cases.iter().find(|c| c.key == setting.key);
        let case = of.unwrap_or_else(|| panic!("no test overruns {}", setting.key));
        let outcome = run(case);
        let letters = &outcome.letters;
        let fine = match (&case.past, &outcome.ending) {
            (Past::Letter(start), Ending::Finished) => {
                letters.len() == 1 && letters[0].starts_with(&format!("x1 {start}"))
            }
            (Past::Log(end), Ending::Finished) => {
                letters.len() == 1 && outcome.log.last().is_some_and(|l| l == end)
            }
            (Past::Fails(part), Ending::Failed(words)) => words.contains(part),
            (Past::Refused(part), Ending::Refused(words)) => words.contains(part),
            (Past::Nothing, Ending::Finished) => letters.is_empty() && outcome.out.len() == 5,
            _ => false,
        };
        assert!(fine, "{}: {outcome:?}", setting.key);
    }
    assert_eq!(
        cases.len(),
        SETTINGS.len(),
        "a case of a limit that is gone"
    );
}
