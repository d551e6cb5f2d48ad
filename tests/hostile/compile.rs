//! Hostile files: what they do before and while they are compiled.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use wasmill::plugin::{
    CacheDir, CompileLimit, CompileLimits, Compiler, Engine, EngineOptions, LoadError, LoadOptions,
};

use crate::host::{self, Attack, Ending, Peak, Watch, alone, children, shared_engine};
use crate::wat::{Guest, transform};

/// A plugin with functions that no limit of shape refuses, and that take a compiler gigabytes and minutes:
/// loops that carry many values, one after the other.
fn bomb(functions: usize) -> String {
    let types = "i32 ".repeat(30);
    let gets: String = (0..30).map(|n| format!("(local.get {n})")).collect();
    let loops = "(loop (type $wide))".repeat(1_000);
    let body = format!("(func (type $wide) {gets} {loops})");
    let items = format!(
        "(type $wide (func (param {types}) (result {types}))) {}",
        body.repeat(functions)
    );
    transform(&Guest {
        items: &items,
        ..Guest::default()
    })
}

fn refused(wat: &str, limits: CompileLimits) -> String {
    match Attack::transform(wat, "").run_by(limits).ending {
        Ending::Refused(message) => message,
        other => panic!("it should have been refused: {other:?}"),
    }
}

fn load(engine: &Engine, bytes: &[u8]) -> Result<String, LoadError> {
    let options = LoadOptions {
        name: "mine".into(),
        ..LoadOptions::default()
    };
    engine
        .load(bytes, &options)
        .map(|plugin| plugin.sha256().to_owned())
}

#[test]
fn c01_c02_files_of_absurd_shape_are_turned_away_with_both_numbers() {
    let many = |part: &str, n: usize| format!("(module {})", part.repeat(n));
    let cases = [
        (
            many("(func)", 1_000_000),
            "1000000 functions, more than 50000",
        ),
        (many("(func)", 100_000), "100000 functions, more than 50000"),
        (
            many("(global i32 (i32.const 0))", 100_000),
            "globals, more than",
        ),
        (
            format!(
                "(module (memory 1) {})",
                "(data (i32.const 0) \"\")".repeat(100_000)
            ),
            "data segments, more than",
        ),
        (
            format!("(module (func (local {})))", "i32 ".repeat(50_000)),
            "locals, more than",
        ),
        (
            format!(
                "(module (func {} {}))",
                "(block ".repeat(30_000),
                ")".repeat(30_000)
            ),
            "more than",
        ),
        (
            // 200 loops of a 1,000-wide type: 6 KB that take 1.4 GiB.
            format!(
                "(module (type $w (func (param {w}) (result {w}))) (func (type $w) {}))",
                "(loop (type $w))".repeat(200),
                w = "i32 ".repeat(1_000),
            ),
            "in one type, more than",
        ),
        (
            format!("(module (func {}))", "(loop)".repeat(16_000)),
            "loops, more than",
        ),
    ];
    let alone = alone();
    // As bytes: not every text of such a size is read.
    let cases = cases.map(|(wat, part)| (wat::parse_str(&wat).expect("the text parses"), part));
    let watch = Watch::by(alone);
    for (bytes, part) in cases {
        let error = load(&shared_engine(), &bytes).expect_err("too much of something");
        assert!(
            matches!(error, LoadError::Shape(_)) && error.to_string().contains(part),
            "{part}: {error}"
        );
    }
    watch.expect_unharmed();
}

