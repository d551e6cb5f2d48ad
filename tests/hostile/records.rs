//! Hostile records, beside those of `jobs`: which of them fail, what they do to time, how many keys they have.

use crate::host::{Attack, Ending, Peak};
use crate::wat::{body, transform};

#[test]
fn r01_a_record_that_always_traps_costs_itself_wherever_it_stands() {
    const TRAP: &str = "trap: the guest gave up (unreachable instruction)";
    let wat = transform(&body("unreachable"));
    // Which lines of the input fail; the others come out.
    for (input, bad) in [
        ("x\na\nb\n", &[1][..]),
        ("a\nx\nb\n", &[2]),
        ("a\nb\nx\n", &[3]),
        ("x\na\nx\nb\nx\n", &[1, 3, 5]),
        ("x\nx\nx\n", &[1, 2, 3]),
    ] {
        let outcome = Attack::transform(&wat, "").input(input).run();
        assert_eq!(outcome.ending, Ending::Finished, "{input:?}: {outcome:?}");
        let good: Vec<&str> = input.lines().filter(|l| *l != "x").collect();
        assert_eq!(outcome.out, good, "{input:?}");
        let letters = vec![format!("x {TRAP}"); bad.len()];
        assert_eq!(outcome.letters, letters, "{input:?}");
        assert_eq!(outcome.offsets, bad, "{input:?}");
    }
    // Where it is not to cost itself, it ends the job, and says where it stands.
    let mut attack = Attack::transform(&wat, "").input("a\nx\nb\n");
    attack.job = attack
        .job
        .replace("from = \"attack.errors\"", "from = \"attack\"");
    let Ending::Failed(words) = attack.run().ending else {
        panic!("it should have failed")
    };
    let (start, end) = (
        "step attack, function mine.attack: record at source in, ",
        format!("/in.txt, line 2: {TRAP} (plugin "),
    );
    assert!(words.starts_with(start) && words.contains(&end), "{words}");
}

#[test]
fn r01_to_r05_hostile_records_are_single_bad_records() {
    let job = "name = \"records\"\nparallelism = 2\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\nformat = \"json\"\nkey = \"/k\"\n\
        timestamp = \"/t\"\nevent-time = { max-disorder = \"1s\" }\n[step.counts]\nfrom = \"in\"\nwindow = { tumbling = \"1m\" }\naggregate = \"std.count\"\n\
        [sink.out]\nfrom = \"counts\"\ntype = \"console\"\nformat = \"json\"\n\
        [sink.letters]\nfrom = [\"in.errors\", \"counts.errors\"]\ntype = \"console\"\nformat = \"json\"\n";
    let range = |t: &str| {
        format!("step: the window of timestamp {t} would leave the range of 64-bit milliseconds")
    };
    let (end, beginning) = ("9223372036854775807", "-9223372036854775808");
    let (deep, long) = ("[".repeat(100_000), "x".repeat(3 << 20));
    let bad: [(Vec<u8>, String); 9] = [
        (format!("{{\"k\":\"a\",\"t\":{end}}}").into(), range(end)),
        (
            format!("{{\"k\":\"a\",\"t\":{beginning}}}").into(),
            range(beginning),
        ),
        (
            b"{\"k\":\"a\",\"t\":1e40}".to_vec(),
            "field: in.txt:20003: timestamp /t: an integer or text expected, found the number 1e40"
                .into(),
        ),
        (
            b"{\"k\":\"\xff\xfe\",\"t\":1}".to_vec(),
            "field: in.txt:20004: not JSON: invalid UTF-8 at byte 6".into(),
        ),
        (
            b"{\"k\":\"a\"".to_vec(),
            "field: in.txt:20005: not JSON: EOF while parsing an object at line 1 column 8".into(),
        ),
        (
            b"\0\0\0\0".to_vec(),
            "field: in.txt:20006: not JSON: expected value at line 1 column 1".into(),
        ),
        // Nothing at all is no record.
        (Vec::new(), String::new()),
        (
            deep.into(),
            "field: in.txt:20008: not JSON: EOF while parsing a list at line 1 column 100000"
                .into(),
        ),
        (
            format!("{{\"k\":\"{long}\",\"t\":1000000}}").into(),
            format!(
                "step: its key has 3145728 bytes, more than [state] key-max (65536): shorten it, or raise key-max; it starts with \"{}\"",
                &long[..40]
            ),
        ),
    ];
    let mut lines: Vec<u8> = (0..20_000)
        .flat_map(|n| format!("{{\"k\":\"k{n}\",\"t\":{}}}\n", 1_000_000 + n).into_bytes())
        .collect();
    bad.iter()
        .for_each(|(line, _)| lines.extend([line, &b"\n"[..]].concat()));
    let outcome = Attack::job(job).file("in.txt", &lines).run();
    assert_eq!(outcome.ending, Ending::Finished, "{:?}", outcome.ending);
    // Each good one in its window.
    let mut good: Vec<String> = outcome.out;
    good.sort();
    let window = |n: u32| {
        let start = (1_000_000 + n) / 60_000 * 60_000;
        format!(
            "{{\"key\":\"k{n}\",\"value\":1,\"timestamp\":{},\"window\":{{\"start\":{start},\"end\":{}}}}}",
            start + 59_999,
            start + 60_000
        )
    };
    let mut expected: Vec<String> = (0..20_000).map(window).collect();
    expected.sort();
    assert!(good == expected, "{} came out", good.len());
    // Each bad one by its line, in its words.
    let why = |letter: &str| {
        let at = letter.rfind(" step: ").or_else(|| letter.rfind(" field: "));
        let why = &letter[at.map_or(0, |at| at + 1)..];
        match why.split_once(": /") {
            Some((kind, path)) => format!("{kind}: {}", &path[path.find("in.txt").unwrap_or(0)..]),
            None => why.to_owned(),
        }
    };
    let mut ended: Vec<(u64, String)> = outcome
        .offsets
        .iter()
        .copied()
        .zip(outcome.letters.iter().map(|l| why(l)))
        .collect();
    ended.sort();
    let expected: Vec<(u64, String)> = (20_001..)
        .zip(bad)
        .filter(|(_, (line, _))| !line.is_empty())
        .map(|(at, (_, words))| (at, words))
        .collect();
    assert_eq!(ended, expected);
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

    // Before all time: as good a time as any, but those whose window would begin before numbers do.
    let early = ["-1", "-9223372036854775807", "-9223372036854775808", "0"]
        .map(|t| format!("{{\"k\":\"k\",\"t\":{t}}}\n"))
        .concat();
    let both = job.replace("[\"in.errors\"]", "\"in.errors\"").replace(
        "from = \"in.errors\"",
        "from = [\"in.errors\", \"counts.errors\"]",
    );
    let outcome = Attack::job(&both).input(&early).run();
    assert_eq!(outcome.ending, Ending::Finished, "{:?}", outcome.ending);
    assert_eq!(outcome.out, ["1", "1"]);
    let letter = |t: &str| {
        format!(
            "{{\"k\":\"k\",\"t\":{t}}} step: the window of timestamp {t} would leave the range of 64-bit milliseconds"
        )
    };
    assert_eq!(
        outcome.letters,
        ["-9223372036854775807", "-9223372036854775808"].map(letter)
    );
    assert_eq!(outcome.offsets, [2, 3]);
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
