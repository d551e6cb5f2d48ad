//! Hostile job files: where they want to read and write.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmill::runtime::permits::Permits;

use crate::host::{Attack, Ending, Peak, Watch, alone, shared_engine};
use crate::jobs::{bounded, copy, words};
use crate::wat::{Guest, transform};

#[test]
fn j01_what_is_no_path_here_leads_nowhere() {
    for path in [
        "file:///etc/passwd",
        "C:\\\\windows\\\\win.ini",
        "\\\\\\\\server\\\\share",
        "in.txt\\u0000.png",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%252f..%252fetc/passwd",
        "~root/.profile",
        "$HOME/.profile",
        "/proc/self/root/etc/passwd",
        "/proc/self/fd/0",
    ] {
        let (ending, folder) = bounded(&copy(path, "out/parts"), |_| {});
        let said = words(ending);
        assert!(said.contains("job.toml:6:"), "{path}: {said}");
        assert!(!folder.path().join("out/parts").exists(), "{path}");
    }
}

/// What is said of each of these job files when it is refused; the oracle looks once, after all of them: none starts
/// anything.
fn all_refused<'a>(jobs: impl IntoIterator<Item = &'a str>, plugin: &str) -> Vec<String> {
    let watch = Watch::begin();
    let attack = Attack::job("").file("mine.wasm", plugin.as_bytes());
    let folder = attack.folder();
    let one = |job: &str| {
        fs::write(folder.path().join("job.toml"), job).expect("a scratch file");
        let outcome = attack.run_in(folder.path(), &shared_engine(), watch.permits());
        match outcome.ending {
            Ending::Refused(said) => said,
            other => panic!("it should have been refused: {other:?}\n{job:.2000}"),
        }
    };
    let said = jobs.into_iter().map(one).collect();
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 3, "files that they left behind");
    drop(folder);
    watch.expect_unharmed();
    said
}

/// Makes a pipe that nobody writes to.
fn pipe(at: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at, kind, mode, 0).expect("a pipe");
}

/// What is said of this job, as the binary is told it, with each of these in the place of `PATH`; `HERE` is its folder.
fn said_of<const N: usize>(job: &str, paths: [&str; N]) -> [String; N] {
    let watch = Watch::begin();
    let attack = Attack::job(job).file("mine.wasm", b"");
    let folder = attack.folder();
    let here = folder.path().display().to_string();
    pipe(&folder.path().join("pipe"));
    fs::create_dir(folder.path().join("folder")).expect("a folder");
    let said = paths.map(|path| {
        let job = attack.job.replace("PATH", path);
        fs::write(folder.path().join("job.toml"), job).expect("a scratch file");
        let outcome = attack.run_in(folder.path(), &shared_engine(), watch.permits());
        words(outcome.ending).replace(&here, "HERE")
    });
    let mut left = Vec::new();
    for entry in fs::read_dir(folder.path()).expect("a folder").flatten() {
        left.push(entry.file_name());
    }
    left.sort();
    assert_eq!(left, ["folder", "in.txt", "job.toml", "mine.wasm", "pipe"]);
    drop(folder);
    watch.expect_unharmed();
    said
}

/// What has no end, or is none.
const NO_FILES: [&str; 7] = [
    "/dev/zero",
    "/dev/random",
    "/dev/null",
    "/dev/stdin",
    "/proc/self/fd/0",
    "pipe",
    "folder",
];

/// The same, as it is told: relative paths are beneath the job's folder.
fn absolute(path: &str) -> String {
    match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("HERE/{path}"),
    }
}

#[test]
fn j03_plugins_are_regular_files_wherever_they_are() {
    let job = Attack::transform("", "").job.replace("mine.wasm", "PATH");
    let expected = NO_FILES.map(|path| {
        format!(
            "HERE/job.toml:7:8: plugin \"mine\": cannot be read: it is no regular file\n    7 | path = \"{path}\"\n      |        {}\n",
            "^".repeat(path.len() + 2)
        )
    });
    assert_eq!(said_of(&job, NO_FILES), expected);
}