#[test]
fn c02_a_function_of_megabytes_is_turned_away_and_one_at_the_limits_is_compiled() {
    // br_tables of so many labels, the last of which is no target but the default, back to back.
    let tables = |labels: usize, count: usize| {
        let one = format!("(br_table {} (local.get 0))", "0 ".repeat(labels));
        let body = format!("(block {one})").repeat(count);
        transform(&Guest {
            items: &format!("(func (param i32) {body})"),
            ..Guest::default()
        })
    };
    let alone = alone();
    // As bytes: not every text of such a size is read.
    let files = [
        (20_001, 350, "7003502 bytes of code, more than 1048576"),
        (
            100_001,
            1,
            "100000 targets in one br_table, more than 20000",
        ),
        // As many bytes of code as may be, of the longest tables that may be, and of shorter ones.
        (20_001, 52, ""),
        (1_001, 900, ""),
    ]
    .map(|(labels, count, words)| {
        let file = wat::parse_str(tables(labels, count)).expect("the text parses");
        (file, words)
    });
    let attack = Attack::transform("", "");
    let watch = Watch::by(alone);
    for (bytes, words) in files {
        let folder = attack.folder();
        std::fs::write(folder.path().join("mine.wasm"), &bytes).expect("a scratch file");
        let outcome = attack.run_in(folder.path(), &shared_engine(), watch.permits());
        match outcome.ending {
            Ending::Refused(said) => assert!(
                !words.is_empty()
                    && said.contains("job.toml:7:8: plugin \"mine\": no plugin of this shape is compiled here: function 0 ")
                    && said.contains(words),
                "{words}: {said}"
            ),
            Ending::Finished => {
                assert_eq!(words, "");
                assert_eq!(outcome.out, ["a", "b", "x1", "c", "d"]);
            }
            Ending::Failed(said) => panic!("{said}"),
        }
    }
    drop(attack);
    watch.expect_unharmed();
}

#[test]
fn c01b_a_bomb_of_memory_ends_as_compile_limit() {
    let limits = CompileLimits {
        memory_bytes: 320 << 20,
        ..CompileLimits::default()
    };
    let message = refused(&bomb(16), limits);
    assert!(
        message.contains("COMPILE_LIMIT: compiling it takes more than 320 MiB of memory"),
        "{message}"
    );
}

#[test]
fn c01b_a_bomb_of_time_ends_as_compile_limit() {
    let cpu = CompileLimits {
        cpu: Duration::from_secs(1),
        ..CompileLimits::default()
    };
    let message = refused(&bomb(16), cpu);
    assert!(
        message.contains("COMPILE_LIMIT: compiling it takes more than "),
        "{message}"
    );
    let wall = CompileLimits {
        wall: Duration::from_millis(100),
        ..CompileLimits::default()
    };
    let message = refused(&bomb(16), wall);
    assert!(
        message.contains("COMPILE_LIMIT: compiling it takes more than 100 ms of time"),
        "{message}"
    );
}

#[test]
fn c01b_a_bomb_of_time_is_told_as_such_where_the_host_was_told_to_ignore_that_signal() {
    let watch = Watch::begin();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let script = folder.path().join("wasmill");
    let text = format!(
        "#!/bin/sh\ntrap '' XCPU\nexec '{}' \"$@\"\n",
        host::program().display()
    );
    std::fs::write(&script, text).expect("a scratch file");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("a scratch file");
    let engine = Engine::new(EngineOptions {
        cache: CacheDir::Off,
        compile_limits: CompileLimits {
            cpu: Duration::from_secs(1),
            ..CompileLimits::default()
        },
        ..EngineOptions::new(Compiler::Child(script))
    })
    .expect("the machine runs WebAssembly");
    let error = load(&engine, bomb(16).as_bytes()).expect_err("a bomb");
    assert!(
        matches!(
            error,
            LoadError::CompileLimit {
                limit: CompileLimit::Cpu,
                ..
            }
        ),
        "{error}"
    );
    drop((engine, folder));
    watch.expect_unharmed();
}

#[test]
fn more_machine_code_than_allowed_ends_as_compile_limit() {
    let limits = CompileLimits {
        code_bytes_max: 1 << 10,
        ..CompileLimits::default()
    };
    let watch = Watch::begin();
    let engine = host::engine(limits);
    let wat = transform(&Guest::default());
    let error = load(&engine, wat.as_bytes()).expect_err("too much code");
    assert!(
        matches!(
            error,
            LoadError::CompileLimit {
                limit: CompileLimit::Code,
                ..
            }
        ),
        "{error}"
    );
    drop(engine);
    watch.expect_unharmed();
}

