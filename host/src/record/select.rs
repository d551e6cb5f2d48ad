//! Selecting rows of a batch, cutting and joining batches: one implementation for all columns.
//!
//! Neighbouring rows share the buffers of the batch that they come from; other rows are copied, run by run.

use std::sync::Arc;

use arrow_array::{Array, BinaryArray, Int64Array};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};

use super::arrays::{self, Rows};
use super::{
    Batch, Blobs, CsvRows, Extracted, FieldSpec, Form, Headers, Issues, Origin, Origins, Row,
    Value, Windows,
};

impl Batch {
    /// These rows, in this order; a row may be taken several times.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn take(&self, rows: &[u32]) -> Batch {
        match Rows::of(rows) {
            Rows::Run(0, len) if len == self.len => self.clone(),
            Rows::Run(start, len) => self.slice(start, len),
            Rows::Each(_) => self.chosen(&Rows::Each(rows), rows.len()),
        }
    }

    /// `len` rows from `start` on. Nothing is copied but headers.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn slice(&self, start: usize, len: usize) -> Batch {
        assert!(
            start + len <= self.len,
            "rows {start}..{} of a batch of {}",
            start + len,
            self.len
        );
        if len == self.len {
            return self.clone();
        }
        self.chosen(&Rows::Run(start, len), len)
    }

    fn chosen(&self, rows: &Rows<'_>, len: usize) -> Batch {
        Batch {
            len,
            keys: self
                .keys
                .as_ref()
                .map(|keys| arrays::take_bytes(keys, rows)),
            timestamps: self
                .timestamps
                .as_ref()
                .map(|times| arrays::take_ints(times, rows)),
            value: self.value.chosen(rows),
            windows: self.windows.as_ref().map(|w| Windows {
                starts: arrays::take_ints(&w.starts, rows),
                ends: arrays::take_ints(&w.ends, rows),
            }),
            headers: self
                .headers
                .as_ref()
                .map(|headers| Arc::new(headers.chosen(rows))),
            origins: self.origins.chosen(rows),
            errors: self.errors.as_ref().map(|errors| match rows {
                Rows::Run(start, len) => errors[*start..start + len].into(),
                Rows::Each(rows) => rows
                    .iter()
                    .map(|&row| errors[row as usize].clone())
                    .collect(),
            }),
        }
    }

    /// All records of `batches`, one after the other. Values in one form keep it, values in several forms
    /// become bytes; extracted fields stay where all batches have them. If one batch's values were left
    /// out, so are those of the others. Windows and errors stay if all have them.
    pub fn concat(mut batches: Vec<Batch>) -> Batch {
        if batches.len() > 1 {
            batches.retain(|b| b.len > 0);
        }
        if batches.len() <= 1 {
            return batches
                .pop()
                .unwrap_or_else(|| Batch::of(0, Value::new(Form::Null)));
        }
        let len = batches.iter().map(|b| b.len).sum();
        let value = concat_values(&mut batches);
        Batch {
            len,
            keys: concat_optional(
                &batches,
                |b| b.keys.as_ref(),
                BinaryArray::new_null,
                arrays::concat_bytes,
            ),
            timestamps: concat_optional(
                &batches,
                |b| b.timestamps.as_ref(),
                Int64Array::new_null,
                arrays::concat_ints,
            ),
            value,
            windows: batches
                .iter()
                .map(|b| b.windows.as_ref())
                .collect::<Option<Vec<_>>>()
                .map(|all| Windows {
                    starts: arrays::concat_ints(&all.iter().map(|w| &w.starts).collect::<Vec<_>>()),
                    ends: arrays::concat_ints(&all.iter().map(|w| &w.ends).collect::<Vec<_>>()),
                }),
            headers: concat_headers(&batches),
            origins: concat_origins(&batches),
            errors: batches
                .iter()
                .map(|b| b.errors.as_deref())
                .collect::<Option<Vec<_>>>()
                .map(|all| all.concat().into()),
        }
    }

    /// Payload bytes that the batch holds: what limits on memory count. Buffers that a slice shares with others
    /// count with the slice's part.
    pub fn size_bytes(&self) -> usize {
        let bytes = |a: &BinaryArray| arrays::byte_len(a) + 4 * a.len();
        let value = match &self.value.form {
            Form::Null | Form::Pruned => 0,
            Form::Bytes(a) => bytes(a),
            Form::Row(row) => row.columns.iter().map(arrays::column_bytes).sum(),
            Form::Csv(rows) => rows.bytes() + 4 * rows.ends.len(),
        };
        let fields: usize = self
            .value
            .extracted
            .iter()
            .map(|(_, e)| arrays::column_bytes(&e.column))
            .sum();
        let headers = self.headers.as_ref().map_or(0, |h| {
            4 * h.first.len() + h.names.data().len() + h.values.data().len()
        });
        let origins = if let Origins::Each(all) = &self.origins {
            size_of::<Origin>() * all.len()
        } else {
            0
        };
        self.keys.as_ref().map_or(0, bytes)
            + self.timestamps.as_ref().map_or(0, |_| 8 * self.len)
            + self.windows.as_ref().map_or(0, |_| 16 * self.len)
            + value
            + self.value.bytes.as_ref().map_or(0, bytes)
            + fields
            + headers
            + origins
    }
}