#[test]
fn j03_sources_and_tables_never_wait_for_what_has_no_end() {
    let table = "name = \"t\"\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\nkey = \"\"\n[table.names]\ntype = \"file\"\npath = \"PATH\"\nkey = \"\"\n\
        [step.named]\nfrom = \"in\"\nlookup = \"names\"\n[sink.out]\nfrom = \"named\"\ntype = \"blackhole\"\n";
    let source = copy("PATH", "out").replace("\"file\"\npath = \"out\"", "\"blackhole\"");
    for (job, at) in [(&*source, 6), (table, 8)] {
        let expected = NO_FILES.map(|path| {
            let why = match path {
                "folder" => "is a folder; name its files, such as \"folder/*\"",
                _ => "is no regular file, but a pipe or a device",
            };
            format!(
                "HERE/job.toml:{at}:8: \"{path}\" {why}\n    {at} | path = \"{path}\"\n      |        {}\n      = looked for {}\n",
                "^".repeat(path.len() + 2),
                absolute(path)
            )
        });
        assert_eq!(said_of(job, NO_FILES), expected);
    }
}

#[test]
fn j03_sinks_write_into_no_device_and_no_pipe() {
    let paths = [
        "/dev/zero",
        "/dev/null",
        "/dev/stdin",
        "/proc/self/fd/0",
        "pipe",
    ];
    let expected = paths.map(|path| {
        format!(
            "HERE/job.toml:10:1: \"path\" of a file sink is a folder of part files, and this is a pipe or a device\n   10 | path = \"{path}\"\n      | ^^^^\n"
        )
    });
    assert_eq!(said_of(&copy("in.txt", "PATH"), paths), expected);
}

#[test]
fn j04_a_sink_writes_over_nothing_that_is_not_its_own() {
    let with_checkpoints = |out: &str| {
        copy("in.txt", out).replace("[source.in]", "[checkpoint]\npath = \"state\"\n[source.in]")
    };
    let second = "[sink.again]\nfrom = \"in\"\ntype = \"file\"\npath = \"sub/../out\"\n";
    for (job, words) in [
        (
            with_checkpoints("state"),
            "this is the folder of the checkpoints",
        ),
        (
            with_checkpoints("./state/"),
            "this is the folder of the checkpoints",
        ),
        (
            with_checkpoints("a/../state"),
            "this is the folder of the checkpoints",
        ),
        (copy("in.txt", "job.toml"), "and this is a file"),
        (copy("in.txt", "in.txt"), "and this is a file"),
        (
            copy("in.txt", "out") + second,
            "the sink \"out\" writes into this folder already",
        ),
    ] {
        let said = all_refused([&*job], "").concat();
        assert!(said.contains(words), "{said}");
    }

    // Another job's output, and a folder with other things in it.
    let watch = Watch::begin();
    let attack = Attack::job(&copy("in.txt", "out"));
    let folder = attack.folder();
    let run = |job: &str| {
        fs::write(folder.path().join("job.toml"), job).expect("a scratch file");
        let outcome = attack.run_in(folder.path(), &shared_engine(), watch.permits());
        outcome.ending
    };
    assert_eq!(run(&attack.job), Ending::Finished);
    let parts = || -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(folder.path().join("out"))
            .expect("a folder")
            .flatten();
        let mut all: Vec<_> = entries
            .map(|e| {
                (
                    e.file_name().to_string_lossy().into_owned(),
                    fs::read(e.path()).expect("a file"),
                )
            })
            .filter(|(name, _)| name != ".wasmill-run")
            .collect();
        all.sort();
        all
    };
    let theirs = parts();
    let other = attack.job.replace("name = \"copy\"", "name = \"other\"");
    assert!(words(run(&other)).contains("parts of another run"));
    assert_eq!(parts(), theirs);
    // What is no part stays, even where parts may be replaced.
    for name in ["part-x.jsonl", "config.toml", ".hidden", ".part.tmp"] {
        fs::write(folder.path().join("out").join(name), "mine").expect("a scratch file");
    }
    assert_eq!(run(&format!("{other}overwrite = true\n")), Ending::Finished);
    let now = parts();
    for name in ["part-x.jsonl", "config.toml", ".hidden", ".part.tmp"] {
        assert!(
            now.contains(&(name.to_owned(), b"mine".to_vec())),
            "{name} in {now:?}"
        );
    }
    watch.expect_unharmed();
}

