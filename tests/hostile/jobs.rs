//! Hostile job files, checkpoints of others, and hostile records.

use std::fs;
use std::os::unix::fs::symlink;

use wasmill::config::Operator;
use wasmill::reach::{Access, Reach};

use crate::host::{Attack, Ending, Watch, alone, shared_engine};

/// Lines from a file to another folder.
const COPY: &str = r#"
name = "copy"
parallelism = 1
[source.in]
type = "file"
path = "IN"
[sink.out]
from = "in"
type = "file"
path = "OUT"
"#;

/// Lines from one file into a folder.
pub fn copy(from: &str, to: &str) -> String {
    COPY.replace("IN", from).replace("OUT", to)
}

fn refused(attack: Attack) -> String {
    match attack.run().ending {
        Ending::Refused(message) => message,
        other => panic!("it should have been refused: {other:?}"),
    }
}

/// Runs it where only its own folder may be read, and `out` in it be written; `prepare` puts links there.
pub fn bounded(job: &str, prepare: impl Fn(&std::path::Path)) -> (Ending, tempfile::TempDir) {
    let watch = Watch::begin();
    let mut attack = Attack::job(job);
    let folder = attack.folder();
    attack.operator = Operator {
        reads: Reach::beneath(Access::Read, [folder.path().to_path_buf()]),
        writes: Reach::beneath(Access::Write, [folder.path().join("out")]),
        ..Operator::default()
    };
    fs::create_dir(folder.path().join("out")).expect("a folder");
    prepare(folder.path());
    let outcome = attack.run_in(folder.path(), &shared_engine(), watch.permits());
    watch.expect_unharmed();
    (outcome.ending, folder)
}

/// What it said when it was refused or failed.
pub fn words(ending: Ending) -> String {
    match ending {
        Ending::Refused(words) | Ending::Failed(words) => words,
        Ending::Finished => panic!("it should not have worked"),
    }
}

#[test]
fn j01_j02_paths_beyond_the_allowed_folders_are_refused_with_their_place() {
    let (ending, folder) = bounded(&copy("in.txt", "out/parts"), |_| {});
    assert_eq!(ending, Ending::Finished);
    assert!(folder.path().join("out/parts").is_dir());
    for path in ["/etc/passwd", "/proc/self/environ", "/dev/zero", "/etc/*"] {
        let (ending, _folder) = bounded(&copy(path, "out/parts"), |_| {});
        let words = words(ending);
        assert!(
            words.contains("is in no folder that a job may read here")
                && words.contains("job.toml:6:"),
            "{words}"
        );
    }
    for path in ["../../etc/passwd", "sub/../../secret", "out/../in.txt"] {
        let (ending, _folder) = bounded(&copy(path, "out/parts"), |_| {});
        assert!(words(ending).contains("has a \"..\""), "{path}");
    }
    for path in ["elsewhere", "out-evil", "/tmp", "/etc"] {
        let (ending, folder) = bounded(&copy("in.txt", path), |_| {});
        assert!(
            words(ending).contains("is in no folder that a job may write here"),
            "{path}"
        );
        assert!(!folder.path().join(path).is_dir() || path.starts_with('/'));
    }
}

#[test]
fn j03_j04_links_lead_nowhere_and_only_regular_files_are_read() {
    let outside = tempfile::tempdir().expect("a scratch folder");
    let secret = outside.path().join("secret.txt");
    fs::write(&secret, "secret\n").expect("a scratch file");
    let (ending, folder) = bounded(&copy("link.txt", "out/parts"), |folder| {
        symlink(&secret, folder.join("link.txt")).expect("a link");
    });
    let said = words(ending);
    assert!(said.contains("outside"), "{said}");
    let parts = fs::read_dir(folder.path().join("out/parts"));
    assert!(parts.map_or(0, Iterator::count) <= 1, "only the marker");
    // A folder of the sink that is a link, and a part that is one.
    let (ending, _folder) = bounded(&copy("in.txt", "out/link"), |folder| {
        symlink(outside.path(), folder.join("out/link")).expect("a link");
    });
    assert!(words(ending).contains("by a symlink"));
    assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 1);
    // A pipe has no end: it is not even found.
    let (ending, _folder) = bounded(&copy("pipe", "out/parts"), |folder| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("pipe"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .expect("a pipe");
    });
    assert!(!words(ending).is_empty());
}

#[test]
fn j03_plugins_and_checkpoints_stay_within_bounds_too() {
    let job = copy("in.txt", "out/parts").replace(
        "[source.in]",
        "[checkpoint]\npath = \"/tmp/elsewhere\"\n[plugin.mine]\npath = \"/proc/self/exe\"\n[source.in]",
    );
    let (ending, _folder) = bounded(&job, |_| {});
    let words = words(ending);
    assert!(
        words.contains("checkpoints: /tmp/elsewhere is in no folder"),
        "{words}"
    );
    assert!(
        words.contains("/proc/self/exe is in no folder that a job may read"),
        "{words}"
    );
}