#[test]
fn c05_c06_c07_what_is_no_plugin_is_told_apart_and_never_runs() {
    let watch = Watch::begin();
    let whole = wat::parse_str(transform(&Guest::default())).expect("the frame parses");
    let engine = shared_engine();
    for (bytes, part) in [
        (&b""[..], "not a WebAssembly file: it is empty"),
        (b"\x7fELF\x02\x01\x01", "not a WebAssembly file"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "not a WebAssembly file"),
        (b"PK\x03\x04", "not a WebAssembly file"),
        (b"\x28\xb5\x2f\xfd", "not a WebAssembly file"),
    ] {
        let error = load(&engine, bytes).expect_err("no plugin").to_string();
        assert!(error.contains(part), "{error}");
    }
    // Cut at many places, and bits flipped in many: refused, or a plugin; nothing else, and no panic.
    let mut loaded = 0;
    for step in 0..40 {
        let cut = &whole[..whole.len() * step / 40];
        // Behind the code there is nothing that must be there.
        let whole_enough = step > 30;
        assert!(
            whole_enough || load(&engine, cut).is_err(),
            "cut at {}",
            cut.len()
        );
        let mut flipped = whole.clone();
        let at = (whole.len() - 1) * step / 40;
        flipped[at] ^= 1 << (step % 8);
        loaded += usize::from(load(&engine, &flipped).is_ok());
    }
    assert!(loaded < 40);
    watch.expect_unharmed();
}

/// A custom section.
fn custom(name: &str, content: &[u8]) -> Vec<u8> {
    let mut whole = vec![u8::try_from(name.len()).expect("a short name")];
    whole.extend_from_slice(name.as_bytes());
    whole.extend_from_slice(content);
    component(0, &whole)[8..].to_vec()
}

#[test]
fn c05_sections_that_nobody_reads_cost_nothing_whatever_is_in_them() {
    let plugin = wat::parse_str(transform(&Guest::default())).expect("the frame parses");
    let with = |sections: &[Vec<u8>]| [&plugin[..], &sections.concat()].concat();
    let noise: Vec<u8> = (0..1_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let dwarf = [
        ".debug_info",
        ".debug_line",
        ".debug_str",
        "sourceMappingURL",
    ];
    let watch = Watch::begin();
    let peak = Peak::start_alone();
    for sections in [
        dwarf.map(|name| custom(name, &noise)).to_vec(),
        vec![custom("big", &vec![0; 30 << 20])],
        vec![custom("", b""); 4_000],
    ] {
        load(&shared_engine(), &with(&sections)).expect("a plugin all the same");
    }
    assert!(peak.bytes() < 256 << 20, "{} MiB", peak.bytes() >> 20);
    for (sections, words) in [
        (vec![custom("", b""); 10_000], "sections, more than 5000"),
        (
            vec![custom("big", &vec![0; 66 << 20])],
            "bytes, more than 67108864",
        ),
        // Those that are read, by who makes a component of it.
        (
            vec![custom("producers", &noise)],
            "the core module cannot be made a component",
        ),
        (
            vec![custom("name", &noise)],
            "the core module cannot be made a component",
        ),
        // A name that is longer than its section, and than memory.
        (vec![b"\0\x06\xff\xff\xff\xff\x0fx".to_vec()], "byte"),
    ] {
        let error = load(&shared_engine(), &with(&sections)).expect_err("too much of it");
        assert!(error.to_string().contains(words), "{error}");
    }
    watch.expect_unharmed();
}

#[test]
fn c08_bombs_side_by_side_end_and_others_are_compiled_between_them() {
    let watch = Watch::begin();
    let limits = CompileLimits {
        cpu: Duration::from_secs(1),
        memory_bytes: 512 << 20,
        ..CompileLimits::default()
    };
    let engine = host::engine(limits);
    let bomb = wat::parse_str(bomb(16)).expect("the bomb parses");
    let honest = transform(&Guest::default());
    std::thread::scope(|scope| {
        let bombs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| load(&engine, &bomb)))
            .collect();
        let others: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| load(&engine, honest.as_bytes())))
            .collect();
        for other in others {
            let loaded = other.join().expect("no panic");
            assert!(loaded.is_ok(), "{loaded:?}");
        }
        for bomb in bombs {
            let error = bomb.join().expect("no panic").expect_err("a bomb");
            assert!(matches!(error, LoadError::CompileLimit { .. }), "{error}");
        }
    });
    drop(engine);
    watch.expect_unharmed();
}