#[test]
fn j05_a_file_that_grows_faster_than_it_is_read_ends_where_it_was_when_it_was_opened() {
    const MOST: u64 = 512 << 20;
    let job =
        copy("in.txt", "out").replace("type = \"file\"\npath = \"out\"", "type = \"blackhole\"");
    for job in [
        job.clone(),
        job.replace("path = \"in.txt\"", "path = \"in.txt\"\npartitions = 3"),
    ] {
        let watch = Watch::begin();
        let attack = Attack::job(&job).input(&"some line of a file\n".repeat(10_000));
        let folder = attack.folder();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let file = fs::File::options()
                    .append(true)
                    .open(folder.path().join("in.txt"));
                let mut file = file.expect("it is there");
                let piece = "some line of a file\n".repeat(50_000);
                let mut written = 0;
                while written < MOST && !stop.load(Ordering::Relaxed) {
                    file.write_all(piece.as_bytes()).expect("there is room");
                    written += piece.len() as u64;
                }
                written
            });
            let outcome = attack.run_in(folder.path(), &shared_engine(), watch.permits());
            stop.store(true, Ordering::Relaxed);
            assert_eq!(outcome.ending, Ending::Finished);
            let written = writer.join().expect("no panic");
            assert!(
                written < MOST,
                "the job ended only when nothing came any more"
            );
        });
        drop(folder);
        watch.expect_unharmed();
    }
}

#[test]
fn j13_a_job_that_would_feed_itself_is_refused() {
    let ring = "name = \"r\"\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\n[step.a]\nfrom = [\"in\", \"b\"]\ntransform = \"std.split-words\"\n\
        [step.b]\nfrom = \"a\"\ntransform = \"std.split-words\"\n[sink.out]\nfrom = \"b\"\ntype = \"blackhole\"\n";
    let itself = ring.replace("from = [\"in\", \"b\"]", "from = [\"in\", \"a\"]");
    let said = all_refused([ring, &itself], "");
    assert!(
        said[0].contains("feed each other in a ring: a -> b -> a"),
        "{said:?}"
    );
    assert!(said[0].contains("job.toml:6:"), "{said:?}");
    assert!(said[1].contains("in a ring: a -> a"), "{said:?}");
    // Through a folder, or a topic.
    let watched = |(from, to): (&str, &str)| {
        let path = format!("path = \"{from}\"");
        copy(from, to).replace(&path, &format!("{path}\nwatch = \"1s\""))
    };
    let topic = "name = \"t\"\n[source.in]\ntype = \"kafka\"\nbrokers = \"localhost:1\"\ntopics = [\"a\", \"b\"]\n\
        [sink.out]\nfrom = \"in\"\ntype = \"kafka\"\nbrokers = \"localhost:1\"\ntopic = \"b\"\n";
    let mut jobs: Vec<String> = [
        ("out/*.jsonl", "out"),
        ("out/part-*", "./out/"),
        ("**/*.jsonl", "deep/out"),
        ("out/*", "sub/../out"),
    ]
    .map(watched)
    .to_vec();
    jobs.push(topic.into());
    for said in all_refused(jobs.iter().map(String::as_str), "") {
        assert!(
            said.contains("the job would feed itself for ever"),
            "{said}"
        );
    }
}

