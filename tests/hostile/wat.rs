//! Guests as WebAssembly text: a frame that keeps the contract, with one place for the attack.
//!
//! The frame has one function, `attack`. Its body runs once for every row whose value begins with `x` (or what `first` says);
//! all rows are put out as they came. Fixed places in the guest's memory: 1024.. is free for attacks, and
//! what the host passes in lies from 65536 on.

/// What differs from a guest that behaves.
pub struct Guest<'a> {
    /// Further imports, as WAT.
    pub imports: &'a str,
    /// Further functions, globals, tables, data.
    pub items: &'a str,
    /// Memory, as pages and further text.
    pub memory: &'a str,
    /// In `lifecycle.open`.
    pub open: &'a str,
    /// In `lifecycle.close`.
    pub close: &'a str,
    /// For each row with an `x`: locals `$i` (row), `$at` (its value), `$n`, `$m` and `$p` (the arguments of
    /// `process`).
    pub body: &'a str,
    /// Of a process function: before its rows, once a call.
    pub call: &'a str,
    /// After each call, when its answer was read.
    pub forget: &'a str,
    /// Instead of the allocator: parameters `$align` and `$size`.
    pub realloc: &'a str,
    /// What the values of such rows begin with, in place of `x`.
    pub first: u8,
    /// Of the descriptor: 1 sets keys, 2 sets timestamps.
    pub traits: u8,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Guest {
            imports: "",
            items: "",
            memory: "3",
            open: "",
            close: "",
            body: "",
            call: "",
            forget: "(global.set $top (i32.const 65536))",
            realloc: "(call $room (local.get $size))",
            first: b'x',
            traits: 0,
        }
    }
}

/// A guest whose body attacks.
pub fn body(body: &str) -> Guest<'_> {
    Guest {
        body,
        ..Guest::default()
    }
}

/// `emit` of these sixteen flat arguments.
pub fn emit(source: &str, payload: &str, keys: &str, timestamps: &str) -> String {
    let all = [source, payload, keys, timestamps].join(" ");
    let arguments: Vec<String> = all
        .split_whitespace()
        .map(|n| match n.strip_prefix('$') {
            Some(local) => format!("(local.get ${local})"),
            None => format!("(i32.const {n})"),
        })
        .collect();
    assert_eq!(arguments.len(), 16, "{all}");
    format!("(call $emit {})", arguments.join(" "))
}

/// Nothing, for the parts of `emit`.
pub const NO_SOURCE: &str = "0 0 0";
pub const INHERIT: &str = "0 0 0 0 0";
pub const NO_KEYS: &str = "0 0 0 0 0";
pub const NO_TIMES: &str = "0 0 0";

const IMPORTS: &str = r#"
  (import "wasmill:plugin/host@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "wasmill:plugin/host@0.1.0" "reject" (func $reject (param i32 i32 i32)))
  (import "wasmill:plugin/host@0.1.0" "failing-row" (func $failing-row (param i32 i32 i32)))
  (import "wasmill:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "wasmill:plugin/host@0.1.0" "metric" (func $metric (param i32 i32 i32) (result i32)))
  (import "wasmill:plugin/host@0.1.0" "record-metric" (func $record-metric (param i32 f64)))
  (import "wasmill:plugin/host@0.1.0" "port" (func $port (param i32 i32)))
  (import "wasmill:plugin/host@0.1.0" "set-timer" (func $set-timer (param i32 i32 i64)))"#;

/// What both kinds share: names, `lifecycle`, the allocator.
fn frame(guest: &Guest<'_>, kind: u8, export: &str) -> String {
    let Guest {
        imports,
        items,
        memory,
        open,
        close,
        forget,
        realloc,
        traits,
        ..
    } = guest;
    format!(
        r#"(module {IMPORTS} {imports}
  (memory (export "memory") {memory})
  (data (i32.const 16) "attack")
  (data (i32.const 32) "\00\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\{traits:02x}\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 96) "\10\00\00\00\06\00\00\00\{kind:02x}\00\00\00\10\00\00\00\06\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 128) "\60\00\00\00\01\00\00\00")
  (global $top (mut i32) (i32.const 65536))
  {items}
  (func $room (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.div_u (i32.sub (global.get $top) (i32.mul (memory.size) (i32.const 65536))) (i32.const 65536)) (i32.const 1)))))
    (local.get $at))
  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    {realloc})
  (func $forget (param i32) {forget})
  (func (export "wasmill:plugin/lifecycle@0.1.0#functions") (result i32) (i32.const 128))
  (func (export "wasmill:plugin/lifecycle@0.1.0#close") {close})
  (func (export "wasmill:plugin/lifecycle@0.1.0#open") (param i32 i32 i32 i32) (result i32)
    {open}
    (i32.const 32))
  (export "cabi_post_wasmill:plugin/{export}" (func $forget))"#
    )
}

/// The loop over rows. `$rows`, `$offsets` and `$data` are WAT that gives them.
fn rows(body: &str, first: u8, rows: &str, offsets: &str, data: &str) -> String {
    format!(
        r#"
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) {rows}))
        (local.set $at (i32.add {data} (i32.load (i32.add {offsets} (i32.shl (local.get $i) (i32.const 2))))))
        (if (i32.and (i32.ne (i32.load (i32.add {offsets} (i32.shl (local.get $i) (i32.const 2)))) (i32.load offset=4 (i32.add {offsets} (i32.shl (local.get $i) (i32.const 2)))))
                     (i32.eq (i32.load8_u (local.get $at)) (i32.const {first})))
          (then {body}))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))"#
    )
}

/// A transform.
pub fn transform(guest: &Guest<'_>) -> String {
    let frame = frame(guest, 0, "transform@0.1.0#process");
    let rows = rows(
        guest.body,
        guest.first,
        "(local.get $len)",
        "(local.get $offsets)",
        "(local.get $data)",
    );
    let pass = emit(NO_SOURCE, INHERIT, NO_KEYS, NO_TIMES);
    format!(
        r#"{frame}
  (func (export "wasmill:plugin/transform@0.1.0#process") (param $len i32) (param i32) (param $offsets i32) (param i32) (param $data i32) (param i32) (param i32 i32 i32 i32 i32) (param i32 i32 i32) (param i32 i32) (result i32)
    (local $i i32) (local $at i32) (local $n i32) (local $m i32) (local $p i32)
    {rows}
    {pass}
    (i32.store8 (i32.const 512) (i32.const 0))
    (i32.const 512)))"#
    )
}

/// A process function; unless the attack changes them, states go back as they came.
pub fn process(guest: &Guest<'_>) -> String {
    let frame = frame(guest, 4, "process@0.1.0#process");
    let rows = rows(
        guest.body,
        guest.first,
        "(i32.load (local.get $p))",
        "(i32.load offset=8 (local.get $p))",
        "(i32.load offset=16 (local.get $p))",
    );
    let call = guest.call;
    // Where the answer's six words are copied from: present, offsets, data, each with its length.
    let words: String = (0..6)
        .map(|w| {
            format!(
                "(i32.store (i32.const {}) (i32.load offset={} (local.get $p)))\n",
                516 + 4 * w,
                88 + 4 * w
            )
        })
        .collect();
    format!(
        r#"{frame}
  (func (export "wasmill:plugin/process@0.1.0#process") (param $p i32) (result i32)
    (local $i i32) (local $at i32) (local $n i32) (local $m i32)
    (i32.store8 (i32.const 512) (i32.const 0))
    {words}
    {call}
    {rows}
    (i32.const 512)))"#
    )
}
