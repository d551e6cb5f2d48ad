//! Whole plugins: modules that wasm-smith makes with our exports, and answers of any bytes.

use std::cell::LazyCell;
use std::ops::Range;
use std::time::Duration;

use arbitrary::Unstructured;
use arrow_array::BinaryArray;
use wasmill::format::envelope::write_envelopes;
use wasmill::plugin::{Compiler, InstanceTag, Limits, LoadOptions, Plugin};
use wasmill::record::{Batch, Form, Value};

use wasmparser::{DataKind, ExternalKind, Operator, Parser, Payload, TypeRef};

use super::{Random, engine, fuzz};
use crate::wat::{Guest, transform};

/// Little of everything: what is made at random mostly loops.
fn options() -> LoadOptions {
    LoadOptions {
        limits: Limits {
            call_cpu: Duration::from_millis(3),
            record_cpu: Duration::from_millis(2),
            open_cpu: Duration::from_millis(10),
            search_cpu: Duration::from_millis(50),
            memory_bytes_max: 4 << 20,
            memory_bytes_soft: 4 << 20,
            ..Limits::default()
        },
        ..LoadOptions::default()
    }
}

/// Opens what it says it has, and gives each a batch: an answer, or an error in words.
fn drive(plugin: &Plugin) {
    for function in plugin.functions() {
        let Ok(descriptor) = plugin.open(&function.name, "{}") else {
            continue;
        };
        let tag = InstanceTag {
            job: "job".into(),
            step: "step".into(),
            partition: 0,
        };
        let Ok(mut function) = plugin.transform(&function.name, "{}", &descriptor, tag) else {
            continue;
        };
        let values = BinaryArray::from_iter_values(["a", "{\"attack\":1}", "xc"]);
        let mut batch = Batch::of(3, Value::new(Form::Bytes(values)));
        batch.keys = Some(BinaryArray::from_iter_values(["k", "l", "m"]));
        batch.timestamps = Some((0..3).map(Some).collect());
        match function.process(&mut batch) {
            Ok(mut done) => {
                for port in &mut done.ports {
                    let mut out = Vec::new();
                    write_envelopes(port, &mut out);
                }
            }
            Err(fault) => assert!(!fault.message.is_empty()),
        }
    }
}

