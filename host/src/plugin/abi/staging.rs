//! What a call puts out, staged in host buffers until the call returns ok.
//!
//! Each `emit` is checked whole and copied once, from the guest's memory into buffers that become
//! Arrow arrays without another copy. Emits of one port and one shape that follow each other grow the
//! same buffers, so a guest that emits in small pieces costs no small batches.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::WasmList;

use super::check;
use super::payload::{
    CheckedColumn, CheckedData, CheckedPayload, bytes_size, check_payload, checked, column,
    payload_size,
};
use super::types::{BytesOut, HeadersOut, Payload};
use crate::plugin::host::HostState;
use crate::plugin::limits::Limits;
use crate::plugin::{Descriptor, FunctionKind};
use crate::record::{Blobs, Headers};

/// The Store during an import: lists that the guest handed over are read in place through it.
pub type Memory<'a> = StoreContextMut<'a, HostState>;

/// What a call may emit.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Of which kind of function.
    pub kind: FunctionKind,
    /// Sources when `source` is none: 0, 1, 2 … up to this.
    pub rows: u32,
    /// Sources that there are: the rows, and fired timers.
    pub sources: u32,
    /// What the function said it writes.
    pub descriptor: Arc<Descriptor>,
}

impl Rules {
    /// The word for a source in messages.
    pub fn source_word(&self) -> &'static str {
        match self.kind {
            FunctionKind::Aggregate => "group",
            FunctionKind::Join => "pair",
            FunctionKind::Process => "row or timer",
            FunctionKind::Transform | FunctionKind::Filter => "input row",
        }
    }
}

/// Which source each output comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum SourceRows {
    /// start, start + 1, …
    Run { start: u32, len: u32 },
    /// One by one.
    Each(Vec<u32>),
}

impl SourceRows {
    pub fn len(&self) -> usize {
        match self {
            SourceRows::Run { len, .. } => *len as usize,
            SourceRows::Each(rows) => rows.len(),
        }
    }

    /// The numbers themselves.
    pub fn to_vec(&self) -> Vec<u32> {
        match self {
            SourceRows::Run { start, len } => (*start..*start + *len).collect(),
            SourceRows::Each(rows) => rows.clone(),
        }
    }

    /// Puts further ones behind.
    pub fn join(&mut self, behind: SourceRows) {
        match behind {
            SourceRows::Run { start, len } => self.append(start, &[], len),
            SourceRows::Each(rows) => self.append(u32::MAX, &rows, 0),
        }
    }

    fn append(&mut self, start: u32, rows: &[u32], implicit: u32) {
        match self {
            SourceRows::Run { start: s, len } if rows.is_empty() && *s + *len == start => {
                *len += implicit;
            }
            SourceRows::Each(all) => {
                all.extend_from_slice(rows);
                all.extend((0..implicit).map(|i| start + i));
            }
            SourceRows::Run { .. } => {
                let mut all = self.to_vec();
                all.extend_from_slice(rows);
                all.extend((0..implicit).map(|i| start + i));
                *self = SourceRows::Each(all);
            }
        }
    }
}

/// Strings under construction; offsets fit i32, since the output's bytes are bounded below 2^31.
#[derive(Debug, Default)]
pub struct StagedBytes {
    pub offsets: Vec<u32>,
    pub data: Vec<u8>,
    /// 1 = null; empty: none is.
    pub nulls: Vec<u8>,
}

impl StagedBytes {
    fn append(&mut self, offsets: &[u32], data: &[u8], nulls: Option<&[u8]>) {
        let before = self.offsets.len().saturating_sub(1);
        if self.offsets.is_empty() {
            self.offsets.extend_from_slice(offsets);
        } else {
            let base = self.data.len() as u32;
            self.offsets.extend(offsets[1..].iter().map(|o| base + o));
        }
        self.data.extend_from_slice(data);
        append_marks(&mut self.nulls, before, nulls, offsets.len() - 1, 0);
    }
}

