//! Hostile state: checkpoints and compiled code that were cut, changed, swapped or put there by others. Whatever is done
//! to them, a start goes on from a whole checkpoint, with the results of an undisturbed run, or is refused by name.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use wasmill::plugin::{CacheDir, Compiler, Engine, EngineOptions, LoadOptions, Plugin};
use wasmill::runtime::permits::Permits;

use crate::host::{self, Attack, Ending, Watch, alone, shared_engine};
use crate::wat::{Guest, transform};

const JOB: &str = r#"
name = "kept"
parallelism = 2
batch = { records = 25 }
[checkpoint]
path = "checkpoints"
every = "10ms"
keep = 2
[source.in]
type = "file"
path = "in.jsonl"
format = "json"
key = "/k"
timestamp = "/t"
event-time = { max-disorder = "1s" }
[step.sums]
from = "in"
window = { tumbling = "1h" }
aggregate = "std.sum"
config = { field = "/v" }
[sink.out]
from = "sums"
type = "file"
path = "out"
"#;

/// So many that there are some checkpoints before the last one, however fast the machine.
const LINES: u64 = 300_000;

fn input(end: &str) -> String {
    let line = |n: u64| format!("{{\"k\":\"k{}\",\"v\":{n},\"t\":{}}}\n", n % 40, n);
    (0..LINES).map(line).chain([end.to_owned()]).collect()
}

/// A job that failed on its last line, which is good now: its checkpoints and parts as they lay there then.
struct Kept {
    attack: Attack,
    folder: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    golden: Vec<String>,
}

impl Kept {
    /// And a watch over this process, from when it has been gone on from.
    fn watched() -> (Kept, Watch) {
        let alone = alone();
        let good = "{\"k\":\"k0\",\"v\":1,\"t\":1}\n";
        let attack = Attack::job(JOB).file("in.jsonl", input(good).as_bytes());
        let undisturbed = attack.folder();
        let outcome = attack.run_in(undisturbed.path(), &shared_engine(), Permits::per_core());
        assert_eq!(outcome.ending, Ending::Finished);
        let golden = results(undisturbed.path());
        assert_eq!(golden.len(), 40);

        let folder = attack.folder();
        fs::write(folder.path().join("in.jsonl"), input("no json\n")).expect("a scratch file");
        let outcome = attack.run_in(folder.path(), &shared_engine(), Permits::per_core());
        assert!(matches!(outcome.ending, Ending::Failed(_)), "{outcome:?}");
        fs::write(folder.path().join("in.jsonl"), input(good)).expect("a scratch file");
        let mut files = Vec::new();
        for of in ["checkpoints", "out"] {
            let entries = fs::read_dir(folder.path().join(of))
                .expect("a folder")
                .flatten();
            files.extend(entries.map(|e| (e.path(), fs::read(e.path()).expect("a file"))));
        }
        files.sort();
        let kept = Kept {
            attack,
            folder,
            files,
            golden,
        };
        let count = kept.manifests().len();
        assert_eq!(count, 2, "checkpoints before the failure");
        kept.goes_on("as it was", |_| {});
        (kept, Watch::by(alone))
    }

    /// All as it was, but for what `damage` does.
    fn after(&self, damage: impl FnOnce(&Path)) -> Ending {
        for of in ["checkpoints", "out"] {
            let folder = self.folder.path().join(of);
            fs::remove_dir_all(&folder).expect("it was there");
            fs::create_dir(&folder).expect("a folder");
        }
        for (path, bytes) in &self.files {
            fs::write(path, bytes).expect("a scratch file");
        }
        damage(&self.folder.path().join("checkpoints"));
        let attack = &self.attack;
        let outcome = attack.run_in(self.folder.path(), &shared_engine(), Permits::per_core());
        outcome.ending
    }

    /// Went on with the right results, or was refused: words then.
    fn goes_on_or_refuses(&self, what: &str, damage: impl FnOnce(&Path)) -> Option<String> {
        match self.after(damage) {
            Ending::Finished => {
                assert_eq!(results(self.folder.path()), self.golden, "{what}");
                None
            }
            Ending::Failed(words) => Some(words),
            Ending::Refused(words) => panic!("{what}: {words}"),
        }
    }

    fn goes_on(&self, what: &str, damage: impl FnOnce(&Path)) {
        let words = self.goes_on_or_refuses(what, damage);
        assert_eq!(words, None, "{what}");
    }

