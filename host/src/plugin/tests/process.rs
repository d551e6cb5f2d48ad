use super::*;

type State = Option<Box<[u8]>>;

fn process() -> Box<dyn Process> {
    let plugin = load(STATES);
    let descriptor = plugin.open("track", "{}").unwrap();
    plugin.process("track", "{}", &descriptor, tag()).unwrap()
}

fn state(n: u8) -> State {
    Some(Box::from([n]))
}

fn run(all: &[&str], groups: &[u32], states: &[State], fired: &[FiredTimer]) -> Processed {
    let mut process = process();
    let mut batch = values(all);
    assert!(process.prepare(&mut batch).unwrap().is_empty());
    let rows: Vec<u32> = (0..all.len() as u32).collect();
    let keys = BinaryArray::from_iter_values((0..states.len()).map(|i| format!("key{i}")));
    process
        .process(&batch, &rows, groups, &keys, states, fired)
        .unwrap()
}

#[test]
fn states_and_timers_change_by_key() {
    let done = run(
        &["a", "b", "c"],
        &[0, 1, 0],
        &[None, state(2), state(7)],
        &[],
    );
    assert!(done.rejected.is_empty());
    // The third record of a key deletes its state; a key without records keeps its own.
    assert_eq!(done.states, [state(2), None, state(7)]);
    let set = |group| TimerOp {
        group,
        domain: TimeDomain::Event,
        time: 1000,
        set: true,
    };
    assert_eq!(done.timers, [set(0), set(1), set(0)]);
}

#[test]
fn fired_timers_put_out_with_their_key_and_time() {
    let fired = [
        FiredTimer {
            group: 1,
            domain: TimeDomain::Event,
            time: 77,
        },
        FiredTimer {
            group: 0,
            domain: TimeDomain::Processing,
            time: 78,
        },
    ];
    let done = run(&["a"], &[0], &[None, None], &fired);
    let (batch, sources) = &done.ports[0];
    assert_eq!(sources, &[1, 2]);
    assert_eq!(
        (texts(batch), keys(batch)),
        (
            vec!["fired".into(), "fired".into()],
            vec!["key1".into(), "key0".into()]
        )
    );
    assert_eq!(batch.timestamps.as_ref().unwrap().values(), &[77, 78]);
}

#[test]
fn a_failing_record_changes_nothing() {
    let done = run(&["a", "t", "b", "r"], &[0, 0, 0, 0], &[state(1)], &[]);
    assert_eq!(
        words(&done.rejected),
        [
            "1 trap: the guest gave up (unreachable instruction)",
            "3 rejected: not wanted"
        ]
    );
    assert_eq!((done.states, done.timers.len()), (vec![state(1)], 0));
}

#[test]
fn a_function_that_fails_on_one_record_after_the_other_gets_no_more() {
    let limits = Limits {
        failures_in_a_row_max: 2,
        ..Limits::default()
    };
    let plugin = load_with(STATES, limits);
    let descriptor = plugin.open("track", "{}").unwrap();
    let mut process = plugin.process("track", "{}", &descriptor, tag()).unwrap();
    let keys = BinaryArray::from_iter_values(["key"]);
    let mut one = |value: &str| {
        let mut batch = values(&[value]);
        process.prepare(&mut batch).unwrap();
        process.process(&batch, &[0], &[0], &keys, &[None], &[])
    };
    // One that works in between starts the count anew.
    for value in ["t", "t", "a", "t", "t"] {
        assert!(one(value).is_ok(), "{value}");
    }
    let fault = one("t").unwrap_err();
    assert_eq!(fault.kind, RejectKind::Quarantined);
    assert_eq!(
        fault.message,
        "step step, function test.track (process.process): QUARANTINED: 3 records in a row failed, the last by trap; none was tried after it"
    );
}
