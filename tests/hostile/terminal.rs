//! What a terminal would obey, in everything that comes from outside: the binary runs on a terminal of its own (`script`
//! makes one), and all that arrives there is looked at.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::host::{Attack, Watch, program};
use crate::wat::{Guest, transform};

/// Renames the window, clears the screen, makes it red; the last in the set that some terminals know as one character.
const ORDERS: [&str; 3] = ["\u{1b}]0;owned\u{7}", "\u{1b}[2J", "\u{9b}31m"];

/// Runs it on a terminal, in a folder: all that it wrote there.
fn on_terminal(folder: &Path, args: &[&str]) -> Vec<u8> {
    let line: Vec<String> = std::iter::once(program().display().to_string())
        .chain(args.iter().map(|a| (*a).to_owned()))
        .map(|word| format!("'{word}'"))
        .collect();
    let output = Command::new("timeout")
        .args([
            "-k",
            "5",
            "100",
            "script",
            "-qec",
            &line.join(" "),
            "/dev/null",
        ])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("script (bsdutils) is there");
    output.stdout
}

/// None of the orders is in it, raw or half decoded.
fn expect_harmless(what: &str, said: &[u8]) {
    let shown = String::from_utf8_lossy(said);
    for order in ORDERS {
        assert!(!shown.contains(order), "{what}: {shown:?}");
    }
    // Eight-bit terminals take these bytes alone for orders, too.
    let whole = std::str::from_utf8(said);
    assert!(whole.is_ok(), "{what}: {shown:?}");
    assert!(
        !shown.contains(['\u{7}', '\u{9b}', '\u{202e}']),
        "{what}: {shown:?}"
    );
}

