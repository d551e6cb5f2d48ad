//! The ABI, pinned: names and flat types of all that a plugin imports and exports, as they stand in the
//! committed `std.wasm`. Plugins of today must run on hosts of tomorrow, so a change here is a new
//! version of the contract.
//!
//! `WASMILL_BLESS=1` writes `golden/abi.txt` anew.

use std::path::Path;

/// Reads a module's sections.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().expect("the module is whole");
        self.0 = rest;
        *first
    }

    /// An unsigned LEB128.
    fn number(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = self.number();
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        head
    }

    fn name(&mut self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("names are UTF-8")
    }

    fn types(&mut self) -> String {
        let types = (0..self.number()).map(|_| match self.byte() {
            0x7f => "i32",
            0x7e => "i64",
            0x7d => "f32",
            0x7c => "f64",
            other => panic!("type {other:#x} in a signature"),
        });
        types.collect::<Vec<_>>().join(" ")
    }
}

/// `import MODULE NAME (params) -> (results)` and `export NAME (params) -> (results)`, sorted.
fn abi(module: &[u8]) -> String {
    let mut rest = Reader(&module[8..]);
    let (mut types, mut functions, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    while !rest.0.is_empty() {
        let id = rest.byte();
        let mut section = Reader(rest.bytes());
        if !matches!(id, 1 | 2 | 3 | 7) {
            continue;
        }
        for _ in 0..section.number() {
            match id {
                1 => {
                    assert_eq!(section.byte(), 0x60, "only function types");
                    let params = section.types();
                    types.push(format!("({params}) -> ({})", section.types()));
                }
                2 => {
                    let (module, name) = (section.name(), section.name());
                    assert_eq!(
                        section.byte(),
                        0,
                        "only functions are imported: {module} {name}"
                    );
                    functions.push(section.number());
                    let ty = &types[functions[functions.len() - 1]];
                    lines.push(format!("import {module} {name} {ty}"));
                }
                3 => functions.push(section.number()),
                _ => {
                    let name = section.name();
                    let (kind, index) = (section.byte(), section.number());
                    // The rest is the linker's, wit-bindgen's and the SDK's own.
                    if kind == 0 && !name.starts_with("__") && !name.contains("wit_bindgen") {
                        lines.push(format!("export {name} {}", types[functions[index]]));
                    }
                }
            }
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn plugins_import_and_export_what_they_always_did() {
    let module = std::fs::read(file("../host/assets/std.wasm")).expect("std.wasm is committed");
    let (abi, golden) = (abi(&module), file("tests/golden/abi.txt"));
    if std::env::var_os("WASMILL_BLESS").is_some() {
        std::fs::write(golden, abi).expect("tests/golden is writable");
        return;
    }
    let expected = std::fs::read_to_string(golden).expect("the golden file is committed");
    // An import that std does not use is not in the module: those that are must be as they were.
    assert_eq!(abi, expected, "the ABI changed");
}

#[test]
fn nothing_but_the_host_interface_is_imported() {
    let module = std::fs::read(file("../host/assets/std.wasm")).expect("std.wasm is committed");
    for line in abi(&module).lines().filter(|l| l.starts_with("import")) {
        assert!(
            line.starts_with("import wasmill:plugin/host@0.1.0 "),
            "{line}"
        );
    }
}

/// Comments are free; the rest of the contract is not.
#[test]
fn the_contract_is_the_one_of_version_0_1_0() {
    let wit = std::fs::read_to_string(file("../wit/plugin.wit")).expect("the contract is there");
    let code = wit
        .lines()
        .map(|l| l.split("//").next().unwrap_or_default());
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in words.join(" ").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    assert_eq!(
        format!("{hash:016x}"),
        "ef70c853f31c077a",
        "wit/plugin.wit says something else than before: that is a new version of the package"
    );
}