/// Appends marks for `len` rows; both sides may be absent, which means `fill` everywhere.
fn append_marks(all: &mut Vec<u8>, before: usize, new: Option<&[u8]>, len: usize, fill: u8) {
    match new {
        Some(new) => {
            all.resize(before, fill);
            all.extend_from_slice(new);
        }
        None if !all.is_empty() => all.resize(before + len, fill),
        None => {}
    }
}

/// One column of typed output.
#[derive(Debug)]
pub enum StagedData {
    Text(StagedBytes),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Bools(Vec<u8>),
    Json(StagedBytes),
    /// The input's field.
    Input(u32),
}

/// A column with its marks: 0 = null; empty: none is.
#[derive(Debug)]
pub struct StagedColumn {
    pub data: StagedData,
    pub valid: Vec<u8>,
}

/// The values of a segment.
#[derive(Debug)]
pub enum StagedValue {
    Inherit,
    Bytes(StagedBytes),
    Fields(Vec<StagedColumn>),
}

/// Emits of one shape that follow each other on a port.
#[derive(Debug)]
pub struct Segment {
    /// 0 = main, 1 + i = port i.
    pub port: usize,
    pub rows: SourceRows,
    pub value: StagedValue,
    /// Values marked null (for inherited and typed values; bytes hold their own marks).
    pub value_nulls: Vec<u8>,
    pub keys: Option<StagedBytes>,
    pub timestamps: Option<Vec<i64>>,
    pub headers: Option<Headers>,
}

impl Segment {
    /// Whether the records are those of the source rows in everything.
    pub fn is_passed_on(&self) -> bool {
        matches!(self.value, StagedValue::Inherit)
            && self.value_nulls.is_empty()
            && self.keys.is_none()
            && self.timestamps.is_none()
            && self.headers.is_none()
    }
}

/// All output of one call so far.
#[derive(Debug, Default)]
pub struct Staging {
    pub segments: Vec<Segment>,
    port: usize,
    last_of_port: Vec<Option<usize>>,
    key_nulls: Option<Vec<u8>>,
    value_nulls: Option<Vec<u8>>,
    headers: Option<Headers>,
    bytes: u64,
    records: u64,
    /// What was wrong last was only too much of it.
    pub over_limit: bool,
}

/// What a piece of output takes beside its bytes, and each of its typed columns: emits that are never of the shape of
/// the one before are a piece each, and must not fill the host with empty ones.
const SEGMENT_BYTES: u64 = 512;
const COLUMN_BYTES: u64 = 128;

/// What is wrong.
pub type EmitResult = Result<(), String>;

impl Staging {
    /// Forgets everything, for the next call.
    pub fn reset(&mut self) {
        *self = Staging::default();
    }

    /// `host.port`.
    pub fn set_port(&mut self, index: Option<u32>, rules: &Rules) -> EmitResult {
        let ports = rules.descriptor.ports.len();
        self.port = match index {
            None => 0,
            Some(i) if (i as usize) < ports => 1 + i as usize,
            Some(i) => {
                return Err(format!(
                    "port: there is no port {i} (the descriptor names {ports})"
                ));
            }
        };
        if self.port != 0 && matches!(rules.kind, FunctionKind::Aggregate | FunctionKind::Join) {
            return Err(format!(
                "port: {} functions have the main output only",
                rules.kind.name()
            ));
        }
        Ok(())
    }

    /// `host.emit-nulls`.
    pub fn set_nulls(&mut self, keys: Option<Vec<u8>>, values: Option<Vec<u8>>) -> EmitResult {
        for (name, marks) in [("keys", &keys), ("values", &values)] {
            if let Some(marks) = marks {
                check::marks(marks).map_err(|e| format!("emit-nulls: {name}: {e}"))?;
            }
        }
        self.key_nulls = keys;
        self.value_nulls = values;
        Ok(())
    }