/// A guest whose doc, field, schema, log, and reason for rejecting are orders.
fn guest() -> String {
    // A JSON schema at 2112, and 22 bytes of orders at 2176.
    let items =
        "(data (i32.const 2112) \"{\\\"properties\\\":{\\\"\\\\u001b]0;owned\\\\u0007\\\":{}}}\")
        (data (i32.const 2176) \"\\1b]0;owned\\07\\1b[2J\\c2\\9b31m\\e2\\80\\ae\")";
    let attack = "(call $log (i32.const 3) (i32.const 2176) (i32.const 22)) (call $reject (local.get $i) (i32.const 2176) (i32.const 22))";
    // Of the field that it says it writes, the name is the order.
    let open = "(i32.store (i32.const 900) (i32.const 2176)) (i32.store (i32.const 904) (i32.const 22)) (i32.store8 (i32.const 908) (i32.const 0))
         (i32.store (i32.const 60) (i32.const 900)) (i32.store (i32.const 64) (i32.const 1))";
    let text = transform(&Guest {
        items,
        body: attack,
        open,
        ..Guest::default()
    });
    // In the list of functions: the doc, and the schema.
    let list = "\\00\\00\\00\\10\\00\\00\\00\\06\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\")";
    assert!(text.contains(list));
    text.replace(
        list,
        "\\00\\00\\00\\80\\08\\00\\00\\16\\00\\00\\00\\40\\08\\00\\00\\2a\\00\\00\\00\")",
    )
}

#[test]
fn g25_nothing_that_a_guest_says_is_obeyed_by_a_terminal() {
    let watch = Watch::begin();
    let attack = Attack::transform(&guest(), "");
    let folder = attack.folder();
    let at = folder.path();
    for args in [
        &["plugin", "inspect", "mine.wasm"][..],
        &["plugin", "inspect", "mine.wasm", "--json"],
        &["check", "job.toml"],
        &["check", "job.toml", "--json"],
        &["run", "job.toml"],
        &["run", "job.toml", "--json"],
    ] {
        let said = on_terminal(at, args);
        expect_harmless(&args.join(" "), &said);
        // It was said, in a way that can be read.
        let shown = String::from_utf8_lossy(&said);
        assert!(shown.contains("]0;owned"), "{args:?}: {shown}");
    }
    // Where the reason ends the job.
    let fails = attack.job.replace(
        "[sink.letters]\nfrom = \"attack.errors\"\ntype = \"console\"\nformat = \"json\"\n",
        "",
    );
    fs::write(at.join("job.toml"), fails).expect("a scratch file");
    for args in [&["run", "job.toml"][..], &["run", "job.toml", "--json"]] {
        let said = on_terminal(at, args);
        expect_harmless(&args.join(" "), &said);
        assert!(
            String::from_utf8_lossy(&said).contains("]0;owned"),
            "{args:?}"
        );
    }
    drop(folder);
    watch.expect_unharmed();
}

#[test]
fn r05_nothing_that_a_record_says_is_obeyed_by_a_terminal_and_a_pipe_gets_it_whole() {
    let watch = Watch::begin();
    let orders = ORDERS.concat();
    let mut lines = format!(
        "{orders}\n{{\"a{orders_json}\":\"{c1}\u{202e}\",\"b\":[\"{c1}\"]}}\n",
        orders_json = "\\u001b]0;owned\\u0007",
        c1 = ORDERS[2]
    )
    .into_bytes();
    lines.extend(b"\x1b]0;owned\x07\x9b2J\xff\n");
    for format in ["value", "json", "table"] {
        let job = format!(
            "name = \"t\"\nparallelism = 1\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\n[sink.out]\nfrom = \"in\"\ntype = \"console\"\nformat = \"{format}\"\n"
        );
        let attack = Attack::job(&job).file("in.txt", &lines);
        let folder = attack.folder();
        let said = on_terminal(folder.path(), &["run", "job.toml", "--quiet"]);
        expect_harmless(format, &said);
        assert!(
            String::from_utf8_lossy(&said).contains("]0;owned"),
            "{format}: {said:?}"
        );
        if format == "value" {
            let piped = Command::new(program())
                .args(["run", "job.toml", "--quiet"])
                .current_dir(folder.path())
                .output()
                .expect("it starts");
            assert_eq!(piped.stdout, lines);
        }
    }
    // The same through a script.
    let attack = Attack::job(
        "name = \"t\"\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\n[sink.out]\nfrom = \"in\"\ntype = \"console\"\n",
    );
    let folder = attack.folder();
    let line = serde_json::json!({ "source": "in", "value": orders }).to_string();
    fs::write(folder.path().join("script.jsonl"), line + "\n").expect("a scratch file");
    fs::write(folder.path().join("expected.jsonl"), "{}\n").expect("a scratch file");
    let said = on_terminal(
        folder.path(),
        &[
            "test",
            "job.toml",
            "script.jsonl",
            "--expect",
            "expected.jsonl",
        ],
    );
    expect_harmless("test", &said);
    assert!(String::from_utf8_lossy(&said).contains("]0;owned"));
    drop(folder);
    watch.expect_unharmed();
}

#[test]
fn j06_nothing_that_a_job_file_says_is_obeyed_by_a_terminal() {
    let watch = Watch::begin();
    let order = "\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u202e";
    let good = "name = \"t\"\n[source.in]\ntype = \"file\"\npath = \"PATH\"\n[sink.out]\nfrom = \"in\"\ntype = \"file\"\npath = \"OUT\"\n";
    let raw = format!("# {}\nname = {}\n", ORDERS.concat(), ORDERS[1]);
    let jobs = [
        good.replace("PATH", order),
        good.replace("PATH", "in.txt").replace("OUT", order),
        good.replace("PATH", "in.txt")
            .replace("\"t\"", &format!("\"{order}\"")),
        good.replace("PATH", "in.txt")
            .replace("[sink.out]", &format!("\"{order}\" = 1\n[sink.out]")),
        format!("{good}[plugin.p]\npath = \"{order}\"\n"),
        raw,
    ];
    for job in jobs {
        let attack = Attack::job(&job);
        let folder = attack.folder();
        for args in [
            &["check", "job.toml"][..],
            &["check", "job.toml", "--json"],
            &["run", "job.toml"],
            &[
                "check",
                "job.toml",
                "--set",
                &format!("name={}", ORDERS.concat()),
            ],
        ] {
            expect_harmless(
                &format!("{args:?} of {job}"),
                &on_terminal(folder.path(), args),
            );
        }
    }
    watch.expect_unharmed();
}
