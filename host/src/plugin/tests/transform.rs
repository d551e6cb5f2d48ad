use super::*;

fn run(wat: &str, function: &str, input: &[&str]) -> (Vec<String>, Vec<String>) {
    run_with(load(wat), function, input)
}

fn run_with(plugin: Plugin, function: &str, input: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut transform = transform_of(&plugin, function);
    let out = transform.process(&mut records(input)).unwrap();
    if out.ports[0].len > 0 {
        assert_eq!(
            keys(&out.ports[0]).len(),
            out.ports[0].len,
            "every output has the key of its source"
        );
    }
    (texts(&out.ports[0]), words(&out.rejected))
}

/// Runs letters between good records: only the bad ones fail, with these words.
fn only(letter: &str) -> String {
    let (out, rejected) = run(
        LETTERS,
        "letters",
        &["a1", "b1", letter, "c1"].map(|v| if v.len() == 2 { "." } else { v }),
    );
    assert_eq!(out, [".", ".", "."]);
    assert_eq!(rejected.len(), 1);
    rejected[0].strip_prefix("2 ").unwrap().to_string()
}

#[test]
fn rows_pass_as_they_are() {
    let (out, rejected) = run(PLAIN, "same", &["one", "two", ""]);
    assert_eq!(
        (out, rejected),
        (vec!["one".into(), "two".into(), "".into()], vec![])
    );
}