    fn refuses(&self, what: &str, part: &str, damage: impl FnOnce(&Path)) {
        let words = self.goes_on_or_refuses(what, damage);
        assert!(
            words.as_ref().is_some_and(|w| w.contains(part)),
            "{what}: {words:?}"
        );
    }

    /// Files of the checkpoints whose names begin so, in order.
    fn named(&self, start: &str) -> Vec<&(PathBuf, Vec<u8>)> {
        let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let of = |path: &Path| path.parent().is_some_and(|p| p.ends_with("checkpoints"));
        self.files
            .iter()
            .filter(|(path, _)| of(path) && name(path).is_some_and(|n| n.starts_with(start)))
            .collect()
    }

    fn manifests(&self) -> Vec<&(PathBuf, Vec<u8>)> {
        self.named("manifest-")
    }

    /// Files of state: all but manifests and what is nobody's state.
    fn states(&self) -> Vec<&(PathBuf, Vec<u8>)> {
        self.named("state")
    }
}

/// What stands in the published parts.
fn results(folder: &Path) -> Vec<String> {
    let parts = fs::read_dir(folder.join("out"))
        .expect("a folder")
        .flatten();
    let parts = parts.filter(|e| e.file_name().to_string_lossy().starts_with("part-"));
    let texts = parts.map(|e| fs::read_to_string(e.path()).expect("a file"));
    let mut lines: Vec<String> = texts
        .flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

/// So many places, evenly over a length.
fn places(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| n * len.saturating_sub(1) / count.max(1))
}

#[test]
fn s01_s02_a_checkpoint_that_was_cut_or_changed_anywhere_is_passed_over() {
    let (kept, watch) = Kept::watched();
    let newest = kept.manifests()[1];
    for at in places(newest.1.len(), 6) {
        kept.goes_on(&format!("cut at {at}"), |_| {
            fs::write(&newest.0, &newest.1[..at]).expect("a scratch file");
        });
        kept.goes_on(&format!("bit flipped at {at}"), |_| {
            let mut bytes = newest.1.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&newest.0, bytes).expect("a scratch file");
        });
    }
    // Files of state are shared by both checkpoints, or of one of them: it goes on from the older one, or not at all.
    assert!(!kept.states().is_empty());
    for (path, bytes) in kept.states() {
        for at in places(bytes.len(), 3) {
            for cut in [true, false] {
                let words = kept.goes_on_or_refuses(&format!("{} at {at}", path.display()), |_| {
                    let mut bytes = bytes.clone();
                    match cut {
                        true => bytes.truncate(at),
                        false => bytes[at] ^= 1 << (at % 8),
                    }
                    fs::write(path, bytes).expect("a scratch file");
                });
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                assert!(
                    words.is_none_or(|w| w.contains(&*name) && w.contains("--restore none")),
                    "{name}"
                );
            }
        }
    }
    drop(kept);
    watch.expect_unharmed();
}

/// What is said where none of the two manifests can be used.
fn none_can_be_used(why: [&str; 2]) -> String {
    let [newest, older] = why;
    format!(
        "no checkpoint there can be used, and starting empty would lose state without a word:\n  NEWEST: {newest}\n  OLDER: {older}\nuse --restore none to start empty"
    )
}