/// Imports and exports as our guests have them, and whatever code wasm-smith puts behind them. The module
/// says what it has and opens as it should, else nearly none would ever be called.
#[test]
fn smith_modules() {
    let engine = LazyCell::new(|| engine(Compiler::InProcess));
    let frame = wat::parse_str(transform(&Guest::default())).expect("the frame parses");
    // The same for bodies: what it says lies in data, which a module of chance has elsewhere.
    let stores: String = data_of(&frame)
        .map(|(at, byte)| format!("(i32.store8 (i32.const {at}) (i32.const {byte}))"))
        .collect();
    let says = transform(&Guest {
        items: "(func $says (export \"says\") (param i32 i32 i32 i32) (result i32) (i32.const 32))",
        ..Guest::default()
    });
    let says = says.replace("(i32.const 128))", &format!("{stores} (i32.const 128))"));
    let says = wat::parse_str(says).expect("the frame parses");
    let honest: Vec<(&str, Vec<u8>)> = [
        (
            "wasmill:plugin/lifecycle@0.1.0#functions",
            "wasmill:plugin/lifecycle@0.1.0#functions",
        ),
        ("wasmill:plugin/lifecycle@0.1.0#open", "says"),
    ]
    .into_iter()
    .map(|(name, from)| (name, body_of(&says, from)))
    .collect();
    let room = wat::parse_str(
        "(module (func (export \"room\") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))",
    )
    .expect("it parses");
    let room = body_of(&room, "room");
    let options = options();
    let (mut loaded, mut tried) = (0u32, 0u32);
    fuzz("smith_modules", |random| {
        let noise: Vec<u8> = (0..6_000).map(|_| random.next() as u8).collect();
        let config = wasm_smith::Config {
            available_imports: Some(frame.clone()),
            exports: Some(frame.clone()),
            max_funcs: 30,
            // The one that is exported.
            max_memories: 0,
            // All that this host turns away before it compiles would hide the rest.
            memory64_enabled: false,
            gc_enabled: false,
            reference_types_enabled: false,
            compact_imports_enabled: false,
            exceptions_enabled: false,
            threads_enabled: false,
            tail_call_enabled: false,
            relaxed_simd_enabled: false,
            custom_page_sizes_enabled: false,
            wide_arithmetic_enabled: false,
            shared_everything_threads_enabled: false,
            allow_start_export: random.below(4) == 0,
            multi_value_enabled: random.below(2) == 0,
            simd_enabled: random.below(2) == 0,
            ..wasm_smith::Config::default()
        };
        let Ok(module) = wasm_smith::Module::new(config, &mut Unstructured::new(&noise)) else {
            return;
        };
        let mut bodies = honest.clone();
        if random.below(4) > 0 {
            bodies.push(("cabi_realloc", room.clone()));
        }
        tried += 1;
        match engine.load(&with_bodies(&module.to_bytes(), &bodies), &options) {
            Ok(plugin) => {
                loaded += 1;
                drive(&plugin);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
    println!("smith_modules: {loaded} of {tried} were plugins");
}

/// Bytes that a module puts into its memory, with their places.
fn data_of(module: &[u8]) -> impl Iterator<Item = (u32, u8)> {
    let mut all = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let Ok(Payload::DataSection(section)) = payload else {
            continue;
        };
        for data in section.into_iter().flatten() {
            let DataKind::Active { offset_expr, .. } = data.kind else {
                continue;
            };
            let Ok(Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else {
                continue;
            };
            all.extend((value as u32..).zip(data.data.iter().copied()));
        }
    }
    all.into_iter()
}

/// Where the code of a module is: the section with its head, each body with its size; and which of them
/// each exported function is.
#[derive(Default)]
struct Code {
    section: Range<usize>,
    bodies: Vec<Range<usize>>,
    exported: Vec<(String, usize)>,
}

fn code_of(module: &[u8]) -> Code {
    let mut code = Code::default();
    let mut imported = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.expect("it is well formed") {
            Payload::ImportSection(section) => {
                let imports = section.into_imports().flatten();
                imported = imports.filter(|i| matches!(i.ty, TypeRef::Func(_))).count();
            }
            Payload::ExportSection(section) => {
                let functions = section.into_iter().flatten();
                let functions = functions.filter(|e| e.kind == ExternalKind::Func);
                code.exported.extend(functions.filter_map(|e| {
                    Some((e.name.to_owned(), (e.index as usize).checked_sub(imported)?))
                }));
            }
            Payload::CodeSectionStart { range, .. } => code.section = range,
            Payload::CodeSectionEntry(body) => code.bodies.push(body.range()),
            _ => {}
        }
    }
    code
}

/// The body of an exported function.
fn body_of(module: &[u8], name: &str) -> Vec<u8> {
    let code = code_of(module);
    let (_, index) = code
        .exported
        .iter()
        .find(|(n, _)| n == name)
        .expect("it is exported");
    module[code.bodies[*index].clone()].to_vec()
}

/// The module with other bodies behind these exports, where they are functions of its own.
fn with_bodies(module: &[u8], bodies: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let code = code_of(module);
    let mut content = Vec::new();
    put_len(&mut content, code.bodies.len());
    for (index, range) in code.bodies.iter().enumerate() {
        let other = bodies.iter().find(|(name, _)| {
            code.exported
                .iter()
                .any(|(n, at)| n == name && *at == index)
        });
        let body = other.map_or(&module[range.clone()], |(_, body)| body);
        put_len(&mut content, body.len());
        content.extend_from_slice(body);
    }
    // The head of the section: its number, and its length, which may be written in more bytes than it needs.
    let number = (0..code.section.start)
        .rev()
        .find(|at| {
            let mut rest = &module[at + 1..code.section.start];
            module[*at] == 10 && read_len(&mut rest) == Some(code.section.len()) && rest.is_empty()
        })
        .expect("a section has a head");
    let mut whole = module[..=number].to_vec();
    put_len(&mut whole, content.len());
    whole.extend(content);
    whole.extend_from_slice(&module[code.section.end..]);
    whole
}

fn put_len(out: &mut Vec<u8>, mut len: usize) {
    loop {
        let low = (len & 0x7f) as u8;
        len >>= 7;
        out.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            return;
        }
    }
}

fn read_len(bytes: &mut &[u8]) -> Option<usize> {
    let mut len = 0;
    for shift in (0..35).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        len |= usize::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

/// What `functions`, `open` and `process` answer lies in the guest's memory: other bytes there are other
/// lists, strings, variants, flags.
#[test]
fn wit_values() {
    let engine = LazyCell::new(|| engine(Compiler::InProcess));
    let options = options();
    let mut loaded = 0u32;
    fuzz("wit_values", |random| {
        let mut stores = String::new();
        for _ in 0..1 + random.below(6) {
            // Between the descriptor and the list of functions, or in the answer of a call.
            let at = match random.below(3) {
                0 => 512 + 4 * random.below(7),
                _ => 32 + 4 * random.below(26),
            };
            stores += &format!("(i32.store (i32.const {at}) (i32.const {}))", word(random));
        }
        let items = format!("(func $lie {stores}) (start $lie)");
        let body = format!("(i32.store (i32.const 512) (i32.const {}))", word(random));
        let wat = transform(&Guest {
            items: &items,
            body: &body,
            traits: random.below(4) as u8,
            ..Guest::default()
        });
        // Without the last word of the frame, that the call went well.
        let wat = wat.replace("(i32.store8 (i32.const 512) (i32.const 0))", "");
        if let Ok(plugin) = engine.load(wat.as_bytes(), &options) {
            loaded += 1;
            drive(&plugin);
        }
    });
    println!("wit_values: {loaded} were plugins");
}

fn word(random: &mut Random) -> i32 {
    const WORDS: &[i32] = &[
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        16,
        32,
        96,
        128,
        255,
        256,
        1024,
        65_535,
        65_536,
        196_600,
        0x7fff_ffff,
        -1,
        -4,
        -8,
        i32::MIN,
        0x0101_0101,
        0x00ff_00ff,
    ];
    match random.below(4) {
        0 => random.next() as i32,
        _ => WORDS[random.below(WORDS.len())],
    }
}