/// One column of all batches, where any has it.
fn concat_optional<T>(
    batches: &[Batch],
    column: impl Fn(&Batch) -> Option<&T>,
    null: impl Fn(usize) -> T,
    concat: impl Fn(&[&T]) -> T,
) -> Option<T> {
    if batches.iter().all(|b| column(b).is_none()) {
        return None;
    }
    let nulls: Vec<Option<T>> = batches
        .iter()
        .map(|b| column(b).is_none().then(|| null(b.len)))
        .collect();
    let all: Vec<&T> = batches
        .iter()
        .zip(&nulls)
        .map(|(b, null)| {
            column(b)
                .or(null.as_ref())
                .expect("a null column stands in where one is absent")
        })
        .collect();
    Some(concat(&all))
}

impl Value {
    fn chosen(&self, rows: &Rows<'_>) -> Value {
        let form = match &self.form {
            Form::Null => Form::Null,
            Form::Pruned => Form::Pruned,
            Form::Bytes(a) => Form::Bytes(arrays::take_bytes(a, rows)),
            Form::Row(row) => Form::Row(Row {
                schema: row.schema.clone(),
                columns: row
                    .columns
                    .iter()
                    .map(|c| arrays::take_column(c, rows))
                    .collect(),
                nulls: arrays::take_nulls_of(row.nulls.as_ref(), rows),
            }),
            Form::Csv(csv) => Form::Csv(csv.chosen(rows)),
        };
        let bytes = self.bytes.as_ref().map(|a| arrays::take_bytes(a, rows));
        let extracted = self
            .extracted
            .iter()
            .map(|(spec, e)| (spec.clone(), e.chosen(rows)))
            .collect();
        Value {
            form,
            bytes,
            extracted,
            documents: self.documents,
        }
    }
}

impl Extracted {
    fn chosen(&self, rows: &Rows<'_>) -> Extracted {
        let issues = match rows {
            Rows::Run(start, len) => self.issues.slice(*start as u32..(start + len) as u32),
            Rows::Each(rows) => self.issues.take(rows),
        };
        Extracted {
            column: arrays::take_column(&self.column, rows),
            issues,
        }
    }
}

impl CsvRows {
    /// Cells a row.
    pub fn width(&self) -> usize {
        self.dialect.header.len()
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ends.len() / self.width().max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all cells, and between them.
    pub fn bytes(&self) -> usize {
        self.ends
            .last()
            .map_or(0, |&end| (end - self.start) as usize)
    }

    /// Where cell `cell` (counted over all rows) starts.
    #[inline]
    pub fn cell_start(&self, cell: usize) -> usize {
        if cell == 0 {
            self.start as usize
        } else {
            self.ends[cell - 1] as usize + 1
        }
    }

    /// Bytes of cell `column` of row `row`.
    #[inline]
    pub fn cell(&self, row: usize, column: usize) -> &[u8] {
        let cell = row * self.width() + column;
        &self.data[self.cell_start(cell)..self.ends[cell] as usize]
    }

    fn chosen(&self, rows: &Rows<'_>) -> CsvRows {
        let width = self.width();
        match rows {
            Rows::Run(start, len) => CsvRows {
                dialect: self.dialect.clone(),
                ends: self.ends.slice(start * width, len * width),
                data: self.data.clone(),
                start: self.cell_start(start * width) as u32,
            },
            Rows::Each(rows) => {
                let mut copy = CsvCopy::with_capacity(rows.len() * width, 0);
                arrays::each_run(rows, |start, n| copy.append(self, start * width, n * width));
                copy.finish(self)
            }
        }
    }

    /// Rows of one dialect, one after the other.
    fn concat(parts: &[&CsvRows]) -> CsvRows {
        let cells = parts.iter().map(|p| p.ends.len()).sum();
        let mut copy = CsvCopy::with_capacity(cells, parts.iter().map(|p| p.bytes() + 1).sum());
        for part in parts {
            copy.append(part, 0, part.ends.len());
        }
        copy.finish(parts[0])
    }
}

/// Rows under construction from stretches of other rows.
struct CsvCopy {
    ends: Vec<u32>,
    data: Vec<u8>,
}

impl CsvCopy {
    fn with_capacity(cells: usize, bytes: usize) -> CsvCopy {
        CsvCopy {
            ends: Vec::with_capacity(cells),
            data: Vec::with_capacity(bytes),
        }
    }