    /// `host.emit-headers`.
    pub fn set_headers(
        &mut self,
        store: &Memory<'_>,
        headers: &HeadersOut,
        limits: &Limits,
    ) -> EmitResult {
        let size = bytes_size(&headers.names) + bytes_size(&headers.values);
        self.add_bytes(size + 4 * headers.first.len() as u64, limits)?;
        let first = headers.first.as_le_slice(store);
        let read = |name: &str, col: &BytesOut| -> Result<Blobs, String> {
            let (o, d) = checked(store, col).map_err(|e| format!("emit-headers: {name}: {e}"))?;
            Ok(Blobs::from_parts(o.to_vec(), d.to_vec()))
        };
        let names = read("names", &headers.names)?;
        let values = read("values", &headers.values)?;
        if names.len() != values.len() {
            return Err(format!(
                "emit-headers: {} names for {} values",
                names.len(),
                values.len()
            ));
        }
        check::offsets(first, names.len()).map_err(|e| format!("emit-headers: first: {e}"))?;
        self.headers = Some(Headers {
            first: first.to_vec(),
            names,
            values,
        });
        Ok(())
    }

    /// Before anything of that size is copied.
    fn add_bytes(&mut self, size: u64, limits: &Limits) -> EmitResult {
        self.bytes += size;
        if self.bytes <= limits.output_bytes_max {
            return Ok(());
        }
        self.over_limit = true;
        Err(format!(
            "emit: more than {} bytes put out by one call",
            limits.output_bytes_max
        ))
    }