#[test]
fn j14_numbers_beyond_reason_are_refused_with_their_place() {
    let good = "name = \"n\"\nparallelism = 1\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\nkey = \"/k\"\ntimestamp = \"/t\"\nevent-time = { max-disorder = \"1s\" }\n\
        [step.w]\nfrom = \"in\"\nwindow = { tumbling = \"1s\" }\naggregate = \"std.count\"\n[sink.out]\nfrom = \"w\"\ntype = \"blackhole\"\n";
    let put = |from: &str, to: &str| {
        let job = good.replace(from, to);
        assert_ne!(job, good, "{from}");
        job
    };
    let window = |to: &str| put("{ tumbling = \"1s\" }", to);
    let before = |lines: &str| put("[source.in]", &format!("{lines}\n[source.in]"));
    let jobs = [
        window("{ sliding = \"3650d\", every = \"1ms\" }"),
        window("{ sliding = \"1s\", every = \"2s\" }"),
        window("{ tumbling = \"0s\" }"),
        window("{ tumbling = \"-1s\" }"),
        window("{ tumbling = \"99999999999999999999d\" }"),
        window("{ tumbling = nan }"),
        window("{ session = \"0ms\" }"),
        window("{ count = 0 }"),
        window("{ count = 9223372036854775807 }"),
        window("{ count = 10, every = -1 }"),
        put("max-disorder = \"1s\"", "max-disorder = \"-1s\""),
        put("parallelism = 1", "parallelism = 129"),
        put("parallelism = 1", "parallelism = 0"),
        put("parallelism = 1", "batch = { records = 1000000000000 }"),
        put("parallelism = 1", "batch = { bytes = \"1EB\" }"),
        put("parallelism = 1", "batch = { bytes = \"99999999999GiB\" }"),
        put("parallelism = 1", "batch = { latency = \"-1ms\" }"),
        before("[checkpoint]\npath = \"c\"\nevery = \"0s\""),
        before("[checkpoint]\npath = \"c\"\nevery = \"1us\""),
        before("[checkpoint]\npath = \"c\"\nkeep = 0"),
        before("[checkpoint]\npath = \"c\"\nkeep = 1000000000"),
        before("[state]\nmemory = \"0B\""),
        before("[state]\nmemory = -1"),
        put(
            "type = \"file\"\npath = \"in.txt\"",
            "type = \"generator\"\npartitions = 1000000000",
        ),
        put(
            "type = \"file\"\npath = \"in.txt\"",
            "type = \"generator\"\nrate = -1",
        ),
        put(
            "type = \"file\"\npath = \"in.txt\"",
            "type = \"generator\"\nrate = inf",
        ),
        put(
            "path = \"in.txt\"",
            "path = \"in.txt\"\npartitions = 1000000000",
        ),
        put(
            "type = \"blackhole\"",
            "type = \"file\"\npath = \"o\"\nroll = { bytes = \"0B\" }",
        ),
        put(
            "type = \"blackhole\"",
            "type = \"file\"\npath = \"o\"\nroll = { every = \"0s\" }",
        ),
    ];
    let all = all_refused(jobs.iter().map(String::as_str), "");
    for (said, job) in all.iter().zip(&jobs) {
        let at = said.find("job.toml:").map(|at| &said[at + 9..]);
        let placed = at.is_some_and(|at| at.starts_with(|c: char| c.is_ascii_digit()));
        assert!(placed, "{job}\n{said}");
    }
    // A thread for each task of each stage.
    let stage = |n: usize| {
        format!(
            "[step.k{n}]\nfrom = \"d{n}\"\nkey = \"/k\"\n[step.d{}]\nfrom = \"k{n}\"\ndedup = {{ within = \"1h\" }}\n",
            n + 1
        )
    };
    let stages: String = (0..40).map(stage).collect();
    let job = good.replace("parallelism = 1", "parallelism = 128")
        .replace("[sink.out]\nfrom = \"w\"", &format!("[step.d0]\nfrom = \"w\"\ndedup = {{ within = \"1h\" }}\n{stages}[sink.out]\nfrom = \"d40\""));
    let said = all_refused([&*job], "").concat();
    assert!(said.contains("threads: a job has at most 4096"), "{said}");
}