    /// Appends cells `first..first + len`.
    fn append(&mut self, from: &CsvRows, first: usize, len: usize) {
        let Some(&end) = from.ends[first..first + len].last() else {
            return;
        };
        let start = from.cell_start(first);
        let shift = (self.data.len() as u32).wrapping_sub(start as u32);
        self.data.extend_from_slice(&from.data[start..end as usize]);
        self.data.push(b'\n');
        u32::try_from(self.data.len()).expect("a batch is bounded far below 4 GiB");
        self.ends.extend(
            from.ends[first..first + len]
                .iter()
                .map(|end| end.wrapping_add(shift)),
        );
    }

    fn finish(self, like: &CsvRows) -> CsvRows {
        CsvRows {
            dialect: like.dialect.clone(),
            ends: ScalarBuffer::from(self.ends),
            data: Buffer::from_vec(self.data),
            start: 0,
        }
    }
}

/// The forms of all batches as one, if they are of one kind.
fn concat_forms(batches: &[Batch]) -> Option<Form> {
    /// All payloads, if all forms are of one variant.
    macro_rules! all {
        ($variant:ident) => {
            batches
                .iter()
                .map(|b| {
                    if let Form::$variant(a) = &b.value.form {
                        Some(a)
                    } else {
                        None
                    }
                })
                .collect::<Option<Vec<_>>>()?
        };
    }
    match &batches[0].value.form {
        Form::Pruned => None,
        Form::Null => batches
            .iter()
            .all(|b| matches!(b.value.form, Form::Null))
            .then_some(Form::Null),
        Form::Bytes(_) => Some(Form::Bytes(arrays::concat_bytes(&all!(Bytes)))),
        Form::Csv(first) => {
            let parts = all!(Csv);
            parts
                .iter()
                .all(|p| Arc::ptr_eq(&p.dialect, &first.dialect))
                .then(|| Form::Csv(CsvRows::concat(&parts)))
        }
        Form::Row(first) => {
            let parts = all!(Row);
            if !parts
                .iter()
                .all(|p| Arc::ptr_eq(&p.schema, &first.schema) || p.schema == first.schema)
            {
                return None;
            }
            let columns = (0..first.columns.len())
                .map(|c| {
                    arrays::concat_columns(&parts.iter().map(|p| &p.columns[c]).collect::<Vec<_>>())
                })
                .collect::<Option<Vec<_>>>()?;
            let lens = batches.iter().map(|b| b.len);
            let nulls: Option<NullBuffer> =
                arrays::concat_nulls(lens.zip(parts.iter().map(|p| p.nulls.as_ref())));
            Some(Form::Row(Row {
                schema: first.schema.clone(),
                columns,
                nulls,
            }))
        }
    }
}

fn concat_values(batches: &mut [Batch]) -> Value {
    let specs: Vec<FieldSpec> = batches[0]
        .value
        .extracted
        .iter()
        .map(|(spec, _)| spec.clone())
        .collect();
    let extracted = specs
        .into_iter()
        .filter_map(|spec| concat_extracted(batches, &spec).map(|e| (spec, e)))
        .collect();
    if batches.iter().any(|b| matches!(b.value.form, Form::Pruned)) {
        return Value {
            extracted,
            ..Value::new(Form::Pruned)
        };
    }
    let documents = batches.iter().all(|b| b.value.documents);
    if let Some(form) = concat_forms(batches) {
        let cached: Option<Vec<&BinaryArray>> =
            batches.iter().map(|b| b.value.bytes.as_ref()).collect();
        return Value {
            form,
            bytes: cached.map(|all| arrays::concat_bytes(&all)),
            extracted,
            documents,
        };
    }
    let all: Vec<BinaryArray> = batches.iter_mut().map(crate::format::value_bytes).collect();
    Value {
        extracted,
        ..Value::new(Form::Bytes(arrays::concat_bytes(
            &all.iter().collect::<Vec<_>>(),
        )))
    }
}

fn concat_extracted(batches: &[Batch], spec: &FieldSpec) -> Option<Extracted> {
    let all = batches
        .iter()
        .map(|b| b.value.extracted(spec))
        .collect::<Option<Vec<_>>>()?;
    let column = arrays::concat_columns(&all.iter().map(|e| &e.column).collect::<Vec<_>>())?;
    let mut issues = Issues::default();
    let mut first = 0u32;
    for (batch, part) in batches.iter().zip(all) {
        issues.append(first, &part.issues);
        first += batch.len as u32;
    }
    Some(Extracted { column, issues })
}

impl Headers {
    fn chosen(&self, rows: &Rows<'_>) -> Headers {
        let mut chosen = Headers::none(0);
        match rows {
            Rows::Run(start, len) => (*start..start + len).for_each(|row| chosen.append(self, row)),
            Rows::Each(rows) => rows
                .iter()
                .for_each(|&row| chosen.append(self, row as usize)),
        }
        chosen
    }