#[test]
fn j06_j07_j13_j14_absurd_job_files_are_refused_with_their_place() {
    let good = copy("in.txt", "out");
    let cases = [
        good.replace("\"copy\"", "\"../x\""),
        good.replace("\"copy\"", "\"a\\nb\""),
        good.replace("\"copy\"", "\"\""),
        good.replace("\"copy\"", &format!("\"{}\"", "a".repeat(10_000))),
        good.replace("parallelism = 1", "parallelism = 1000000"),
        good.replace("parallelism = 1", "parallelism = -1"),
        good.replace("parallelism = 1", "parallelism = 1e400"),
        good.replace("parallelism = 1", "parallelism = 1\nparallelism = 2"),
        good.replace("parallelism = 1", "batch = { records = 0 }"),
        good.replace("from = \"in\"", "from = \"out\""),
        good.replace(
            "[source.in]",
            &format!(
                "x = {}{}\n[source.in]",
                "[".repeat(10_000),
                "]".repeat(10_000)
            ),
        ),
        good.replace(
            "[source.in]",
            "[checkpoint]\npath = \"c\"\nevery = \"0s\"\n[source.in]",
        ),
        "[".repeat(100_000),
        "\u{feff}\u{202e}".into(),
        format!("# {}\n{good}", "x".repeat(20 << 20)),
    ];
    for job in cases {
        let words = refused(Attack::job(&job));
        assert!(words.contains("job.toml"), "{words:.300}");
    }
}

#[test]
fn j08_j09_j10_keys_that_run_read_or_write_are_not_passed_to_clients() {
    let kafka = |line: &str| {
        Attack::job(&format!(
            "name = \"k\"\n[source.in]\ntype = \"kafka\"\nbrokers = \"localhost:1\"\ntopics = [\"t\"]\n\
             client = {{ {line} }}\n[sink.out]\nfrom = \"in\"\ntype = \"blackhole\"\n"
        ))
    };
    for key in [
        "plugin.library.paths",
        "sasl.kerberos.kinit.cmd",
        "ssl.engine.location",
        "offset.store.path",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.oauthbearer.metadata.authentication.type",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.private.key.file",
        "ssl.providers",
        "ssl.ca.location",
        "debug",
    ] {
        let words = refused(kafka(&format!("\"{key}\" = \"x\"")));
        assert!(words.contains(key), "{words}");
    }
    for secret in [
        "${env:PATH}",
        "${env:AWS_SECRET_ACCESS_KEY}",
        "${file:/etc/shadow}",
        "${secret:../x}",
    ] {
        let words = refused(kafka(&format!("\"sasl.password\" = \"{secret}\"")));
        assert!(words.contains("job.toml"), "{words}");
    }
}

#[test]
fn s05_a_checkpoint_of_another_job_is_refused_and_left_alone() {
    let watch = Watch::begin();
    let job = copy("in.txt", "out").replace(
        "[source.in]",
        "[checkpoint]\npath = \"checkpoints\"\n[source.in]",
    );
    let attack = Attack::job(&job);
    let folder = attack.folder();
    let run = |attack: &Attack| {
        fs::write(folder.path().join("job.toml"), &attack.job).expect("a scratch file");
        attack
            .run_in(folder.path(), &shared_engine(), watch.permits())
            .ending
    };
    assert_eq!(run(&attack), Ending::Finished);
    let other = Attack::job(&job.replace("name = \"copy\"", "name = \"other\""));
    let words = words(run(&other));
    assert!(words.contains("copy"), "{words}");
    // It is still good for the job that wrote it.
    assert_eq!(run(&attack), Ending::Finished);
    watch.expect_unharmed();
}

#[test]
fn s05_a_job_that_is_over_has_let_go_of_its_checkpoints() {
    let watch = Watch::begin();
    let job = copy("in.txt", "out").replace(
        "[source.in]",
        "[checkpoint]\npath = \"checkpoints\"\n[source.in]",
    );
    // One that is finished, and one that fails on its first line, and would again.
    let fails = job.replace("[source.in]", "[source.in]\nformat = \"json\"");
    for (job, end) in [(job, None), (fails, Some("in.txt, line 1"))] {
        let attack = Attack::job(&job);
        for _ in 0..300 {
            let folder = attack.folder();
            for _ in 0..2 {
                match (
                    attack
                        .run_in(folder.path(), &shared_engine(), watch.permits())
                        .ending,
                    end,
                ) {
                    (Ending::Finished, None) => {}
                    (Ending::Failed(words), Some(end)) if words.contains(end) => {}
                    (ending, _) => panic!("{ending:?}"),
                }
            }
        }
    }
    watch.expect_unharmed();
}

