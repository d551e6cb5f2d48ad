//! Records out: `out.emit(value).with_key(..).with_timestamp(..).to_port(..)`.
//!
//! Outputs are gathered in columns, one set a port, and handed to the host when the call is over (or
//! when a record differs from those before it in what it sets). Buffers stay for the next call.

use crate::contract::{BytesCol, FieldSpec, Payload, Traits};
use crate::emit::{Bytes, Emit};
use crate::host;

/// Records handed over at once. Bounds the guest's memory where one record becomes very many.
const CHUNK_RECORDS: usize = 16_384;

/// Where a function puts its records. `E` is the type of the values: a struct with `#[derive(Emit)]`, or
/// [`Bytes`].
pub struct Output<E: Emit = Bytes> {
    /// Input row (group, pair, timer) that what is put out comes from.
    row: u32,
    /// Rows of the input: as many outputs, in order, need no `source`.
    rows: u32,
    ports: Vec<Port<E>>,
    names: Vec<String>,
    traits: Traits,
}

/// What the records of one `emit` have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    value: Value,
    key: Key,
    timed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Given,
    Inherited,
    Null,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Given,
    Inherited,
    Null,
}

struct Port<E: Emit> {
    shape: Shape,
    columns: E::Columns,
    sources: Vec<u32>,
    /// Sources so far are 0, 1, 2 …
    in_order: bool,
    keys: BytesCol,
    timestamps: Vec<i64>,
}

impl<E: Emit> Output<E> {
    /// An output with the main port and these named ones, and what the descriptor says of its values.
    /// `reads`: the input's fields; `traits`: what may be set. (Attributes make and drive the output;
    /// whole-batch functions do it themselves: `begin`, then `at` before each row, then `end`.)
    pub fn new(
        reads: &[FieldSpec],
        ports: &[&str],
        traits: Traits,
    ) -> Result<(Output<E>, Vec<crate::contract::EmitSpec>), String> {
        let mut emits = Vec::new();
        let mut all = Vec::new();
        for _ in 0..ports.len() + 1 {
            let (columns, specs) = E::columns(reads)?;
            emits = specs;
            all.push(Port {
                shape: Shape {
                    value: Value::Given,
                    key: Key::Inherited,
                    timed: false,
                },
                columns,
                sources: Vec::new(),
                in_order: true,
                keys: BytesCol::default(),
                timestamps: Vec::new(),
            });
        }
        let names = ports.iter().map(|name| name.to_string()).collect();
        Ok((
            Output {
                row: 0,
                rows: 0,
                ports: all,
                names,
                traits,
            },
            emits,
        ))
    }

    /// A call over `rows` rows begins.
    pub fn begin(&mut self, rows: u32) {
        self.rows = rows;
        for port in &mut self.ports {
            port.discard();
        }
    }

    /// What follows comes from this row.
    #[inline]
    pub fn at(&mut self, row: u32) {
        self.row = row;
        host::working_on(row);
    }

    /// The call is over: hands over what is left.
    pub fn end(&mut self) {
        for index in 0..self.ports.len() {
            self.flush(index);
        }
    }

    /// Puts out a record with this value. Key and timestamp are those of the input record (for an
    /// aggregate or a join: what the host sets), unless `with_key` and `with_timestamp` say otherwise.
    #[inline]
    pub fn emit<'o, 'v>(&'o mut self, value: E::Value<'v>) -> Emitted<'o, 'v, E> {
        self.record(Value::Given, Some(value))
    }

    /// Puts out the input record's own value, of whatever format (not in an aggregate).
    #[inline]
    pub fn pass<'o, 'v>(&'o mut self) -> Emitted<'o, 'v, E> {
        self.record(Value::Inherited, None)
    }

    /// Puts out a record with a null value: in a table, a deletion.
    pub fn delete<'o, 'v>(&'o mut self) -> Emitted<'o, 'v, E> {
        self.record(Value::Null, None)
    }

    #[inline]
    fn record<'o, 'v>(
        &'o mut self,
        kind: Value,
        value: Option<E::Value<'v>>,
    ) -> Emitted<'o, 'v, E> {
        let shape = Shape {
            value: kind,
            key: Key::Inherited,
            timed: false,
        };
        Emitted {
            out: self,
            shape,
            value,
            key: b"",
            timestamp: 0,
            port: 0,
        }
    }

    #[cold]
    fn flush(&mut self, index: usize) {
        let named = !self.names.is_empty();
        self.ports[index].send(named.then_some(index), self.rows);
    }

    /// Always put in the place of its call, where most of it is known.
    #[inline(always)]
    fn push(
        &mut self,
        index: usize,
        shape: Shape,
        value: Option<E::Value<'_>>,
        key: &[u8],
        timestamp: i64,
    ) {
        let port = &self.ports[index];
        if port.shape != shape || port.sources.len() >= CHUNK_RECORDS {
            self.flush(index);
        }
        let port = &mut self.ports[index];
        port.shape = shape;
        port.in_order &= port.sources.len() as u32 == self.row;
        port.sources.push(self.row);
        if let Some(value) = value {
            E::push(&mut port.columns, value);
        }
        if shape.key == Key::Given || shape.timed {
            port.set(key, timestamp);
        }
    }
}

