//! What faults cost, and compilers in a child; `limit_cost` has what limits do. The figures in docs/benchmarks.md come from the ignored test:
//! `cargo test --release --workspace --test hostile cost -- --ignored --nocapture`.

use std::time::Duration;

use wasmill::plugin::{CacheDir, Compiler, Engine, EngineOptions, LoadOptions};
use wasmill::runtime::permits::Permits;
use wasmill::time::Stopwatch;

use crate::host::{self, Attack, Ending, alone, shared_engine};
use crate::wat::{Guest, body, transform};

/// Names the row, as an SDK's panic hook does, and gives up.
const PANIC: &str = "(call $failing-row (local.get $i) (i32.const 16) (i32.const 6)) unreachable";

/// Lines of which every n-th begins with `x`.
fn lines(count: usize, every: usize) -> String {
    let line = |n: usize| if n % every == every - 1 { 'x' } else { '.' };
    (0..count)
        .map(|n| {
            format!(
                "{} record number {n} with some more text behind it\n",
                line(n)
            )
        })
        .collect()
}

#[test]
fn ten_thousand_traps_leave_memory_where_it_was() {
    let outcome = Attack::transform(&transform(&body(PANIC)), "")
        .input(&lines(20_000, 2))
        .run();
    assert_eq!(outcome.ending, Ending::Finished);
    assert_eq!((outcome.out.len(), outcome.letters.len()), (10_000, 10_000));
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The least of some runs, CPU time of this process.
fn least(runs: usize, mut run: impl FnMut()) -> Duration {
    let one = |_| {
        let before = cpu_time();
        run();
        cpu_time() - before
    };
    (0..runs).map(one).min().unwrap_or_default()
}

#[test]
#[ignore = "measures"]
fn what_faults_and_compilers_cost() {
    let _alone = alone();
    let count = 400_000;
    let wat = transform(&body(PANIC));
    for (what, every) in [
        ("no record panics", usize::MAX),
        ("every 1,000th panics", 1_000),
    ] {
        let mut attack = Attack::transform(&wat, "").input(&lines(count, every));
        attack.job = attack
            .job
            .replace("format = \"value\"", "format = \"json\"");
        let folder = attack.folder();
        let time = least(5, || {
            let outcome = attack.run_in(folder.path(), &shared_engine(), Permits::per_core());
            assert_eq!(outcome.ending, Ending::Finished);
        });
        println!(
            "{what}: {:.2} M records/s of CPU time",
            count as f64 / time.as_secs_f64() / 1e6
        );
    }
    let plugin = std::env::var_os("WASMILL_PLUGIN").and_then(|p| std::fs::read(p).ok());
    let plugin = plugin.unwrap_or_else(|| transform(&Guest::default()).into_bytes());
    let cache = tempfile::tempdir().expect("a scratch folder");
    for (what, compiler, dir) in [
        ("in this process", Compiler::InProcess, CacheDir::Off),
        (
            "in a child",
            Compiler::Child(host::program()),
            CacheDir::Off,
        ),
        (
            "from the cache",
            Compiler::Child(host::program()),
            CacheDir::At(cache.path().into()),
        ),
    ] {
        let engine = Engine::new(EngineOptions {
            cache: dir,
            ..EngineOptions::new(compiler)
        });
        let engine = engine.expect("the machine runs WebAssembly");
        let once = |_| {
            let started = Stopwatch::start();
            let loaded = engine.load(&plugin, &LoadOptions::default());
            loaded.expect("a plugin");
            started.elapsed()
        };
        let least = (0..10).map(once).min().unwrap_or_default();
        println!(
            "{} bytes compiled {what}: {least:.1?} at best",
            plugin.len()
        );
    }
}

/// A neighbour's job, alone and beside one whose guest never gives its core back by itself.
#[test]
#[ignore = "measures"]
fn what_a_neighbour_loses() {
    let _alone = alone();
    let engine = shared_engine();
    let neighbour =
        Attack::transform(&transform(&Guest::default()), "").input(&lines(400_000, usize::MAX));
    let folder = neighbour.folder();
    let permits = Permits::per_core();
    let once = || {
        let started = Stopwatch::start();
        let outcome = neighbour.run_in(folder.path(), &engine, permits.clone());
        assert_eq!(outcome.ending, Ending::Finished);
        started.elapsed()
    };
    let settings = "record-deadline = \"2s\"\ncall-deadline = \"2s\"";
    let attack = Attack::transform(&transform(&body("(loop $l (br $l))")), settings).input("x\n");
    let attacked = attack.folder();
    let (mut before, mut beside) = (Duration::MAX, Duration::MAX);
    // In turns: what else the machine does comes and goes.
    for _ in 0..5 {
        before = before.min(once()).min(once());
        std::thread::scope(|scope| {
            let attack = scope.spawn(|| attack.run_in(attacked.path(), &engine, permits.clone()));
            while permits.free() == Permits::per_core().free() {
                std::thread::yield_now();
            }
            beside = beside.min(once()).min(once());
            assert!(
                !attack.is_finished(),
                "the attack was over before the measurement"
            );
        });
    }
    println!("a neighbour takes {before:.1?} alone, {beside:.1?} beside an endless loop, at best");
}
