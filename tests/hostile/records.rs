//! Hostile records, beside those of `jobs`: which of them fail, what they do to time, how many keys they have.

use crate::host::{Attack, Ending, Peak};
use crate::wat::{body, transform};

#[test]
fn r01_a_record_that_always_traps_costs_itself_wherever_it_stands() {
    let wat = transform(&body("unreachable"));
    for (input, out) in [
        ("x\na\nb\n", &["a", "b"][..]),
        ("a\nx\nb\n", &["a", "b"]),
        ("a\nb\nx\n", &["a", "b"]),
        ("x\na\nx\nb\nx\n", &["a", "b"]),
        ("x\nx\nx\n", &[]),
    ] {
        let outcome = Attack::transform(&wat, "").input(input).run();
        assert_eq!(outcome.ending, Ending::Finished, "{input:?}: {outcome:?}");
        assert_eq!(outcome.out, out, "{input:?}");
        assert_eq!(
            outcome.letters.len(),
            input.matches('x').count(),
            "{input:?}"
        );
    }
    // Where it is not to cost itself, it ends the job, and says where it stands.
    let mut attack = Attack::transform(&wat, "").input("a\nx\nb\n");
    attack.job = attack
        .job
        .replace("from = \"attack.errors\"", "from = \"attack\"");
    match attack.run().ending {
        Ending::Failed(words) => assert!(words.contains("in.txt, line 2"), "{words}"),
        other => panic!("it should have failed: {other:?}"),
    }
}

#[test]
fn r04_times_far_ahead_and_before_all_time_close_nothing_too_early() {
    let job = "name = \"times\"\nparallelism = 1\n[source.in]\ntype = \"file\"\npath = \"in*.txt\"\nformat = \"json\"\nkey = \"/k\"\ntimestamp = \"/t\"\n\
        event-time = { max-disorder = \"1s\", max-ahead = \"1d\" }\n[step.counts]\nfrom = \"in\"\nwindow = { tumbling = \"1s\" }\naggregate = \"std.count\"\n\
        [sink.out]\nfrom = \"counts\"\ntype = \"console\"\nformat = \"value\"\n[sink.letters]\nfrom = \"in.errors\"\ntype = \"console\"\nformat = \"json\"\n";
    let honest: String = (0..10_000)
        .map(|n| format!("{{\"k\":\"k\",\"t\":{}}}\n", 1_000_000 + n))
        .collect();
    // Between them, on one of two partitions: the end of time, the year 10,000, a year ahead of everything.
    let ahead = ["9223372036854775807", "253402300800000", "32503680000000"]
        .map(|t| format!("{{\"k\":\"k\",\"t\":{t}}}\n"))
        .concat();
    let half = honest
        .match_indices('\n')
        .nth(4_999)
        .map_or(0, |(at, _)| at + 1);
    let (start, end) = honest.split_at(half);
    let outcome = Attack::job(job)
        .input(&honest)
        .file(
            "in2.txt",
            format!("{ahead}{start}{ahead}{end}{ahead}").as_bytes(),
        )
        .run();
    assert_eq!(outcome.ending, Ending::Finished, "{:?}", outcome.ending);
    assert_eq!(outcome.letters.len(), 9, "{:?}", outcome.letters);
    // Two files of 1,000 a second, ten seconds; none late.
    assert_eq!(outcome.out, vec!["2000"; 10]);

    // Before all time: as good a time as any, but the one whose window would begin before numbers do.
    let early = ["-1", "-9223372036854775807", "0"]
        .map(|t| format!("{{\"k\":\"k\",\"t\":{t}}}\n"))
        .concat();
    let skipping = job.replace("parallelism = 1", "parallelism = 1\non-error = \"skip\"");
    let outcome = Attack::job(&skipping).input(&early).run();
    assert_eq!(outcome.ending, Ending::Finished, "{:?}", outcome.ending);
    assert_eq!(
        (outcome.out, outcome.letters.len()),
        (vec!["1".to_owned(); 2], 0)
    );
}

#[test]
fn r06_g37_more_keys_than_memory_whatever_is_in_them_take_disk_and_no_more_memory() {
    let job = "name = \"keys\"\nparallelism = 1\n[state]\nmemory = \"8MiB\"\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\nformat = \"json\"\nkey = \"/k\"\ntimestamp = \"/t\"\n\
        event-time = { max-disorder = \"1s\" }\n[step.counts]\nfrom = \"in\"\nwindow = { tumbling = \"1h\" }\naggregate = \"std.count\"\n\
        [sink.out]\nfrom = \"counts\"\ntype = \"console\"\nformat = \"value\"\n";
    // Keys as paths, with NULs, with the names of others' state, and very many.
    let odd = [
        "../../etc/passwd",
        "a\\u0000b",
        "state-1-counts-0",
        "",
        "\\ud83e\\udd80",
        "wasmill",
    ];
    let mut peak = None;
    let outcome = Attack::run_made(|| {
        let lines: String = (0..400_000)
            .map(|n| format!("{{\"k\":\"{}{n:0100}\",\"t\":{n}}}\n", odd[n % odd.len()]))
            .collect();
        peak = Some(Peak::start_alone());
        Attack::job(job).input(&lines)
    });
    let grown = peak.map_or(u64::MAX, |peak| peak.bytes());
    assert_eq!(outcome.ending, Ending::Finished, "{:?}", outcome.ending);
    assert_eq!(outcome.out.len(), 400_000);
    assert!(outcome.out.iter().all(|n| n == "1"));
    assert!(grown < 300 << 20, "{} MiB", grown >> 20);
}