impl<E: Emit> Port<E> {
    /// Key and timestamp of the last record, as its shape has them. Not where records are pushed: most have none, and what is
    /// small is put in the place of its call.
    #[inline(never)]
    fn set(&mut self, key: &[u8], timestamp: i64) {
        if self.shape.key == Key::Given {
            self.keys.push(key);
        }
        if self.shape.timed {
            self.timestamps.push(timestamp);
        }
    }

    /// Drops what a call that failed has left.
    fn discard(&mut self) {
        if !self.sources.is_empty() {
            let payload = E::take(&mut self.columns);
            E::give(&mut self.columns, payload);
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.sources.clear();
        self.in_order = true;
        self.keys.clear();
        self.timestamps.clear();
    }

    /// Hands the records over. `index`: this port, where the function has named ones.
    fn send(&mut self, index: Option<usize>, rows: u32) {
        let n = self.sources.len();
        if n == 0 {
            return;
        }
        if let Some(index) = index {
            host::port(index.checked_sub(1).map(|i| i as u32));
        }
        let source = (!(self.in_order && n as u32 == rows)).then_some(self.sources.as_slice());
        let ones = || vec![1u8; n];
        let empty = || BytesCol {
            offsets: vec![0; n + 1],
            data: Vec::new(),
        };
        let key_nulls = (self.shape.key == Key::Null).then(ones);
        let value_nulls = (self.shape.value == Value::Null).then(ones);
        if key_nulls.is_some() || value_nulls.is_some() {
            host::emit_nulls(key_nulls.as_deref(), value_nulls.as_deref());
        }
        if self.shape.key == Key::Null {
            self.keys = empty();
        }
        let keys = (self.shape.key != Key::Inherited).then_some(&self.keys);
        let timestamps = self.shape.timed.then_some(self.timestamps.as_slice());
        match self.shape.value {
            Value::Given => {
                let payload = E::take(&mut self.columns);
                host::emit(source, &payload, keys, timestamps);
                E::give(&mut self.columns, payload);
            }
            Value::Inherited => host::emit(source, &Payload::Inherit, keys, timestamps),
            Value::Null => host::emit(source, &Payload::Bytes(empty()), keys, timestamps),
        }
        self.clear();
    }
}

/// A record about to be put out: at the end of the statement, unless it is kept longer.
pub struct Emitted<'o, 'v, E: Emit> {
    out: &'o mut Output<E>,
    shape: Shape,
    value: Option<E::Value<'v>>,
    key: &'v [u8],
    timestamp: i64,
    port: usize,
}

impl<'v, E: Emit> Emitted<'_, 'v, E> {
    /// Gives it this key. The function must be declared `sets_keys`.
    #[inline]
    pub fn with_key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'v K) -> Self {
        self.must(
            Traits::SETS_KEYS,
            "with_key needs a function declared `sets_keys`",
        );
        self.shape.key = Key::Given;
        self.key = key.as_ref();
        self
    }

    /// Gives it no key. The function must be declared `sets_keys`.
    pub fn without_key(mut self) -> Self {
        self.must(
            Traits::SETS_KEYS,
            "without_key needs a function declared `sets_keys`",
        );
        self.shape.key = Key::Null;
        self
    }

    /// Gives it this timestamp, in milliseconds since 1970 UTC. The function must be declared
    /// `sets_timestamps`.
    #[inline]
    pub fn with_timestamp(mut self, timestamp: i64) -> Self {
        self.must(
            Traits::SETS_TIMESTAMPS,
            "with_timestamp needs a function declared `sets_timestamps`",
        );
        self.shape.timed = true;
        self.timestamp = timestamp;
        self
    }

    /// Sends it to a named port, declared by `ports("..")`.
    ///
    /// # Panics
    /// If the function has no such port.
    #[inline]
    pub fn to_port(mut self, name: &str) -> Self {
        match self.out.names.iter().position(|n| n == name) {
            Some(at) => self.port = at + 1,
            None => self.fail(&format!("the function declares no port `{name}`")),
        }
        self
    }

    #[inline]
    fn must(&mut self, wanted: Traits, message: &str) {
        if self.out.traits & wanted != wanted {
            self.fail(message);
        }
    }

    #[cold]
    fn fail(&mut self, message: &str) -> ! {
        panic!("{message}")
    }
}

impl<E: Emit> Drop for Emitted<'_, '_, E> {
    #[inline(always)]
    fn drop(&mut self) {
        self.out.push(
            self.port,
            self.shape,
            self.value.take(),
            self.key,
            self.timestamp,
        );
    }
}