#[test]
fn values_copied_through_the_guest_are_the_same() {
    let many: Vec<String> = (0..5_000).map(|i| format!("value {i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let plugin = load(PLAIN);
    let mut transform = transform_of(&plugin, "copied");
    for _ in 0..3 {
        let out = transform.process(&mut records(&many)).unwrap();
        assert_eq!(texts(&out.ports[0]), many);
    }
    // A slice starts past offset 0.
    let out = transform
        .process(&mut records(&many).slice(1_000, 50))
        .unwrap();
    assert_eq!(texts(&out.ports[0]), many[1_000..1_050]);
    assert_eq!(transform.stats().instances, 1);
    assert_eq!(transform.stats().records, 15_050);
}

#[test]
fn filter_keeps_rows_by_their_field() {
    let plugin = load(PLAIN);
    let mut filter = transform_of(&plugin, "above");
    let mut input = values(&[
        r#"{"ms":501}"#,
        r#"{"ms":7}"#,
        r#"{"ms":"x"}"#,
        "broken",
        r#"{"ms":900}"#,
        "{}",
    ]);
    let out = filter.process(&mut input).unwrap();
    assert_eq!(texts(&out.ports[0]), [r#"{"ms":501}"#, r#"{"ms":900}"#]);
    let rejected = words(&out.rejected);
    assert_eq!(
        out.rejected.iter().map(|r| r.row).collect::<Vec<_>>(),
        [2, 3, 5]
    );
    assert!(
        rejected.iter().all(|r| r.contains(" field: ")),
        "{rejected:?}"
    );
}

#[test]
fn a_trap_costs_its_record_only() {
    assert_eq!(
        only("t!!"),
        "trap: the guest gave up (unreachable instruction)"
    );
}

#[test]
fn an_endless_loop_costs_its_record_only() {
    assert_eq!(
        only("l!!"),
        "deadline: the call took more than 100 ms of CPU time"
    );
}

#[test]
fn a_memory_hog_costs_its_record_only() {
    assert_eq!(
        only("m!!"),
        "memory: the guest wanted 67239936 bytes of memory, the limit is 67108864"
    );
}

#[test]
fn a_panic_is_told_with_its_text() {
    assert_eq!(only("p!!"), "panic: value is not a number");
}

#[test]
fn endless_recursion_costs_its_record_only() {
    assert_eq!(
        only("d!!"),
        "stack: the guest's stack overflowed (endless recursion?)"
    );
}

#[test]
fn wrong_offsets_are_named() {
    assert_eq!(
        only("o!!"),
        "bad-output: emit: values: row 1: its end, offset 2, lies before its start, 3"
    );
    assert_eq!(
        only("e!!"),
        "bad-output: emit: values: ends at offset 9, but has 3 bytes of data"
    );
}

#[test]
fn wrong_counts_are_named() {
    assert_eq!(
        only("c!!"),
        "bad-output: emit: values: has 1 entries for 2 rows"
    );
}

#[test]
fn lying_row_numbers_are_named() {
    assert_eq!(
        only("s!!"),
        "bad-output: emit: source: entry 0: there is no input row 70000 (there are 1)"
    );
    assert_eq!(
        only("q!!"),
        "bad-output: reject: there is no row 70000 (there are 1)"
    );
}

#[test]
fn a_list_outside_of_the_memory_is_bad_output() {
    assert_eq!(
        only("a!!"),
        "bad-output: the answer cannot be read: list pointer/length out of bounds of memory"
    );
}

#[test]
fn oversized_output_has_a_kind_of_its_own() {
    assert_eq!(
        only("b!!"),
        "output-limit: emit: more than 33554432 bytes put out by one call"
    );
}

#[test]
fn undeclared_keys_are_bad_output() {
    assert_eq!(
        only("k!!"),
        "bad-output: emit: keys from a function whose descriptor does not say sets-keys"
    );
}

#[test]
fn a_reject_is_told_with_its_reason() {
    assert_eq!(only("r!!"), "rejected: not wanted");
    assert_eq!(only("f!!"), "rejected: not wanted");
    assert_eq!(only("n!!"), "rejected: not wanted");
}

#[test]
fn a_flood_of_logs_is_bounded_and_its_end_is_shown() {
    let lines = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = lines.clone();
    let options = InstanceOptions {
        log: Some(Arc::new(move |line| {
            assert_eq!(
                (line.function, line.level, line.text),
                ("letters", "info", "still on")
            );
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })),
        ..Default::default()
    };
    let plugin = load(LETTERS).with_options(options);
    let out = transform_of(&plugin, "letters")
        .process(&mut records(&["g"]))
        .unwrap();
    assert_eq!(
        words(&out.rejected),
        ["0 trap: the guest gave up (unreachable instruction)"]
    );
    assert_eq!(lines.load(std::sync::atomic::Ordering::Relaxed), 100);
    let mut last = vec!["info: still on".to_string(); 10];
    last.push("(99900 lines were too many for the log)".into());
    assert_eq!(out.rejected[0].log, last);
}

#[test]
fn ports_get_what_is_emitted_to_them() {
    let plugin = load(LETTERS);
    let out = transform_of(&plugin, "letters")
        .process(&mut records(&[".", "h1", ".", "h2", "t"]))
        .unwrap();
    assert_eq!(texts(&out.ports[0]), [".", "h1", ".", "h2"]);
    assert_eq!(texts(&out.ports[1]), ["h1", "h2"]);
    assert_eq!(keys(&out.ports[1]), ["k1", "k3"]);
    assert_eq!(out.ports[1].timestamps.as_ref().unwrap().values(), &[1, 3]);
}

#[test]
fn all_failing_rows_are_found_and_all_others_pass_once_in_order() {
    // Deterministic mix over several pieces of 64, with hints and without.
    let letters = ["t", "p", "o", "r", "n", "f", "s"];
    let input: Vec<String> = (0..1_000)
        .map(|i: usize| {
            if i % 37 == 5 {
                format!("{}{i}", letters[i / 37 % 7])
            } else {
                format!(".{i}")
            }
        })
        .collect();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let (out, rejected) = run(LETTERS, "letters", &input);
    let good: Vec<&str> = input
        .iter()
        .copied()
        .filter(|v| v.starts_with('.'))
        .collect();
    assert_eq!(out, good);
    let rows: Vec<String> = rejected
        .iter()
        .map(|r| r.split(' ').next().unwrap().to_string())
        .collect();
    let bad: Vec<String> = (0..1_000)
        .filter(|i| i % 37 == 5)
        .map(|i: usize| i.to_string())
        .collect();
    assert_eq!(rows, bad);
}

#[test]
fn a_batch_in_which_everything_fails_ends() {
    let (out, rejected) = run(LETTERS, "letters", &["t"; 300]);
    assert_eq!((out.len(), rejected.len()), (0, 300));
    let (out, rejected) = run(LETTERS, "letters", &["p"; 300]);
    assert_eq!((out.len(), rejected.len()), (0, 300));
}

#[test]
fn fail_fast_stops_at_the_first() {
    let options = InstanceOptions {
        fail_fast: true,
        ..Default::default()
    };
    let (_, rejected) = run_with(
        load(LETTERS).with_options(options),
        "letters",
        &[".", "l", "l", "l", "l", "l"],
    );
    assert_eq!(
        rejected,
        ["1 deadline: the call took more than 100 ms of CPU time"]
    );
}

#[test]
fn the_search_ends_when_its_time_is_over() {
    let limits = Limits {
        search_cpu: std::time::Duration::from_millis(250),
        ..Limits::default()
    };
    let plugin = load_with(LETTERS, limits);
    let fault = transform_of(&plugin, "letters")
        .process(&mut records(&["l"; 50]))
        .unwrap_err();
    assert_eq!(fault.kind, RejectKind::Deadline);
    assert_eq!(
        fault.message,
        "step step, function test.letters (transform.process): the search for failing records took more than 250 ms of CPU time in one batch"
    );
}

#[test]
fn paranoid_instances_give_the_same() {
    let input: Vec<String> = (0..200)
        .map(|i| format!("{}{i}", [".", ".", "r", "t", "p", "h"][i % 6]))
        .collect();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let paranoid = InstanceOptions {
        paranoid: true,
        ..Default::default()
    };
    let plugin = load(LETTERS);
    let calm = run_with(plugin.clone(), "letters", &input);
    assert_eq!(
        run_with(plugin.with_options(paranoid), "letters", &input),
        calm
    );
}

#[test]
fn typed_fields_come_in_and_go_out() {
    let plugin = load(TYPED);
    let mut transform = transform_of(&plugin, "typed");
    let mut input = records(&[
        r#"{"name":"a","ms":1}"#,
        r#"{"name":"ü","ms":21}"#,
        r#"{"name":"b","ms":-1}"#,
        r#"{"name":"c","ms":-2}"#,
        r#"{"name":"d","ms":-3}"#,
        r#"{"name":"e","ms":4}"#,
        r#"{"name":"f"}"#,
        r#"{"name":null,"ms":5}"#,
    ]);
    let out = transform.process(&mut input).unwrap();
    assert_eq!(
        texts(&out.ports[0]),
        [
            r#"{"name":"a","ms2":2,"note":"xx","flag":true,"raw":77}"#,
            r#"{"name":"ü","ms2":42,"note":"xx","flag":true,"raw":77}"#,
            r#"{"name":"e","ms2":8,"note":"xx","flag":true,"raw":77}"#,
            r#"{"name":null,"ms2":10,"note":"xx","flag":true,"raw":77}"#,
        ]
    );
    assert_eq!(keys(&out.ports[0]), ["k0", "k1", "k5", "k7"]);
    let rejected = words(&out.rejected);
    assert_eq!(
        rejected[0],
        "2 bad-output: emit: field \"note\" (text): row 0: not UTF-8 at byte 0"
    );
    assert_eq!(
        rejected[1],
        "3 bad-output: emit: field \"flag\" (bools): row 0: byte 2 is neither 0 nor 1"
    );
    assert!(
        rejected[2].starts_with("4 bad-output: emit: field \"raw\" (json): row 0: not JSON: "),
        "{}",
        rejected[2]
    );
    assert!(
        rejected[3].starts_with("6 field: field \"/ms\" (ints): "),
        "{}",
        rejected[3]
    );
}

#[test]
fn input_field_that_is_not_there_is_bad_output() {
    let plugin = load(TYPED);
    let out = transform_of(&plugin, "typed")
        .process(&mut records(&[r#"{"name":"a","ms":-4}"#]))
        .unwrap();
    assert_eq!(
        words(&out.rejected),
        ["0 bad-output: emit: field \"name\" (text): input(9), but the function reads 2 fields"]
    );
}

#[test]
fn an_instance_past_its_soft_memory_limit_is_replaced_between_batches() {
    let limits = Limits {
        memory_bytes_soft: 3 * 65536,
        ..Limits::default()
    };
    let plugin = load_with(PLAIN, limits);
    let mut transform = transform_of(&plugin, "copied");
    let big = "x".repeat(100_000);
    for _ in 0..3 {
        assert_eq!(
            transform.process(&mut values(&[&big, &big])).unwrap().ports[0].len,
            2
        );
    }
    assert_eq!(transform.stats().instances, 3);
    assert!(transform.stats().memory_bytes_peak > 400_000);
}

#[test]
fn calls_give_their_permit_back_every_slice() {
    let yields = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = yields.clone();
    let hook: YieldHook = Arc::new(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let plugin = load(LETTERS).with_options(InstanceOptions {
        on_yield: Some(hook),
        ..Default::default()
    });
    transform_of(&plugin, "letters")
        .process(&mut records(&["l"]))
        .unwrap();
    let yields = yields.load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        (5..=20).contains(&yields),
        "100 ms in slices of 5 ms: {yields}"
    );
}

#[test]
fn without_interruption_everything_else_is_the_same() {
    let limits = Limits {
        interruptible: false,
        ..Limits::default()
    };
    let (out, rejected) = run_with(load_with(LETTERS, limits), "letters", &[".", "t", "."]);
    assert_eq!((out.len(), rejected.len()), (2, 1));
}

#[test]
fn a_function_that_keeps_failing_waits_ever_longer_and_not_after_one_that_works() {
    let pauses = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = pauses.clone();
    let hook: PauseHook = Arc::new(move |time| kept.lock().unwrap().push(time.as_millis()));
    let plugin = load(LETTERS).with_options(InstanceOptions {
        on_pause: Some(hook),
        ..Default::default()
    });
    let mut function = transform_of(&plugin, "letters");
    let mut run = |letters: &[&str]| {
        function.process(&mut records(letters)).unwrap();
        std::mem::take(&mut *pauses.lock().unwrap())
    };
    let failing = vec!["t"; 300];
    assert_eq!(run(&failing), [10, 20, 40]);
    assert_eq!(run(&failing), [80]);
    assert_eq!(run(&["."]), [0; 0]);
    assert_eq!(run(&failing), [10, 20, 40]);
}