#[test]
fn c09_a_compiler_killed_midway_is_a_compile_limit_and_leaves_nothing() {
    let watch = Watch::begin();
    let bomb = wat::parse_str(bomb(16)).expect("the bomb parses");
    let engine = shared_engine();
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(&engine, &bomb));
        let child = loop {
            if let [child, ..] = children()[..] {
                break child;
            }
            assert!(!loading.is_finished(), "it was never compiled");
            std::thread::yield_now();
        };
        let pid = i32::try_from(child)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let _ =
            rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::KILL);
        let error = loading
            .join()
            .expect("no panic")
            .expect_err("it was killed");
        assert!(matches!(error, LoadError::CompileLimit { .. }), "{error}");
    });
    watch.expect_unharmed();
}

#[test]
fn c10_two_bodies_under_one_name_at_once_are_two_plugins() {
    let watch = Watch::begin();
    let cache = tempfile::tempdir().expect("a scratch folder");
    let engine = Engine::new(EngineOptions {
        cache: CacheDir::At(cache.path().to_path_buf()),
        ..EngineOptions::new(Compiler::Child(host::program()))
    })
    .expect("the machine runs WebAssembly");
    let one = transform(&Guest::default());
    let two = transform(&Guest {
        memory: "4",
        ..Guest::default()
    });
    let sums: Vec<String> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..12)
            .map(|n| {
                let bytes = if n % 2 == 0 { &one } else { &two };
                scope.spawn(|| load(&engine, bytes.as_bytes()))
            })
            .collect();
        loads
            .into_iter()
            .map(|l| l.join().expect("no panic").expect("a plugin"))
            .collect()
    });
    for (n, sum) in sums.iter().enumerate() {
        assert_eq!(*sum, sums[n % 2], "load {n}");
    }
    assert_ne!(sums[0], sums[1]);
    drop(engine);
    drop(cache);
    watch.expect_unharmed();
}

#[test]
fn g10_data_at_both_ends_of_memory_makes_no_image_of_what_lies_between() {
    let guest = Guest {
        memory: "1000",
        items: "(data (i32.const 0) \"\\00\") (data (i32.const 65535999) \"x\")",
        ..Guest::default()
    };
    let outcome = Attack::transform(&transform(&guest), "").run();
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["a", "b", "x1", "c", "d"]);
    // Beyond it: the instance cannot be made, and the job is not started.
    let guest = Guest {
        items: "(data (i32.const -1) \"xx\")",
        ..Guest::default()
    };
    match Attack::transform(&transform(&guest), "").run().ending {
        Ending::Refused(words) => assert!(words.contains("the instance cannot be made"), "{words}"),
        other => panic!("it should have been refused: {other:?}"),
    }
}

#[test]
fn c03_many_functions_none_of_them_large_are_bounded_all_together() {
    let body = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.mul (local.get 0) (i32.add (local.get 0) (i32.const 7)))))";
    let items = body.repeat(40_000);
    let wat = transform(&Guest {
        items: &items,
        ..Guest::default()
    });
    let bytes = {
        // Parsing it takes more memory than another test may see come and go.
        let _alone = alone();
        wat::parse_str(&wat).expect("the text parses")
    };
    let limits = CompileLimits {
        memory_bytes: 96 << 20,
        ..CompileLimits::default()
    };
    let attack = Attack::transform("", "").file("mine.wasm", &bytes);
    match attack.run_by(limits).ending {
        Ending::Refused(words) => assert!(
            words.contains("COMPILE_LIMIT: compiling it takes more than 96 MiB of memory"),
            "{words}"
        ),
        other => panic!("it should have been refused: {other:?}"),
    }
}

