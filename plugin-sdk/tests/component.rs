//! The committed `std.wasm`, wrapped and called as a host does it, without the host.

use wasmtime::component::{Component, ComponentExportIndex, Instance, Linker, Val};
use wasmtime::{Config, Engine, Store};

fn module() -> Vec<u8> {
    std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../host/assets/std.wasm"
    ))
    .expect("std.wasm is committed")
}

fn component() -> Vec<u8> {
    let encoder = wit_component::ComponentEncoder::default()
        .module(&module())
        .expect("it carries its world");
    encoder
        .validate(true)
        .encode()
        .expect("it is a component's core")
}

struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new() -> Guest {
        let mut config = Config::new();
        config.wasm_component_model(true);
        let engine = Engine::new(&config).expect("the engine starts");
        let component = Component::new(&engine, component()).expect("the component compiles");
        let mut linker = Linker::new(&engine);
        linker
            .define_unknown_imports_as_traps(&component)
            .expect("imports can be traps");
        let mut store = Store::new(&engine, ());
        let instance = linker
            .instantiate(&mut store, &component)
            .expect("it instantiates");
        Guest { store, instance }
    }

    fn export(&mut self, interface: &str, name: &str) -> ComponentExportIndex {
        let interface = format!("wasmill:plugin/{interface}@0.1.0");
        let (_, interface) = self
            .instance
            .get_export(&mut self.store, None, &interface)
            .expect("the interface is there");
        self.instance
            .get_export(&mut self.store, Some(&interface), name)
            .expect("the function is there")
            .1
    }

    fn call(&mut self, interface: &str, name: &str, args: &[Val]) -> Val {
        let export = self.export(interface, name);
        let func = self
            .instance
            .get_func(&mut self.store, export)
            .expect("it is a function");
        let mut results = [Val::Bool(false)];
        func.call(&mut self.store, args, &mut results)
            .expect("the call works");
        let [result] = results;
        result
    }
}

fn bytes(bytes: &[u8]) -> Val {
    Val::List(bytes.iter().map(|b| Val::U8(*b)).collect())
}

fn u32s(numbers: &[u32]) -> Val {
    Val::List(numbers.iter().map(|n| Val::U32(*n)).collect())
}

fn record(fields: &[(&str, Val)]) -> Val {
    Val::Record(
        fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect(),
    )
}

#[test]
fn imports_nothing_but_the_host_interface() {
    for payload in wasmparser::Parser::new(0).parse_all(&module()) {
        if let wasmparser::Payload::ImportSection(imports) = payload.expect("it parses") {
            for import in imports.into_imports() {
                let import = import.expect("it parses");
                assert_eq!(
                    import.module, "wasmill:plugin/host@0.1.0",
                    "import {}",
                    import.name
                );
            }
        }
    }
}

#[test]
fn lists_the_functions_of_std() {
    let Val::List(functions) = Guest::new().call("lifecycle", "functions", &[]) else {
        panic!("a list")
    };
    let names = functions.iter().map(|f| match f {
        Val::Record(fields) => match &fields[0].1 {
            Val::String(name) => name.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    assert_eq!(
        names.collect::<Vec<_>>().join(" "),
        "count sum min max mean stats first last collect distinct top select filter parse-int split-words pair"
    );
}

#[test]
fn counts_records_of_two_groups() {
    let mut guest = Guest::new();
    guest.call(
        "lifecycle",
        "open",
        &[Val::String("count".into()), bytes(b"{}")],
    );
    let none = || Val::Option(None);
    let batch = record(&[
        ("len", Val::U32(3)),
        ("values", none()),
        ("keys", none()),
        ("timestamps", none()),
        ("fields", Val::List(vec![])),
    ]);
    let accs = record(&[("offsets", u32s(&[0, 8, 16])), ("data", bytes(&[0; 16]))]);
    let answer = guest.call("aggregate", "add", &[batch, none(), u32s(&[1, 0, 1]), accs]);
    let expected = record(&[
        ("offsets", u32s(&[0, 8, 16])),
        (
            "data",
            bytes(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
        ),
    ]);
    assert_eq!(answer, Val::Result(Ok(Some(Box::new(expected)))));
}