#[test]
fn s03_s04_s06_what_stands_in_a_checkpoints_place_is_not_taken_for_it() {
    let (kept, watch) = Kept::watched();
    let manifests: Vec<_> = kept.manifests().into_iter().cloned().collect();
    let (older, newest) = (&manifests[0], &manifests[1]);
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let (older_name, newest_name) = (name(&older.0), name(&newest.0));
    let epoch = |name: &str| name["manifest-".len()..].trim_start_matches('0').to_owned();
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).expect("a scratch file");
    let refused = |what: &str, why: [&str; 2], damage: &dyn Fn(&Path)| {
        let words = kept.goes_on_or_refuses(what, damage);
        let said = words.unwrap_or_default();
        let said = said.split_once(": ").map_or("", |(_, said)| said);
        let said = said
            .replace(&newest_name, "NEWEST")
            .replace(&older_name, "OLDER");
        assert_eq!(said, none_can_be_used(why), "{what}");
    };
    // The older one under the newer one's name, and each under the other's.
    kept.goes_on("older as newest", |_| write(&newest.0, &older.1));
    let other = |name: &str| format!("it is manifest {} under another name", epoch(name));
    refused(
        "swapped",
        [&other(&older_name), &other(&newest_name)],
        &|_| {
            write(&newest.0, &older.1);
            write(&older.0, &newest.1);
        },
    );
    // Each file of state gone, a folder in its place (which cannot be read as one), and each in the place of the next. What
    // only one of the manifests names, or none, the other one can do without.
    let states: Vec<_> = kept.states().into_iter().cloned().collect();
    let named_by_both = |state: &str| {
        manifests
            .iter()
            .all(|(_, bytes)| String::from_utf8_lossy(bytes).contains(state))
    };
    assert!(!states.is_empty());
    kept.refuses("no state", "is not there", |_| {
        for (path, _) in &states {
            fs::remove_file(path).expect("it was there");
        }
    });
    for (n, (path, _)) in states.iter().enumerate() {
        let state = name(path);
        let gone = format!("{state} is not there");
        let folder = format!("{state}: a folder has its name");
        let remove = || fs::remove_file(path).expect("it was there");
        let make = || {
            remove();
            fs::create_dir(path).expect("a folder");
        };
        let next = &states[(n + 1) % states.len()].1;
        if named_by_both(&state) {
            refused(&state, [&gone; 2], &|_| remove());
            refused(&state, [&folder; 2], &|_| make());
            kept.refuses(&state, &state, |_| write(path, next));
        } else {
            kept.goes_on(&state, |_| remove());
            kept.goes_on(&state, |_| make());
            kept.goes_on(&state, |_| write(path, next));
        }
    }
    // Other things under a manifest's name.
    for (what, why, put) in [
        (
            "nothing in it",
            "it has no first line",
            &(|path: &Path| write(path, b"")) as &dyn Fn(&Path),
        ),
        ("a folder", "a folder has its name", &|path| {
            fs::create_dir(path).expect("a folder")
        }),
        (
            "a link to a file elsewhere",
            "it does not begin like a manifest",
            &|path| symlink("/etc/passwd", path).expect("a link"),
        ),
        (
            "a link to itself",
            "cannot read: Too many levels of symbolic links (os error 40)",
            &|path| symlink(path, path).expect("a link"),
        ),
        ("a device", "cannot read: it is no regular file", &|path| {
            symlink("/dev/zero", path).expect("a link")
        }),
        ("a pipe", "cannot read: it is no regular file", &|path| {
            let (mode, kind) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("a pipe");
        }),
    ] {
        kept.goes_on(what, |_| {
            fs::remove_file(&newest.0).expect("it was there");
            put(&newest.0);
        });
        let both = |_: &Path| {
            for (path, _) in &manifests {
                fs::remove_file(path).expect("it was there");
                put(path);
            }
        };
        refused(what, [why; 2], &both);
    }
    // Of another version: changed by hand, so that its checksum is not right, and as a later host would write it.
    let said = |format: &'static str, sum: bool| {
        move |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).expect("text");
            let (head, json) = text.split_once('\n').expect("a head");
            let json = json.replacen("\"format\": 2,", &format!("\"format\": {format},"), 1);
            let head = match sum {
                true => format!(
                    "wasmill-manifest {:016x}",
                    xxhash_rust::xxh3::xxh3_64(json.as_bytes())
                ),
                false => head.to_owned(),
            };
            format!("{head}\n{json}").into_bytes()
        }
    };
    let torn = "its checksum does not match: it is torn or was changed";
    for (format, sum, why) in [
        ("3", false, torn),
        ("0", false, torn),
        (
            "3",
            true,
            "a newer wasmill wrote it (format 3, this one reads up to 2)",
        ),
        (
            "4294967296",
            true,
            "it does not read: invalid value: integer `4294967296`, expected u32 at line 2 column 22",
        ),
        (
            "-1",
            true,
            "it does not read: invalid value: integer `-1`, expected u32 at line 2 column 14",
        ),
        (
            "0",
            true,
            "no wasmill wrote it (format 0; they begin with 1)",
        ),
    ] {
        let of = said(format, sum);
        kept.goes_on(format, |_| write(&newest.0, &of(&newest.1)));
        refused(format, [why; 2], &|_| {
            for (path, bytes) in &manifests {
                write(path, &of(bytes));
            }
        });
    }
    drop(kept);
    watch.expect_unharmed();
}