/// A job that counts the lines of a file of this name, long or bad ones as dead letters.
fn lines_of(name: &str, format: &str) -> String {
    format!(
        "name = \"lines\"\nparallelism = 1\non-error = \"dead-letter\"\n[source.in]\ntype = \"file\"\npath = \"{name}\"\nformat = \"{format}\"\n\
         [sink.out]\nfrom = \"in\"\ntype = \"console\"\nformat = \"value\"\n\
         [sink.letters]\nfrom = \"in.errors\"\ntype = \"console\"\nformat = \"json\"\n"
    )
}

#[test]
fn r02_r03_a_record_without_end_is_a_bad_one_however_well_it_was_packed() {
    let (gz, zst) = {
        let _alone = alone();
        // Half a gigabyte in one line, a few hundred KB on disk: what is kept of it is its head.
        let bomb = |wrap: &dyn Fn(&mut dyn std::io::Read) -> Vec<u8>| {
            let good = |text: &'static str| std::io::Cursor::new(text.as_bytes());
            let long = std::io::Read::take(std::io::repeat(b'x'), 512 << 20);
            wrap(&mut std::io::Read::chain(
                std::io::Read::chain(good("a\n"), long),
                good("\nb\n"),
            ))
        };
        let gz = bomb(&|input| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::copy(input, &mut out).expect("it fits");
            out.finish().expect("it fits")
        });
        (
            gz,
            bomb(&|input| zstd::encode_all(input, 1).expect("it fits")),
        )
    };
    for (name, bytes) in [("in.gz", gz), ("in.zst", zst)] {
        assert!(bytes.len() < 4 << 20);
        let outcome = Attack::job(&lines_of(name, "lines"))
            .file(name, &bytes)
            .run();
        assert_eq!(outcome.ending, Ending::Finished, "{name}");
        assert_eq!(outcome.out, ["a", "b"], "{name}");
        let [letter] = &outcome.letters[..] else {
            panic!("{name}: one dead letter, not {}", outcome.letters.len())
        };
        assert!(
            letter.len() < 128 << 10 && letter.contains("source: "),
            "{name}: {} bytes",
            letter.len()
        );
    }
}

#[test]
fn r03_packed_files_that_break_off_or_are_none_end_in_a_bad_record_that_says_where() {
    let whole = zstd::encode_all(&b"a\nb\nc\n".repeat(50_000)[..], 1).expect("it fits");
    let cut_off = "data ends in the middle: the file is cut off; what comes before was read";
    for (name, bytes, words) in [
        ("in.zst", &whole[..whole.len() / 2], cut_off),
        (
            "in.zst",
            b"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff",
            cut_off,
        ),
        ("in.gz", b"\x1f\x8b\x08\xff\xff\xff", cut_off),
        (
            "in.gz",
            b"no gzip at all",
            "the gzip data is damaged here (invalid gzip header); what comes before was read",
        ),
    ] {
        let outcome = Attack::job(&lines_of(name, "lines"))
            .file(name, bytes)
            .run();
        assert_eq!(outcome.ending, Ending::Finished, "{name}");
        let [letter] = &outcome.letters[..] else {
            panic!("{name}: one dead letter: {:?}", outcome.letters)
        };
        let place = format!("/{name}:{}: ", outcome.out.len() + 1);
        assert!(
            letter.contains(&place) && letter.ends_with(words),
            "{name}: {letter}"
        );
        let expected = ["a", "b", "c"].into_iter().cycle();
        assert!(outcome.out.iter().zip(expected).all(|(o, e)| o == e));
    }
}

#[test]
fn r07_records_that_come_twice_late_or_in_no_order_are_each_counted_once() {
    let job = "name = \"records\"\nparallelism = 2\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\nformat = \"json\"\nkey = \"/k\"\n\
        timestamp = \"/t\"\nevent-time = { max-disorder = \"1h\" }\n[step.counts]\nfrom = \"in\"\nwindow = { tumbling = \"1s\" }\naggregate = \"std.count\"\n\
        [sink.out]\nfrom = \"counts\"\ntype = \"console\"\nformat = \"value\"\n";
    // Ten seconds with 1,000 records each, backwards, in strides, and every one three times.
    let line = |n: u64| format!("{{\"k\":\"k{}\",\"t\":{n}}}\n", n % 10);
    let backwards = (0..10_000).rev();
    let strides = (0..10_000).map(|n| n * 7919 % 10_000);
    let text: String = backwards
        .chain(strides)
        .chain(0..10_000)
        .map(line)
        .collect();
    let mut outcome = Attack::job(job).input(&text).run();
    assert_eq!(outcome.ending, Ending::Finished);
    outcome.out.sort();
    assert_eq!(outcome.out, vec!["300"; 100]);
}
