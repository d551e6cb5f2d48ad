//! The contract's types (wit/plugin.wit) as wasmtime moves them: borrowed on the way in, so that a
//! column is one bulk copy; lists left in the guest's memory on the way out through `emit`, so that
//! they are read in place.

use wasmtime::component::{ComponentType, Lift, Lower, WasmList, flags};

/// `bytes-col` going in.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct BytesIn<'a> {
    pub offsets: &'a [u32],
    pub data: &'a [u8],
}

/// `column` going in.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(variant)]
pub enum ColumnIn<'a> {
    #[component(name = "text")]
    Text(BytesIn<'a>),
    #[component(name = "ints")]
    Ints(&'a [i64]),
    #[component(name = "floats")]
    Floats(&'a [f64]),
    #[component(name = "bools")]
    Bools(&'a [u8]),
    #[component(name = "json")]
    Json(BytesIn<'a>),
    /// Never sent: output only.
    #[component(name = "input")]
    #[expect(dead_code, reason = "a case of the contract's variant")]
    Input(u32),
}

/// `field` going in.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct FieldIn<'a> {
    pub valid: Option<&'a [u8]>,
    pub data: ColumnIn<'a>,
}

/// `batch`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct BatchIn<'a> {
    pub len: u32,
    pub values: Option<BytesIn<'a>>,
    pub keys: Option<BytesIn<'a>>,
    pub timestamps: Option<&'a [i64]>,
    pub fields: &'a [FieldIn<'a>],
}

/// `windows`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct WindowsIn<'a> {
    pub starts: &'a [i64],
    pub ends: &'a [i64],
}

/// `process.states` going in.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct StatesIn<'a> {
    pub present: &'a [u8],
    pub data: BytesIn<'a>,
}

/// `fired-timer`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct FiredIn {
    pub group: u32,
    pub domain: Domain,
    pub time: i64,
}

/// `time-domain`.
#[derive(Clone, Copy, ComponentType, Lower, Lift, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub enum Domain {
    #[component(name = "event")]
    Event,
    #[component(name = "processing")]
    Processing,
}

/// `bytes-col` coming out, still in the guest's memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct BytesOut {
    pub offsets: WasmList<u32>,
    pub data: WasmList<u8>,
}

/// `column` coming out. (wasmtime reads lists of floats in place for integers only.)
#[derive(ComponentType, Lift)]
#[component(variant)]
pub enum ColumnOut {
    #[component(name = "text")]
    Text(BytesOut),
    #[component(name = "ints")]
    Ints(WasmList<i64>),
    #[component(name = "floats")]
    Floats(Vec<f64>),
    #[component(name = "bools")]
    Bools(WasmList<u8>),
    #[component(name = "json")]
    Json(BytesOut),
    #[component(name = "input")]
    Input(u32),
}

/// `field` coming out.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct FieldOut {
    pub valid: Option<WasmList<u8>>,
    pub data: ColumnOut,
}

/// `host.payload`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub enum Payload {
    #[component(name = "inherit")]
    Inherit,
    #[component(name = "bytes")]
    Bytes(BytesOut),
    #[component(name = "fields")]
    Fields(Vec<FieldOut>),
}

/// `host.headers` coming out.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct HeadersOut {
    pub first: WasmList<u32>,
    pub names: BytesOut,
    pub values: BytesOut,
}

/// `bytes-col` as a result: copied, since the guest may reuse its memory once the call is over.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct BytesResult {
    pub offsets: Vec<u32>,
    pub data: Vec<u8>,
}

/// `process.states` as a result.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct StatesResult {
    pub present: Vec<u8>,
    pub data: BytesResult,
}

/// `bytes-col` that an import answers.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct BytesAnswer {
    pub offsets: Vec<u32>,
    pub data: Vec<u8>,
}

/// `host.headers` that an import answers.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct HeadersAnswer {
    pub first: Vec<u32>,
    pub names: BytesAnswer,
    pub values: BytesAnswer,
}

/// `host.nulls`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct NullsAnswer {
    pub keys: Option<Vec<u8>>,
    pub values: Option<Vec<u8>>,
}

/// `failure`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct FailureOut {
    pub message: String,
    pub row: Option<u32>,
}

/// `host.level`.
#[derive(Clone, Copy, Debug, ComponentType, Lower, Lift, PartialEq, Eq, PartialOrd, Ord)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by reading the guest's answer")]
pub enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

/// `host.metric-kind`.
#[derive(Clone, Copy, Debug, ComponentType, Lift, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by reading the guest's answer")]
pub enum MetricKindOut {
    #[component(name = "counter")]
    Counter,
    #[component(name = "gauge")]
    Gauge,
    #[component(name = "histogram")]
    Histogram,
}

/// `kind`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by reading the guest's answer")]
pub enum KindOut {
    #[component(name = "text")]
    Text,
    #[component(name = "ints")]
    Ints,
    #[component(name = "floats")]
    Floats,
    #[component(name = "bools")]
    Bools,
    #[component(name = "json")]
    Json,
}

/// `on-bad`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by reading the guest's answer")]
pub enum OnBadOut {
    #[component(name = "null")]
    Null,
    #[component(name = "reject")]
    Reject,
    #[component(name = "fail")]
    Fail,
}

/// `field-spec`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct FieldSpecOut {
    pub pointer: String,
    pub kind: KindOut,
    pub missing: OnBadOut,
    pub mismatch: OnBadOut,
}

/// `emit-spec`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct EmitSpecOut {
    pub name: String,
    pub kind: KindOut,
}

flags! {
    Columns {
        #[component(name = "values")]
        const VALUES;
        #[component(name = "keys")]
        const KEYS;
        #[component(name = "timestamps")]
        const TIMESTAMPS;
    }
}

flags! {
    Traits {
        #[component(name = "sets-keys")]
        const SETS_KEYS;
        #[component(name = "sets-timestamps")]
        const SETS_TIMESTAMPS;
        #[component(name = "mergeable")]
        const MERGEABLE;
        #[component(name = "order-dependent")]
        const ORDER_DEPENDENT;
    }
}

/// `descriptor`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct DescriptorOut {
    pub needs: Columns,
    pub fields: Vec<FieldSpecOut>,
    #[component(name = "right-needs")]
    pub right_needs: Columns,
    #[component(name = "right-fields")]
    pub right_fields: Vec<FieldSpecOut>,
    pub emits: Vec<EmitSpecOut>,
    pub ports: Vec<String>,
    pub traits: Traits,
    #[component(name = "state-version")]
    pub state_version: u32,
    #[component(name = "max-records")]
    pub max_records: u32,
}

/// `function-kind`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by reading the guest's answer")]
pub enum FunctionKindOut {
    #[component(name = "transform")]
    Transform,
    #[component(name = "filter")]
    Filter,
    #[component(name = "aggregate")]
    Aggregate,
    #[component(name = "join")]
    Join,
    #[component(name = "process")]
    Process,
}

/// `function`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct FunctionOut {
    pub name: String,
    pub kind: FunctionKindOut,
    pub doc: String,
    #[component(name = "config-schema")]
    pub config_schema: String,
}
