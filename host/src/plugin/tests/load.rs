use super::*;

fn refused(bytes: &[u8]) -> String {
    engine()
        .load(bytes, &LoadOptions::default())
        .unwrap_err()
        .to_string()
}

fn binary(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

#[test]
fn functions_and_descriptors_are_read() {
    let plugin = load(PLAIN);
    let names: Vec<&str> = plugin.functions().iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["same", "copied", "above"]);
    assert_eq!(plugin.functions()[2].kind, FunctionKind::Filter);
    let above = plugin.open("above", "{}").unwrap();
    assert_eq!(&*above.reads.fields[0].spec.pointer, "/ms");
    assert_eq!(above.reads.fields[0].missing, OnBad::Reject);
    assert_eq!(
        plugin.open("abov", "{}").unwrap_err().to_string(),
        "there is no function \"abov\" in plugin test (it has same, copied, above)"
    );
    let wrong = plugin.aggregate("same", "{}", &above, tag()).err().unwrap();
    assert_eq!(
        wrong.to_string(),
        "function same is a transform, not a aggregate"
    );
}

#[test]
fn core_modules_are_wrapped_with_what_they_export() {
    // Text and binary of the same module.
    for bytes in [PAIRS.as_bytes().to_vec(), binary(PAIRS)] {
        let plugin = engine().load(&bytes, &LoadOptions::default()).unwrap();
        assert_eq!(plugin.functions()[0].kind, FunctionKind::Join);
    }
}

#[test]
fn files_that_are_no_wasm_say_what_they_are() {
    assert_eq!(refused(b""), "not a WebAssembly file: it is empty");
    assert_eq!(
        refused(b"hello"),
        "not a WebAssembly file: it is text, starting with 68 65 6c 6c"
    );
    assert_eq!(
        refused(&[0x1f, 0x8b, 8, 0]),
        "not a WebAssembly file: it is gzip, starting with 1f 8b 08 00"
    );
    assert!(refused(b"\x7fELF\x02").contains("an ELF binary"));
    assert!(refused(b"(module (func").starts_with("WebAssembly text does not parse: "));
}

#[test]
fn truncated_files_say_where_they_end() {
    let whole = binary(PLAIN);
    for len in [3, 20, whole.len() / 2, whole.len() - 1] {
        let words = refused(&whole[..len]);
        assert!(
            words.starts_with("truncated: the file ends at byte "),
            "{len}: {words}"
        );
    }
}

#[test]
fn another_contract_version_says_both() {
    let newer = PLAIN.replace("@0.1.0", "@0.3.0");
    assert_eq!(
        refused(newer.as_bytes()),
        "built for version 0.3.0 of the plugin contract; this host supports 0.1.0"
    );
}

#[test]
fn unknown_imports_are_named_each() {
    let wat = r#"(module
      (import "env" "puts" (func)) (import "acme:net/http@1.0.0" "get" (func))
      (import "wasi_snapshot_preview1" "fd_write" (func)))"#;
    let words = refused(wat.as_bytes());
    assert_eq!(
        words,
        "it imports what this host does not offer: env (symbols that the linker left open: link with all libraries, or export what is missing); \
         acme:net/http@1.0.0 (plugins get wasmill:plugin/host only); \
         wasi_snapshot_preview1 (a core module with WASI must be made a component first: wasm-tools component new --adapt)"
    );
}

/// A component with one more import, which nothing in it uses: two sections at its end.
fn with_import(component: &[u8], name: &str) -> Vec<u8> {
    let types = wasmparser::Validator::new()
        .validate_all(component)
        .unwrap();
    let index = types.as_ref().component_type_count() as u8;
    assert!(index < 128 && name.len() < 100, "one byte of LEB128");
    // An instance type with one function without parameters and results; an import of it.
    let instance = [
        &[1, 0x42, 2, 1, 0x40, 0, 1, 0, 4, 0, 3][..],
        b"get",
        &[1, 0],
    ]
    .concat();
    let import = [&[1, 0, name.len() as u8][..], name.as_bytes(), &[5, index]].concat();
    [
        component,
        &[7, instance.len() as u8],
        &instance,
        &[10, import.len() as u8],
        &import,
    ]
    .concat()
}

#[test]
fn a_component_that_only_links_wasi_loads_and_others_are_refused_by_name() {
    let core = binary(PLAIN);
    let component =
        crate::plugin::wrap::wrap(&core, &crate::plugin::shape::shape(&core).unwrap()).unwrap();
    let wasi = with_import(&component, "wasi:cli/environment@0.2.6");
    let plugin = engine().load(&wasi, &LoadOptions::default()).unwrap();
    assert_eq!(plugin.functions().len(), 3);
    assert_eq!(
        texts(
            &transform_of(&plugin, "same")
                .process(&mut records(&["a"]))
                .unwrap()
                .ports[0]
        ),
        ["a"]
    );
    assert_eq!(
        refused(&with_import(&component, "acme:net/http@1.0.0")),
        "it imports what this host does not offer: acme:net/http@1.0.0 (plugins get wasmill:plugin/host only)"
    );
}