#[test]
fn j06_names_that_are_more_than_names_are_refused_and_do_nothing_to_a_terminal() {
    let good = copy("in.txt", "out").replace(
        "[sink.out]\nfrom = \"in\"",
        "[step.s]\nfrom = \"in\"\nkey = \"/k\"\n[sink.out]\nfrom = \"s\"",
    );
    let with_plugin = format!("{good}[plugin.p]\npath = \"mine.wasm\"\n");
    let wat = transform(&Guest::default());
    let names = [
        "../x",
        "a/b",
        "a\\nb",
        "a\\u0000",
        "a\\\"b",
        "<script>alert(1)</script>",
        "\\u202eevil",
        "\\u009b31mred",
        "\\u001b]0;owned\\u0007",
        "sтep",
        "a b",
        "-",
        "",
        "A",
        "${env:HOME}",
        "std",
    ];
    let mut jobs = Vec::new();
    for name in names {
        for (kind, known) in [
            ("source", "in"),
            ("step", "s"),
            ("sink", "out"),
            ("plugin", "p"),
        ] {
            // The last is the name of a plugin that ships inside, and a good one for all others.
            if name != "std" || kind == "plugin" {
                let (from, to) = (format!("[{kind}.{known}]"), format!("[{kind}.\"{name}\"]"));
                jobs.push(
                    if kind == "plugin" {
                        &with_plugin
                    } else {
                        &good
                    }
                    .replace(&from, &to),
                );
            }
        }
    }
    jobs.push(good.replace("[step.s]", &format!("[step.{}]", "s".repeat(100_000))));
    for said in all_refused(jobs.iter().map(String::as_str), &wat) {
        assert!(said.contains("job.toml:") && said.len() < 40_000, "{said}");
        let quiet = |c: char| c == '\n' || !wasmill::printable::is_obeyed(c);
        assert!(said.chars().all(quiet), "{said:?}");
    }
}

#[test]
fn j07_a_file_of_too_much_is_refused_in_bounded_words_and_two_mistakes_are_both_named() {
    let good = copy("in.txt", "out");
    let keys: String = (0..50_000).map(|n| format!("k{n} = 1\n")).collect();
    let tables: String = (0..30_000).map(|n| format!("[step.s{n}]\n")).collect();
    let inline = format!(
        "x = {}1{}\n{good}",
        "{a=".repeat(10_000),
        "}".repeat(10_000)
    );
    let numbers = format!("x = [{}]\n{good}", "0,".repeat(250_000));
    let long = format!("x = \"{}\"\n{good}", "\\u0041".repeat(150_000));
    let dotted = format!("x{} = 1\n{good}", ".a".repeat(20_000));
    let jobs = [
        format!("{keys}{good}"),
        format!("{good}{tables}"),
        inline,
        numbers,
        long,
        dotted,
    ];
    let alone = alone();
    let attack = Attack::job("");
    let folder = attack.folder();
    let all = |permits: &Permits| {
        for job in &jobs {
            fs::write(folder.path().join("job.toml"), job).expect("a scratch file");
            let outcome = attack.run_in(folder.path(), &shared_engine(), permits.clone());
            let Ending::Refused(said) = outcome.ending else {
                panic!("it should have been refused: {job:.300}")
            };
            let fine = said.len() < 200_000 && said.contains("job.toml");
            assert!(fine, "{} bytes: {said:.300}", said.len());
        }
    };
    // What an allocator keeps of them it has after some times: nothing comes to it.
    (0..3).for_each(|_| all(&Permits::per_core()));
    let watch = Watch::by(alone);
    let peak = Peak::start_alone();
    all(&watch.permits());
    let grown = peak.bytes();
    assert!(grown < 1 << 30, "{} MiB for a few job files", grown >> 20);
    watch.expect_unharmed();
    let two = good
        .replace("parallelism = 1", "parallelism = nan")
        .replace("from = \"in\"", "form = \"in\"");
    let said = all_refused([&*two], "").concat();
    assert!(
        said.contains("job.toml:3:")
            && said.contains("job.toml:8:")
            && said.contains("did you mean \"from\""),
        "{said}"
    );
}
