//! What it costs that a guest can be stopped: the same batches through the same function, compiled with the checks that
//! let the host end a call, make it give way and count its time, and without them, in turns. What comes back is checked in
//! both: nothing turns that off. The figures in docs/benchmarks.md come from the ignored test (first `cargo xtask plugins`):
//! `cargo test --release --workspace --test hostile limit_cost -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::BinaryArray;
use wasmill::plugin::{
    Engine, InstanceOptions, InstanceTag, Limits, LoadOptions, Plugin, YieldHook,
};
use wasmill::record::{Batch, Blobs, Form, Value};

use crate::host::{alone, shared_engine};
use crate::wat::{Guest, transform};

/// Records of a batch: what a job's batches have at most, unless it says otherwise.
const ROWS: usize = 4_096;

/// Groups of a batch, as a keyed step has them.
const GROUPS: usize = 64;

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn load(engine: &Engine, bytes: &[u8], interruptible: bool) -> Plugin {
    let options = LoadOptions {
        limits: Limits {
            interruptible,
            ..Limits::default()
        },
        ..LoadOptions::default()
    };
    let plugin = engine.load(bytes, &options).expect("a plugin");
    let give_way: YieldHook = Arc::new(|| {});
    plugin.with_options(InstanceOptions {
        on_yield: Some(give_way),
        ..InstanceOptions::default()
    })
}

fn tag() -> InstanceTag {
    InstanceTag {
        job: "job".into(),
        step: "step".into(),
        partition: 0,
    }
}

/// One batch through a transform or filter, again and again.
fn mapped(plugin: &Plugin, function: &str, config: &str, mut batch: Batch) -> Box<dyn FnMut()> {
    let descriptor = plugin.open(function, config).expect("it opens");
    let mut function = plugin
        .transform(function, config, &descriptor, tag())
        .expect("a transform");
    Box::new(move || {
        let done = function.process(&mut batch).expect("it works");
        assert!(done.rejected.is_empty());
        black_box(done);
    })
}

/// One batch added to accumulators of so many groups, again and again.
fn added(plugin: &Plugin, function: &str, config: &str, mut batch: Batch) -> Box<dyn FnMut()> {
    let descriptor = plugin.open(function, config).expect("it opens");
    let mut function = plugin
        .aggregate(function, config, &descriptor, tag())
        .expect("an aggregate");
    let init = function.init().expect("an accumulator");
    let mut accs = Blobs::with_capacity(GROUPS, GROUPS * init.len());
    (0..GROUPS).for_each(|_| accs.push(&init));
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    // Spread as hashes spread them.
    let groups: Vec<u32> = rows
        .iter()
        .map(|row| row.wrapping_mul(2_654_435_761) >> 26)
        .collect();
    let rejected = function.prepare(&mut batch).expect("it works");
    assert!(rejected.is_empty());
    Box::new(move || {
        let done = function.add(&batch, &rows, &groups, &accs);
        black_box(done.expect("it works"));
    })
}

/// Median of what was measured.
fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Medians over pairs of runs, one right after the other: what the machine does besides comes to both.
fn compare(what: &str, [mut with, mut without]: [Box<dyn FnMut()>; 2]) {
    let time = |run: &mut Box<dyn FnMut()>| {
        let before = thread_cpu_time();
        (0..20).for_each(|_| run());
        (thread_cpu_time() - before).as_secs_f64() * 1e6 / 20.0
    };
    let (mut limited, mut free, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..600 {
        let (a, b);
        // What runs second finds the caches as the first left them.
        if round % 2 == 0 {
            a = time(&mut with);
            b = time(&mut without);
        } else {
            b = time(&mut without);
            a = time(&mut with);
        }
        limited.push(a);
        free.push(b);
        ratios.push(a / b);
    }
    println!(
        "{what}: a batch of {ROWS} takes {:.2} us with limits, {:.2} us without: {:+.1} % (at best {:.2} and {:.2})",
        median(&mut limited),
        median(&mut free),
        (median(&mut ratios) - 1.0) * 100.0,
        limited[0],
        free[0],
    );
}

#[test]
#[ignore = "measures"]
fn what_limits_cost() {
    let _alone = alone();
    let engine = shared_engine();
    let built = |name: &str| {
        let path = format!("{}/../target/plugins/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}: first `cargo xtask plugins`"))
    };
    let batch = |value: &dyn Fn(usize) -> Vec<u8>| {
        let values = BinaryArray::from_iter_values((0..ROWS).map(value));
        Batch::of(ROWS, Value::new(Form::Bytes(values)))
    };
    let text = batch(&|_| vec![b'.'; 100]);
    // As a producer writes them: all lengths, most of them positive.
    let numbers = batch(&|row| ((row * 7_919) % 100_003).to_string().into_bytes());
    let view = batch(&|row| {
        let (user, ms) = ((row * 31) % 977, (row * 7_919) % 1_009);
        format!(r#"{{"user":"u{user}","page":"/shop/item/{row}","ms":{ms}}}"#).into_bytes()
    });
    let cast = built("cast.wasm");
    let std = include_bytes!("../../host/assets/std.wasm");
    let plain = include_bytes!("../fixtures/plugins/plain.wat");
    let frame = transform(&Guest::default());
    type Job<'a> = (&'a str, &'a [u8], &'a str, &'a str, &'a Batch, bool);
    let jobs: [Job<'_>; 9] = [
        (
            "SDK #[transform] (cast.to-integer)",
            &cast,
            "to-integer",
            "{}",
            &numbers,
            false,
        ),
        (
            "SDK #[filter] (cast.at-least)",
            &cast,
            "at-least",
            r#"{"least":500}"#,
            &numbers,
            false,
        ),
        (
            "SDK #[aggregate] add (cast.tally)",
            &cast,
            "tally",
            "{}",
            &numbers,
            true,
        ),
        (
            "std.select",
            std,
            "select",
            r#"{"fields":["/user","/ms"]}"#,
            &view,
            false,
        ),
        (
            "std.filter",
            std,
            "filter",
            r#"{"field":"/ms","op":">","value":500}"#,
            &view,
            false,
        ),
        ("std.sum add", std, "sum", r#"{"field":"/ms"}"#, &view, true),
        ("rows passed on", plain, "same", "{}", &text, false),
        (
            "100 B a row copied through the guest",
            plain,
            "copied",
            "{}",
            &text,
            false,
        ),
        (
            "a loop over rows that does next to nothing",
            frame.as_bytes(),
            "attack",
            "{}",
            &text,
            false,
        ),
    ];
    for (what, bytes, function, config, batch, adds) in jobs {
        compare(
            what,
            [true, false].map(|interruptible| {
                let plugin = load(&engine, bytes, interruptible);
                if adds {
                    added(&plugin, function, config, batch.clone())
                } else {
                    mapped(&plugin, function, config, batch.clone())
                }
            }),
        );
    }
}