    /// Headers of `len` records that have none.
    pub fn none(len: usize) -> Headers {
        Headers {
            first: vec![0; len + 1],
            names: Blobs::default(),
            values: Blobs::default(),
        }
    }

    /// Appends a record with the headers of record `row` of `from`.
    fn append(&mut self, from: &Headers, row: usize) {
        for entry in from.first[row] as usize..from.first[row + 1] as usize {
            self.names.push(from.names.get(entry));
            self.values.push(from.values.get(entry));
        }
        self.first.push(self.names.len() as u32);
    }
}

fn concat_headers(batches: &[Batch]) -> Option<Arc<Headers>> {
    if batches.iter().all(|b| b.headers.is_none()) {
        return None;
    }
    let mut all = Headers::none(0);
    for batch in batches {
        match &batch.headers {
            Some(headers) => (0..batch.len).for_each(|row| all.append(headers, row)),
            None => all
                .first
                .extend(std::iter::repeat_n(all.names.len() as u32, batch.len)),
        }
    }
    Some(Arc::new(all))
}

impl Origins {
    fn chosen(&self, rows: &Rows<'_>) -> Origins {
        match (self, rows) {
            (Origins::None, _) => Origins::None,
            (Origins::Run(first), Rows::Run(start, _)) => Origins::Run(Origin {
                offset: first.offset + *start as u64,
                ..*first
            }),
            (Origins::Run(first), Rows::Each(rows)) => Origins::Each(
                rows.iter()
                    .map(|&row| Origin {
                        offset: first.offset + u64::from(row),
                        ..*first
                    })
                    .collect(),
            ),
            (Origins::Each(all), Rows::Run(start, len)) => {
                Origins::Each(all[*start..start + len].into())
            }
            (Origins::Each(all), Rows::Each(rows)) => {
                Origins::Each(rows.iter().map(|&row| all[row as usize]).collect())
            }
        }
    }
}

fn concat_origins(batches: &[Batch]) -> Origins {
    if batches.iter().all(|b| matches!(b.origins, Origins::None)) {
        return Origins::None;
    }
    if let Origins::Run(first) = batches[0].origins {
        let mut next = first.offset;
        let unbroken = batches.iter().all(|b| {
            let goes_on = b.origins
                == Origins::Run(Origin {
                    offset: next,
                    ..first
                });
            next += b.len as u64;
            goes_on
        });
        if unbroken {
            return Origins::Run(first);
        }
    }
    let of = |b: &Batch, row: usize| b.origins.get(row).unwrap_or(Origin::NONE);
    Origins::Each(
        batches
            .iter()
            .flat_map(|b| (0..b.len).map(move |row| of(b, row)))
            .collect(),
    )
}

#[cfg(test)]
mod tests;