    /// `host.emit`, checked and copied.
    #[expect(clippy::too_many_arguments, reason = "four are the contract's")]
    pub fn emit(
        &mut self,
        store: &Memory<'_>,
        rules: &Rules,
        limits: &Limits,
        source: Option<WasmList<u32>>,
        payload: Payload,
        keys: Option<BytesOut>,
        timestamps: Option<WasmList<i64>>,
    ) -> EmitResult {
        let rows: &[u32] = source.as_ref().map_or(&[], |s| s.as_le_slice(store));
        if source.is_some() {
            check::below(rows, rules.sources, rules.source_word())
                .map_err(|e| format!("emit: source: {e}"))?;
        }
        let n = if source.is_some() {
            rows.len()
        } else {
            rules.rows as usize
        };
        self.records += n as u64;
        if self.records > limits.output_records_max {
            self.over_limit = true;
            return Err(format!(
                "emit: more than {} records put out by one call",
                limits.output_records_max
            ));
        }
        // Sizes first: nothing is copied that passes the limit.
        let mut size = 4 * rows.len() as u64;
        if let Some(keys) = &keys {
            size += bytes_size(keys);
        }
        size += timestamps.as_ref().map_or(0, |t| 8 * t.len() as u64);
        size += payload_size(&payload);
        self.add_bytes(size, limits)?;
        let key_nulls = self.key_nulls.take();
        let value_nulls = self.value_nulls.take();
        let headers = self.headers.take();
        for (name, marks) in [("keys", &key_nulls), ("values", &value_nulls)] {
            if let Some(marks) = marks {
                check::length(marks.len(), n).map_err(|e| format!("emit-nulls: {name}: {e}"))?;
            }
        }
        if let Some(headers) = &headers {
            check::length(headers.first.len() - 1, n)
                .map_err(|e| format!("emit-headers: first: {e}"))?;
        }
        let keys = match &keys {
            None if key_nulls.is_some() => {
                return Err("emit-nulls: keys marked, but the emit has none".into());
            }
            None => None,
            Some(_) if !rules.descriptor.sets_keys => {
                return Err(
                    "emit: keys from a function whose descriptor does not say sets-keys".into(),
                );
            }
            Some(col) => Some(column(store, col, n).map_err(|e| format!("emit: keys: {e}"))?),
        };
        let timestamps = match &timestamps {
            None => None,
            Some(_) if !rules.descriptor.sets_timestamps => {
                return Err("emit: timestamps from a function whose descriptor does not say sets-timestamps".into());
            }
            Some(list) => {
                check::length(list.len(), n).map_err(|e| format!("emit: timestamps: {e}"))?;
                Some(list.as_le_slice(store))
            }
        };
        if matches!(rules.kind, FunctionKind::Aggregate | FunctionKind::Join)
            && (keys.is_some() || timestamps.is_some())
        {
            return Err(format!(
                "emit: {} functions set neither keys nor timestamps",
                rules.kind.name()
            ));
        }

        let payload = check_payload(store, rules, payload, n, source.is_none(), rows)?;
        if n == 0 {
            return Ok(());
        }
        let columns = (keys.is_some(), timestamps.is_some());
        let at = match self.last_like(&payload, columns, headers.is_some()) {
            Some(at) => at,
            None => self.begin(&payload, columns, headers, limits)?,
        };
        let segment = &mut self.segments[at];
        let before = segment.rows.len();
        if source.is_some() {
            segment.rows.append(u32::MAX, rows, 0);
        } else if before == 0 {
            segment.rows = SourceRows::Run {
                start: 0,
                len: n as u32,
            };
        } else {
            segment.rows.append(0, &[], n as u32);
        }
        let bytes_nulls = match &payload {
            CheckedPayload::Bytes(..) => value_nulls.as_deref(),
            _ => {
                append_marks(
                    &mut segment.value_nulls,
                    before,
                    value_nulls.as_deref(),
                    n,
                    0,
                );
                None
            }
        };
        match (&mut segment.value, payload) {
            (StagedValue::Inherit, CheckedPayload::Inherit) => {}
            (StagedValue::Bytes(all), CheckedPayload::Bytes(o, d)) => all.append(o, d, bytes_nulls),
            (StagedValue::Fields(all), CheckedPayload::Fields(new)) => {
                for (all, new) in all.iter_mut().zip(new) {
                    all.append(before, new, n);
                }
            }
            _ => unreachable!("segment_for found a segment of the same shape"),
        }
        if let (Some(all), Some((o, d))) = (&mut segment.keys, keys) {
            all.append(o, d, key_nulls.as_deref());
        }
        if let (Some(all), Some(new)) = (&mut segment.timestamps, timestamps) {
            all.extend_from_slice(new);
        }
        Ok(())
    }

    /// The port's last segment, if its shape is the same: it is appended to.
    fn last_like(
        &self,
        payload: &CheckedPayload<'_>,
        (keys, timestamps): (bool, bool),
        headers: bool,
    ) -> Option<usize> {
        let at = (*self.last_of_port.get(self.port)?)?;
        let s = &self.segments[at];
        let same = s.keys.is_some() == keys
            && s.timestamps.is_some() == timestamps
            && s.headers.is_none()
            && !headers
            && payload.same_shape(&s.value);
        same.then_some(at)
    }

    /// A new segment.
    fn begin(
        &mut self,
        payload: &CheckedPayload<'_>,
        (keys, timestamps): (bool, bool),
        headers: Option<Headers>,
        limits: &Limits,
    ) -> Result<usize, String> {
        let columns = match payload {
            CheckedPayload::Fields(columns) => columns.len() as u64,
            CheckedPayload::Inherit | CheckedPayload::Bytes(..) => 0,
        };
        self.add_bytes(SEGMENT_BYTES + columns * COLUMN_BYTES, limits)?;
        self.segments.push(Segment {
            port: self.port,
            rows: SourceRows::Each(Vec::new()),
            value: payload.empty(),
            value_nulls: Vec::new(),
            keys: keys.then(StagedBytes::default),
            timestamps: timestamps.then(Vec::new),
            headers,
        });
        let at = self.segments.len() - 1;
        if self.last_of_port.len() <= self.port {
            self.last_of_port.resize(self.port + 1, None);
        }
        self.last_of_port[self.port] = Some(at);
        Ok(at)
    }