#[test]
fn s07_s08_s11_input_that_shrank_a_folder_of_yesterday_and_litter_lose_nothing_without_a_word() {
    let (kept, watch) = Kept::watched();
    let file = kept.folder.path().join("in.jsonl");
    let whole = fs::read(&file).expect("the input");
    kept.refuses("input shrank", "in.jsonl", |_| {
        fs::write(&file, &whole[..1_000]).expect("a scratch file")
    });
    fs::write(&file, &whole).expect("a scratch file");
    // The folder as it was before the newest checkpoint: what was put out since is put out again, once.
    let newest = kept.manifests()[1].0.clone();
    kept.goes_on("yesterday's folder", |_| {
        fs::remove_file(&newest).expect("it was there")
    });
    // What a process leaves that was killed ten thousand times.
    kept.goes_on("litter", |folder| {
        for n in 0..5_000 {
            fs::write(folder.join(format!(".tmp-{n}")), "litter").expect("a scratch file");
            let part = format!(".part-{n:010}-0000-000000.jsonl.tmp");
            fs::write(folder.with_file_name("out").join(part), "{\"litter\":")
                .expect("a scratch file");
        }
    });
    let out = fs::read_dir(kept.folder.path().join("out"))
        .expect("a folder")
        .flatten();
    let litter = out
        .filter(|e| e.file_name().to_string_lossy().starts_with(".part-"))
        .count();
    assert_eq!(litter, 0, "parts in the making that nobody makes");
    drop(kept);
    watch.expect_unharmed();
}

#[test]
fn s09_s10_compiled_code_that_this_host_did_not_write_is_not_run() {
    let watch = Watch::begin();
    let cache = tempfile::tempdir().expect("a scratch folder");
    let engine = || {
        Engine::new(EngineOptions {
            cache: CacheDir::At(cache.path().to_path_buf()),
            ..EngineOptions::new(Compiler::Child(host::program()))
        })
        .expect("the machine runs WebAssembly")
    };
    let load = |engine: &Engine, wat: &str| -> Plugin {
        engine
            .load(wat.as_bytes(), &LoadOptions::default())
            .expect("a plugin")
    };
    let (one, two) = (
        transform(&Guest::default()),
        transform(&Guest {
            memory: "4",
            ..Guest::default()
        }),
    );
    let first = engine();
    load(&first, &one);
    load(&first, &two);
    let mut codes: Vec<PathBuf> = fs::read_dir(cache.path())
        .expect("a folder")
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "code"))
        .collect();
    codes.sort();
    let kept: Vec<Vec<u8>> = codes.iter().map(|c| fs::read(c).expect("a file")).collect();
    assert_eq!(kept.len(), 2);
    assert!(load(&engine(), &one).from_cache());
    let all = |put: &dyn Fn(usize, &Path)| {
        for (n, code) in codes.iter().enumerate() {
            let _ = fs::remove_file(code);
            put(n, code);
        }
        let engine = engine();
        [
            load(&engine, &one).from_cache(),
            load(&engine, &two).from_cache(),
        ]
    };
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).expect("a scratch file");
    for at in places(kept[0].len().min(kept[1].len()), 12) {
        let changed = all(&|n, path| {
            let mut bytes = kept[n].clone();
            bytes[at] ^= 1;
            write(path, &bytes);
        });
        assert_eq!(changed, [false; 2], "changed at {at}");
        assert_eq!(
            all(&|n, path| write(path, &kept[n][..at])),
            [false; 2],
            "cut at {at}"
        );
    }
    // That of the other plugin; a longer one; a link to the right one; that of another host, and nothing wrong with it.
    assert_eq!(all(&|n, path| write(path, &kept[1 - n])), [false; 2]);
    assert_eq!(
        all(&|n, path| write(path, &[&kept[n][..], b"\0"].concat())),
        [false; 2]
    );
    let aside = cache.path().join("aside");
    write(&aside, &kept[0]);
    assert_eq!(
        all(&|_, path| symlink(&aside, path).expect("a link")),
        [false; 2]
    );
    fs::remove_file(cache.path().join("key")).expect("there is a key");
    assert_eq!(all(&|n, path| write(path, &kept[n])), [false; 2]);
    // The machine code itself as a plugin: only its magic is looked at.
    let magic = kept[0]
        .windows(4)
        .position(|w| w == b"\x7fELF")
        .expect("machine code");
    let error = first.load(&kept[0][magic..], &LoadOptions::default());
    let error = error.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        error.contains("an ELF binary (perhaps code compiled for this machine)"),
        "{error}"
    );
    drop(first);
    drop(cache);
    watch.expect_unharmed();
}
