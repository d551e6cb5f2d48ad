//! The host's functions for `cargo test`: everything is recorded.

use std::cell::RefCell;

use crate::contract::{
    BytesCol, Column, Field, Headers, Level, MetricKind, Nulls, Payload, TimeDomain,
};

/// One record put out, in the parts that `emit` gave.
pub(super) struct Out {
    pub port: Option<u32>,
    pub source: u32,
    pub payload: OutPayload,
    /// None: the source's. Some(None): null.
    pub key: Option<Option<Vec<u8>>>,
    pub timestamp: Option<i64>,
}

pub(super) enum OutPayload {
    Inherit,
    Null,
    Bytes(Vec<u8>),
    /// The fields of one `emit`, and the row in it.
    Fields(std::rc::Rc<Vec<Field>>, usize),
}

/// What a call did, and what it may ask for.
#[derive(Default)]
pub(super) struct Recorder {
    pub rows: u32,
    pub outs: Vec<Out>,
    pub rejected: Vec<(u32, String)>,
    pub logs: Vec<(Level, String)>,
    pub metrics: Vec<(String, f64)>,
    pub metric_names: Vec<(String, MetricKind)>,
    pub timers: Vec<(bool, u32, TimeDomain, i64)>,
    pub nulls: [Option<Nulls>; 2],
    pub headers: Option<Headers>,
    pub level: Option<Level>,
    pub port: Option<u32>,
    pub next_nulls: (Option<Vec<u8>>, Option<Vec<u8>>),
}

thread_local! {
    static RECORDER: RefCell<Recorder> = RefCell::default();
}

/// Starts a call; what is left of the one before is dropped.
pub(super) fn start(recorder: Recorder) {
    RECORDER.set(recorder);
}

/// What the call did.
pub(super) fn stop() -> Recorder {
    RECORDER.take()
}

fn record<T>(f: impl FnOnce(&mut Recorder) -> T) -> T {
    RECORDER.with_borrow_mut(f)
}

pub fn emit(
    source: Option<&[u32]>,
    payload: &Payload,
    keys: Option<&BytesCol>,
    timestamps: Option<&[i64]>,
) {
    record(|r| {
        let n = source.map_or(r.rows as usize, <[u32]>::len);
        assert!(
            holds(payload, n),
            "an emit of {n} records has not as many values"
        );
        let (null_keys, null_values) = std::mem::take(&mut r.next_nulls);
        let is = |marks: &Option<Vec<u8>>, i: usize| marks.as_ref().is_some_and(|m| m[i] != 0);
        let fields = match payload {
            Payload::Fields(fields) => Some(std::rc::Rc::new(fields.clone())),
            _ => None,
        };
        for i in 0..n {
            let payload = match payload {
                _ if is(&null_values, i) => OutPayload::Null,
                Payload::Inherit => OutPayload::Inherit,
                Payload::Bytes(bytes) => OutPayload::Bytes(bytes.get(i).to_vec()),
                Payload::Fields(_) => OutPayload::Fields(fields.clone().expect("made above"), i),
            };
            let out = Out {
                port: r.port,
                source: source.map_or(i as u32, |s| s[i]),
                payload,
                key: keys.map(|k| (!is(&null_keys, i)).then(|| k.get(i).to_vec())),
                timestamp: timestamps.map(|t| t[i]),
            };
            r.outs.push(out);
        }
    });
}

/// Whether a payload is of so many records.
fn holds(payload: &Payload, n: usize) -> bool {
    match payload {
        Payload::Inherit => true,
        Payload::Bytes(bytes) => bytes.len() == n,
        Payload::Fields(fields) => fields.iter().all(|field| match &field.data {
            Column::Text(column) | Column::Json(column) => column.len() == n,
            Column::Ints(column) => column.len() == n,
            Column::Floats(column) => column.len() == n,
            Column::Bools(column) => column.len() == n,
            Column::Input(_) => true,
        }),
    }
}

pub fn emit_nulls(keys: Option<&[u8]>, values: Option<&[u8]>) {
    record(|r| r.next_nulls = (keys.map(<[u8]>::to_vec), values.map(<[u8]>::to_vec)));
}

pub fn emit_headers(_: &Headers) {}

pub fn port(index: Option<u32>) {
    record(|r| r.port = index);
}

pub fn reject(row: u32, reason: &str) {
    record(|r| r.rejected.push((row, reason.into())));
}

pub fn failing_row(_: u32, _: &str) {}

pub fn input_headers() -> Option<Headers> {
    record(|r| r.headers.clone())
}

pub fn input_nulls() -> Nulls {
    record(|r| r.nulls[0].clone()).unwrap_or(Nulls {
        keys: None,
        values: None,
    })
}

pub fn right_nulls() -> Nulls {
    record(|r| r.nulls[1].clone()).unwrap_or(Nulls {
        keys: None,
        values: None,
    })
}

pub fn log(level: Level, message: &str) {
    record(|r| r.logs.push((level, message.into())));
}

pub fn log_level() -> Level {
    record(|r| r.level).unwrap_or(Level::Trace)
}

pub fn metric(name: &str, kind: MetricKind) -> u32 {
    record(|r| {
        let at = r
            .metric_names
            .iter()
            .position(|(n, _)| n == name)
            .unwrap_or_else(|| {
                r.metric_names.push((name.into(), kind));
                r.metric_names.len() - 1
            });
        at as u32
    })
}

pub fn record_metric(id: u32, value: f64) {
    record(|r| {
        let name = r.metric_names[id as usize].0.clone();
        r.metrics.push((name, value));
    });
}

pub fn set_timer(group: u32, domain: TimeDomain, time: i64) {
    record(|r| r.timers.push((true, group, domain, time)));
}

pub fn delete_timer(group: u32, domain: TimeDomain, time: i64) {
    record(|r| r.timers.push((false, group, domain, time)));
}