#[test]
fn modules_without_lifecycle_are_no_plugins() {
    assert_eq!(
        refused(b"(module (func (export \"run\")))"),
        "it does not export wasmill:plugin/lifecycle@0.1.0: it is no Wasmill plugin (it exports run)"
    );
}

#[test]
fn a_function_without_its_interface_is_named() {
    // counts.wat says that count is an aggregate; as a join it has no interface. Kind is the byte after the name.
    let wrong = COUNTS.replace(
        "wasmill:plugin/aggregate@0.1.0#finish",
        "wasmill:plugin/aggregate@0.1.0#finis",
    );
    let words = refused(wrong.as_bytes());
    assert!(words.contains("finish"), "{words}");
}

#[test]
fn features_that_are_off_are_refused() {
    for wat in [
        "(module (memory i64 1))",
        "(module (memory 1) (memory 1))",
        "(module (memory 1 1 shared))",
        "(module (tag))",
        "(module (type (struct)))",
    ] {
        let words = refused(wat.as_bytes());
        assert!(
            words.starts_with("not valid WebAssembly for this host"),
            "{wat}: {words}"
        );
    }
}

#[test]
fn too_much_memory_to_begin_with_is_refused_at_load() {
    let hungry = PLAIN.replace(
        "(memory (export \"memory\") 2)",
        "(memory (export \"memory\") 2000)",
    );
    assert_eq!(
        refused(hungry.as_bytes()),
        "it has 131072000 bytes of memory to begin with; the limit is 67108864"
    );
}

#[test]
fn too_big_a_table_to_begin_with_is_refused_at_load() {
    let hungry = PLAIN.replace(
        "(memory (export \"memory\") 2)",
        "(memory (export \"memory\") 2) (table 10000000 funcref)",
    );
    assert_eq!(
        refused(hungry.as_bytes()),
        "it has 10000000 table elements to begin with; the limit is 20000"
    );
}

#[test]
fn an_endless_open_is_stopped() {
    let stuck = PLAIN.replace(
        "(param $name i32) (param $len i32) (param i32 i32) (result i32)",
        "(param $name i32) (param $len i32) (param i32 i32) (result i32) (loop $l (br $l))",
    );
    let limits = Limits {
        open_cpu: std::time::Duration::from_millis(50),
        ..Limits::default()
    };
    let plugin = load_with(&stuck, limits);
    let words = plugin.open("same", "{}").unwrap_err().to_string();
    assert_eq!(
        words,
        "same: open: the call took more than 50 ms of CPU time"
    );
}

#[test]
fn inspection_tells_what_is_there_and_what_is_refused() {
    let engine = engine();
    let plain = engine.inspect(PLAIN.as_bytes(), &LoadOptions::default());
    assert_eq!(
        (plain.kind, plain.contract_version.as_deref()),
        (Some(FileKind::Module), Some("0.1.0"))
    );
    assert_eq!(plain.functions.len(), 3);
    assert!(plain.functions.iter().all(|f| f.opened.is_ok()));
    assert!(plain.refused.is_empty() && plain.code_bytes.is_some());
    assert_eq!(plain.imports[0].status, ImportStatus::Offered);
    let other = engine.inspect(
        b"(module (import \"env\" \"f\" (func)))",
        &LoadOptions::default(),
    );
    assert_eq!(other.refused.len(), 1);
    assert!(matches!(other.imports[0].status, ImportStatus::Refused(_)));
}

#[test]
fn code_is_taken_from_the_cache_and_damage_means_compiling() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions {
        cache: CacheDir::At(dir.path().into()),
        ..EngineOptions::new(Compiler::InProcess)
    };
    let load = || {
        Engine::new(options.clone())
            .unwrap()
            .load(PLAIN.as_bytes(), &LoadOptions::default())
            .unwrap()
    };
    assert!(!load().from_cache());
    let cached = load();
    assert!(cached.from_cache());
    assert_eq!(
        texts(
            &transform_of(&cached, "same")
                .process(&mut records(&["a"]))
                .unwrap()
                .ports[0]
        ),
        ["a"]
    );
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "code") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    assert!(!load().from_cache());
    assert!(load().from_cache(), "written anew");
}

#[test]
fn a_plugin_outlives_its_engine_handle_and_the_ticker_ends_with_the_last() {
    let engine = Engine::new(EngineOptions {
        cache: CacheDir::Off,
        ..EngineOptions::new(Compiler::InProcess)
    })
    .unwrap();
    let plugin = engine
        .load(LETTERS.as_bytes(), &LoadOptions::default())
        .unwrap();
    drop(engine);
    // Still ticking: the loop ends.
    let out = transform_of(&plugin, "letters")
        .process(&mut records(&["l"]))
        .unwrap();
    assert_eq!(out.rejected[0].kind, RejectKind::Deadline);
}
