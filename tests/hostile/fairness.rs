//! Hostile code: a guest that wants a core for itself.

use wasmill::runtime::permits::Permits;

use crate::host::{Attack, Ending, Neighbour, Watch, alone, shared_engine};
use crate::wat::{Guest, body, transform};

/// Of the neighbour that is to be done meanwhile: a tenth of a second's work.
const RECORDS: u64 = 200_000;

/// The one permit that there is goes back and forth: the neighbour, with a tenth of a second's work, is done
/// long before the loop's two seconds of CPU time are over. Both are counted in CPU time, so that a busy machine
/// changes nothing.
#[test]
fn g04_an_endless_loop_does_not_keep_its_core_from_others() {
    let watch = Watch::with(alone(), Permits::new(1));
    let permits = watch.permits();
    let settings = "record-deadline = \"2s\"\ncall-deadline = \"2s\"";
    let attack = Attack::transform(&transform(&body("(loop $l (br $l))")), settings).input("x\n");
    let folder = attack.folder();
    std::thread::scope(|scope| {
        let attacking =
            scope.spawn(|| attack.run_in(folder.path(), &shared_engine(), permits.clone()));
        while permits.free() > 0 {
            assert!(!attacking.is_finished(), "it never computed");
            std::thread::yield_now();
        }
        Neighbour::start(&permits, &format!("records = {RECORDS}")).expect_golden(RECORDS);
        assert!(
            !attacking.is_finished(),
            "the neighbour had to wait for the loop's end"
        );
        let outcome = attacking.join().expect("no panic");
        assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
        assert_eq!(
            outcome.letters,
            ["x deadline: the call took more than 2000 ms of CPU time"]
        );
    });
    drop(folder);
    watch.expect_unharmed();
}

/// A function that fails without end waits ever longer, without its permit, and a stop does not wait for it.
#[test]
fn g39_a_function_that_keeps_failing_waits_and_others_have_its_core() {
    let watch = Watch::with(alone(), Permits::new(1));
    let permits = watch.permits();
    let attack = Attack::transform(
        &transform(&Guest {
            body: "unreachable",
            ..Guest::default()
        }),
        "",
    )
    .input(&"x\n".repeat(2_000));
    let folder = attack.folder();
    std::thread::scope(|scope| {
        let attacking =
            scope.spawn(|| attack.run_in(folder.path(), &shared_engine(), permits.clone()));
        Neighbour::start(&permits, &format!("records = {RECORDS}")).expect_golden(RECORDS);
        let outcome = attacking.join().expect("no panic");
        assert_eq!(outcome.ending, Ending::Finished);
        assert_eq!(outcome.letters.len(), 2_000);
    });
    drop(folder);
    watch.expect_unharmed();
}