    /// Whether some source became more records than it may. Asked once the call is over.
    pub fn check_fan_out(&self, rules: &Rules, limits: &Limits) -> EmitResult {
        if self.records <= u64::from(limits.fan_out_max) {
            return Ok(());
        }
        let mut counts = vec![0u32; rules.sources as usize];
        for segment in &self.segments {
            match &segment.rows {
                SourceRows::Run { start, len } => {
                    counts[*start as usize..(*start + *len) as usize]
                        .iter_mut()
                        .for_each(|c| *c += 1);
                }
                SourceRows::Each(rows) => rows.iter().for_each(|r| counts[*r as usize] += 1),
            }
        }
        match counts.iter().position(|c| *c > limits.fan_out_max) {
            None => Ok(()),
            Some(row) => Err(format!(
                "emit: {} {row} became {} records, more than {}",
                rules.source_word(),
                counts[row],
                limits.fan_out_max
            )),
        }
    }
}

impl CheckedPayload<'_> {
    fn same_shape(&self, staged: &StagedValue) -> bool {
        match (self, staged) {
            (CheckedPayload::Inherit, StagedValue::Inherit)
            | (CheckedPayload::Bytes(..), StagedValue::Bytes(_)) => true,
            (CheckedPayload::Fields(new), StagedValue::Fields(all)) => {
                new.iter().zip(all).all(|(n, a)| match (&n.data, &a.data) {
                    (CheckedData::Input(i), StagedData::Input(j)) => i == j,
                    (CheckedData::Input(_), _) | (_, StagedData::Input(_)) => false,
                    _ => true,
                })
            }
            _ => false,
        }
    }

    fn empty(&self) -> StagedValue {
        match self {
            CheckedPayload::Inherit => StagedValue::Inherit,
            CheckedPayload::Bytes(..) => StagedValue::Bytes(StagedBytes::default()),
            CheckedPayload::Fields(columns) => StagedValue::Fields(
                columns
                    .iter()
                    .map(|c| StagedColumn {
                        valid: Vec::new(),
                        data: match &c.data {
                            CheckedData::Text(..) => StagedData::Text(StagedBytes::default()),
                            CheckedData::Ints(_) => StagedData::Ints(Vec::new()),
                            CheckedData::Floats(_) => StagedData::Floats(Vec::new()),
                            CheckedData::Bools(_) => StagedData::Bools(Vec::new()),
                            CheckedData::Json(..) => StagedData::Json(StagedBytes::default()),
                            CheckedData::Input(i) => StagedData::Input(*i),
                        },
                    })
                    .collect(),
            ),
        }
    }
}

impl StagedColumn {
    fn append(&mut self, before: usize, new: CheckedColumn<'_>, n: usize) {
        let filled = !new.also_null.is_empty();
        append_marks(&mut self.valid, before, new.valid, n, 1);
        if filled {
            self.valid.resize(before + n, 1);
            for row in &new.also_null {
                self.valid[before + *row as usize] = 0;
            }
        }
        match (&mut self.data, new.data) {
            (StagedData::Text(all), CheckedData::Text(o, d))
            | (StagedData::Json(all), CheckedData::Json(o, d)) => {
                all.append(o, d, None);
            }
            (StagedData::Ints(all), CheckedData::Ints(new)) => all.extend_from_slice(new),
            (StagedData::Floats(all), CheckedData::Floats(new)) if all.is_empty() => *all = new,
            (StagedData::Floats(all), CheckedData::Floats(new)) => all.extend_from_slice(&new),
            (StagedData::Bools(all), CheckedData::Bools(new)) => all.extend_from_slice(new),
            (StagedData::Input(_), CheckedData::Input(_)) => {}
            _ => unreachable!("kinds are those of the descriptor"),
        }
    }
}
