//! Each bound with a file just past it, made as bytes where text would be too long to read.

use crate::plugin::load::LoadError;
use crate::plugin::shape::{binary_of, shape};

/// Why a module in text is refused.
fn refused(wat: &str) -> String {
    shape(&wat::parse_str(wat).unwrap())
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

/// A module whose only function has this body.
fn body(inside: &str) -> String {
    refused(&format!("(module (func {inside}))"))
}

#[track_caller]
fn says(found: &str, part: &str) {
    assert!(
        found.starts_with("no plugin of this shape is compiled here: ") && found.contains(part),
        "{found}"
    );
}

#[test]
fn too_many_of_anything_is_refused_with_both_numbers() {
    let many = |what: &str, n: usize| refused(&format!("(module {})", what.repeat(n)));
    says(&many("(func)", 50_001), "50001 functions, more than 50000");
    says(
        &many("(import \"a\" \"b\" (func))", 1_001),
        "1001 imports, more than 1000",
    );
    says(
        &many("(global i32 (i32.const 0))", 10_001),
        "10001 globals, more than 10000",
    );
    says(&many("(table 0 funcref)", 5), "5 tables, more than 4");
    let exports: String = (0..10_001)
        .map(|i| format!("(export \"e{i}\" (func 0))"))
        .collect();
    says(
        &refused(&format!("(module (func) {exports})")),
        "10001 exports, more than 10000",
    );
    says(
        &refused(&format!(
            "(module (memory 1) {})",
            "(data (i32.const 0) \"\")".repeat(20_001)
        )),
        "20001 data segments, more than 20000",
    );
    says(
        &refused(&format!(
            "(module (table 1 funcref) (func) {})",
            "(elem (i32.const 0) 0)".repeat(20_001)
        )),
        "20001 element segments, more than 20000",
    );
}

#[test]
fn too_many_types_and_too_wide_ones_are_refused() {
    let types: String = (0..20_001).map(|_| "(type (func))").collect();
    says(
        &refused(&format!("(module {types})")),
        "20001 types, more than 20000",
    );
    says(
        &refused(&format!(
            "(module (type (func (param {}))))",
            "i32 ".repeat(129)
        )),
        "129 parameters in one type, more than 128",
    );
    says(
        &refused(&format!(
            "(module (type (func (result {}))))",
            "i32 ".repeat(33)
        )),
        "33 results in one type, more than 32",
    );
}

#[test]
fn functions_that_blow_up_in_the_compiler_are_refused_by_number_and_place() {
    let nested = |n: usize| "block ".repeat(n) + &"end ".repeat(n);
    says(
        &body(&nested(5_001)),
        "function 0 (of those with a body), at byte ",
    );
    says(
        &body(&nested(5_001)),
        "has 5001 blocks inside each other, more than 5000",
    );
    says(
        &body(&"block end ".repeat(20_001)),
        "20001 blocks, more than 20000",
    );
    says(
        &body(&"loop end ".repeat(2_001)),
        "2001 loops, more than 2000",
    );
    says(
        &body(&format!("(local {})", "i32 ".repeat(10_001))),
        "10001 locals, more than 10000",
    );
    says(
        &body(&"nop ".repeat(1 << 20)),
        "bytes of code, more than 1048576",
    );
    says(
        &body(&format!(
            "(block (br_table {} (i32.const 0)))",
            "0 ".repeat(20_002)
        )),
        "20001 targets in one br_table, more than 20000",
    );
    let wide = format!(
        "(module (type $w (func (param {0}) (result {0}))) (func {1} {2} {3}))",
        "i32 ".repeat(32),
        "i32.const 0 ".repeat(32),
        "loop (type $w) end ".repeat(1_025),
        "drop ".repeat(32),
    );
    says(
        &refused(&wide),
        "65600 values that its blocks take and give, more than 65536",
    );
}

#[test]
fn modules_inside_each_other_are_bounded() {
    let deep = "(component ".repeat(10) + &")".repeat(10);
    says(
        &refused(&deep),
        "9 levels of modules and components inside each other, more than 8",
    );
    let modules = format!("(component {})", "(core module)".repeat(65));
    says(&refused(&modules), "65 nested modules, more than 64");
    let components = format!("(component {})", "(component)".repeat(257));
    says(
        &refused(&components),
        "257 nested components, more than 256",
    );
}

#[test]
fn ten_thousand_sections_are_refused() {
    let mut binary = b"\0asm\x01\0\0\0".to_vec();
    for _ in 0..10_000 {
        // A custom section of two bytes: the length of its name, the name.
        binary.extend_from_slice(&[0, 2, 1, b'x']);
    }
    says(
        &shape(&binary).map(|_| ()).unwrap_err().to_string(),
        "5001 sections, more than 5000",
    );
}

#[test]
fn a_name_or_a_count_of_four_gigabytes_is_refused_without_room_for_it() {
    for section in [
        // A custom section whose name has 2^32 - 1 bytes; a function with as many locals.
        &[0, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, b'x'][..],
        &[
            1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 11, 1, 9, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f,
            0x0b,
        ],
    ] {
        let binary = [b"\0asm\x01\0\0\0", section].concat();
        let refused = shape(&binary).map(|_| ()).unwrap_err();
        assert!(
            matches!(
                refused,
                LoadError::Invalid { .. } | LoadError::Truncated { .. } | LoadError::Shape(_)
            ),
            "{refused}"
        );
    }
}

#[test]
fn text_is_bounded_before_it_is_parsed() {
    let text = format!("(module){}", " ".repeat(4 << 20));
    says(
        &binary_of(text.as_bytes())
            .map(|_| ())
            .unwrap_err()
            .to_string(),
        "4194312 bytes of WebAssembly text, more than 4194304",
    );
    // Deep enough to overflow the stack of a parser that recurses.
    let deep = format!("(module (func {}", "(block ".repeat(100_000));
    assert!(matches!(binary_of(deep.as_bytes()), Err(LoadError::Wat(_))));
}

#[test]
fn memory_and_tables_to_begin_with_are_added_up() {
    let shape = shape(
        &wat::parse_str(
            "(component (core module (memory 3) (table 5 funcref)) (core module (memory 4) (table 6 funcref)))",
        )
        .unwrap(),
    )
    .unwrap();
    assert_eq!((shape.memory_bytes, shape.table_elements), (7 << 16, 11));
}