/// A component with this section in it.
fn component(section: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.push(section);
    let mut len = content.len();
    loop {
        let low = (len & 0x7f) as u8;
        len >>= 7;
        bytes.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            break;
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn c04_components_in_components_and_types_of_types_are_turned_away() {
    let alone = alone();
    let nested = (0..1_000).fold(b"\0asm\x0d\0\x01\0".to_vec(), |inner, _| {
        component(4, &inner)
    });
    let module = b"\0asm\x01\0\0\0";
    let mut modules = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..1_000 {
        modules.extend(&component(1, module)[8..]);
    }
    let doubled: String = (1..60)
        .map(|n| format!("(type $t{n} (tuple $t{0} $t{0}))", n - 1))
        .collect();
    let types = format!(
        "(component (type $t0 (tuple u8 u8)) {doubled} (import \"f\" (func (param \"x\" $t59))))"
    );
    let watch = Watch::by(alone);
    for (bytes, words) in [
        (
            nested,
            "no plugin of this shape is compiled here: it has 9 levels of modules and components inside each other, more than 8",
        ),
        (
            modules,
            "no plugin of this shape is compiled here: it has 65 nested modules, more than 64",
        ),
        (
            types.into_bytes(),
            "not valid WebAssembly for this host, at byte",
        ),
    ] {
        let error = load(&shared_engine(), &bytes).expect_err("too much of something");
        assert!(error.to_string().starts_with(words), "{error}");
    }
    watch.expect_unharmed();
}

#[test]
fn c11_a_file_that_is_not_the_one_that_the_job_names_is_refused() {
    let sum = format!("sha256 = \"{}\"", "0".repeat(64));
    // The second one is no plugin at all, and nobody has looked.
    for bytes in [transform(&Guest::default()), "no plugin at all".into()] {
        match Attack::transform(&bytes, &sum).run().ending {
            Ending::Refused(words) => {
                let line = words.lines().next().unwrap_or_default();
                assert!(
                    line.ends_with("plugin \"mine\" is another file than this \"sha256\" says"),
                    "{words}"
                );
            }
            other => panic!("it should have been refused: {other:?}"),
        }
    }
}

#[test]
fn c13_a_plugin_whose_files_change_beneath_it_goes_on_as_it_was_loaded() {
    let watch = Watch::begin();
    let cache = tempfile::tempdir().expect("a scratch folder");
    let engine = Engine::new(EngineOptions {
        cache: CacheDir::At(cache.path().to_path_buf()),
        ..EngineOptions::new(Compiler::Child(host::program()))
    })
    .expect("the machine runs WebAssembly");
    let attack = Attack::transform(&transform(&Guest::default()), "");
    let folder = attack.folder();
    // The plugin's own file, and what was compiled of it, end in the middle once the plan is made: were they
    // mapped, the next look at them would end this process.
    let outcome = attack.run_changed(folder.path(), &engine, watch.permits(), || {
        let compiled = std::fs::read_dir(cache.path()).expect("a folder").flatten();
        let mut files: Vec<_> = compiled.map(|entry| entry.path()).collect();
        assert!(files.len() >= 2, "a key and code: {files:?}");
        files.push(folder.path().join("mine.wasm"));
        for file in files.iter().filter(|f| f.is_file()) {
            let file = std::fs::OpenOptions::new().write(true).open(file);
            file.and_then(|f| f.set_len(1)).expect("it is cut");
        }
    });
    assert_eq!(outcome.ending, Ending::Finished, "{outcome:?}");
    assert_eq!(outcome.out, ["a", "b", "x1", "c", "d"]);
    // The next start sees what stands there now.
    match attack
        .run_changed(folder.path(), &engine, watch.permits(), || {})
        .ending
    {
        Ending::Refused(words) => assert!(words.contains("not a WebAssembly file"), "{words}"),
        other => panic!("it should have been refused: {other:?}"),
    }
    drop((engine, folder, cache));
    watch.expect_unharmed();
}
