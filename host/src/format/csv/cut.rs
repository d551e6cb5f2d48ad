//! Cutting a stream of bytes into CSV rows, batch by batch.
//!
//! Rows without quotes are found 64 bytes at a time and copied many at once; others, one by one. Empty lines
//! are no rows. A row of the wrong width, beyond the limit, or not UTF-8 is a bad row, and the others go on.

use std::sync::Arc;

use arrow_buffer::Buffer;

use super::CsvDialect;
use super::quoted::{self, Row};
use crate::config::plan::CsvSpec;
use crate::format::mask::{self, BLOCK};
use crate::record::CsvRows;

/// What is kept of a bad row.
const BAD_ROW_BYTES_MAX: usize = 64 << 10;

/// Bad rows in one batch before it is handed on: an all-bad file must not pile up in memory.
const BAD_ROWS_MAX: usize = 1024;

/// Where a row stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// Line on which it starts, first = 1 (the header's, where there is one).
    pub line: u64,
    /// Number of the row, first = 1; the header does not count, bad rows do.
    pub record: u64,
}

/// Bytes that did not become a row.
#[derive(Debug, PartialEq, Eq)]
pub struct BadRow {
    /// As they stand in the stream, cut to a bound.
    pub raw: Vec<u8>,
    /// Where.
    pub place: RowPlace,
    /// Why.
    pub message: String,
}

/// What `RowCutter::cut` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowCut {
    /// Bytes taken off the front.
    pub used: usize,
    /// The batch is full: take it before cutting on.
    pub full: bool,
}

/// Rows of a batch.
#[derive(Debug)]
pub struct CutRows {
    /// The cells.
    pub rows: CsvRows,
    /// Where each row stands.
    pub places: Vec<RowPlace>,
    /// What did not become a row, in order.
    pub bad: Vec<BadRow>,
}

/// Cuts rows off a stream of bytes. It keeps the batch under construction, the header, and where it stands.
#[derive(Debug)]
pub struct RowCutter {
    spec: CsvSpec,
    row_bytes_max: usize,
    dialect: Option<Arc<CsvDialect>>,
    /// Of the next row.
    next: RowPlace,
    /// Bytes before the next row.
    offset: u64,
    ends: Vec<u32>,
    data: Vec<u8>,
    places: Vec<RowPlace>,
    bad: Vec<BadRow>,
    /// A row beyond the limit, whose end was not seen yet: its head and length so far.
    long: Option<(Vec<u8>, u64)>,
}

/// A UTF-8 byte order mark: not part of the first cell.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl RowCutter {
    /// A cutter at the start of a stream. A row longer than `row_bytes_max` is a bad row.
    pub fn new(spec: &CsvSpec, row_bytes_max: usize) -> RowCutter {
        let mut cutter = RowCutter {
            spec: spec.clone(),
            row_bytes_max,
            dialect: None,
            next: RowPlace { line: 1, record: 1 },
            offset: 0,
            ends: Vec::new(),
            data: Vec::new(),
            places: Vec::new(),
            bad: Vec::new(),
            long: None,
        };
        if let (false, Some(columns)) = (spec.header, &spec.columns) {
            cutter.set_header(columns.clone());
        }
        cutter
    }

    fn set_header(&mut self, header: Vec<String>) {
        self.dialect = Some(Arc::new(CsvDialect {
            header,
            nulls: self.spec.nulls.clone(),
            strings: self.spec.strings,
        }));
    }

    /// Whether the start of the stream must be seen (`learn_header`) before cutting can go on in its middle.
    pub fn needs_header(&self) -> bool {
        self.dialect.is_none()
    }

    /// Looks at the start of the stream without taking rows: false = more of it is needed. Where the job names the
    /// columns there is nothing to learn.
    pub fn learn_header(&mut self, bytes: &[u8], end: bool) -> bool {
        self.needs_header()
            .then(|| self.header_of(bytes, end))
            .is_none_or(|row| row.is_some())
    }

    /// Reads the header: its bytes and lines, or none if more bytes are needed.
    fn header_of(&mut self, bytes: &[u8], end: bool) -> Option<(usize, u64)> {
        let mark = if bytes.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let (mut at, mut skipped) = (mark, 0);
        loop {
            let rest = &bytes[at..];
            let blank = if rest.starts_with(b"\n") {
                1
            } else if rest.starts_with(b"\r\n") {
                2
            } else {
                0
            };
            if blank == 0 {
                break;
            }
            at += blank;
            skipped += 1;
        }
        if bytes[at..].is_empty() {
            return end.then_some((at, skipped));
        }
        let mut cells: Vec<String> = Vec::new();
        match quoted::read(&bytes[at..], self.spec.delimiter, end, |cell| {
            cells.push(String::from_utf8_lossy(cell).into_owned())
        }) {
            Row::Whole { used, lines } => {
                // Names in the job go before those in the file.
                self.set_header(self.spec.columns.clone().unwrap_or(cells));
                Some((at + used, skipped + lines))
            }
            Row::Open => None,
        }
    }

    /// Where the next row stands, and the bytes before it.
    pub fn position(&self) -> (RowPlace, u64) {
        (self.next, self.offset)
    }

    /// Goes on elsewhere: the next bytes given are those from `offset` on. The batch so far is dropped.
    pub fn set_position(&mut self, next: RowPlace, offset: u64) {
        (self.next, self.offset, self.long) = (next, offset, None);
        self.clear();
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.data.clear();
        self.places.clear();
        self.bad.clear();
    }

    /// Whether `take` would answer something.
    pub fn has_any(&self) -> bool {
        !self.places.is_empty() || !self.bad.is_empty()
    }

    /// Takes whole rows off the front of `bytes`, until there are `rows_max` or `bytes_max` bytes of them; `end`: no
    /// more bytes follow, so what is left is the last row. Without `end`, what is left is to be given again with more
    /// behind it.
    pub fn cut(&mut self, bytes: &[u8], end: bool, rows_max: usize, bytes_max: usize) -> RowCut {
        let mut at = 0;
        if self.long.is_some() {
            at = self.skip_long(bytes, end);
            if self.long.is_some() {
                return RowCut {
                    used: at,
                    full: false,
                };
            }
        }
        if self.offset == 0 && self.next.record == 1 && at == 0 {
            match self.start(bytes, end) {
                Some(used) => at = used,
                None => return self.open_row(bytes, 0, end),
            }
        }
        let Some(dialect) = self.dialect.clone() else {
            return RowCut {
                used: at,
                full: false,
            };
        };
        let mut cutting = Cutting::new(self, dialect.header.len(), bytes, at);
        let full = cutting.run(rows_max.max(1), bytes_max);
        let stopped = cutting.row_start;
        if full {
            return RowCut {
                used: stopped,
                full,
            };
        }
        let mut cut = self.open_row(bytes, stopped, end);
        cut.full |= self.places.len() >= rows_max;
        cut
    }

    /// Passes the byte order mark and the header; none: more bytes are needed.
    fn start(&mut self, bytes: &[u8], end: bool) -> Option<usize> {
        if self.spec.header {
            let (used, lines) = self.header_of(bytes, end)?;
            self.offset += used as u64;
            self.next.line += lines;
            return Some(used);
        }
        if !end && bytes.len() < BYTE_ORDER_MARK.len() {
            return None;
        }
        let mark = if bytes.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        self.offset += mark as u64;
        if self.dialect.is_none() {
            // Neither header nor names: columns are numbered.
            let mut width = 0;
            if quoted::read(&bytes[mark..], self.spec.delimiter, end, |_| width += 1) == Row::Open {
                self.offset = 0;
                return None;
            }
            self.set_header((0..width).map(|i| format!("column{}", i + 1)).collect());
        }
        Some(mark)
    }

    /// What is left of the bytes holds no whole row.
    fn open_row(&mut self, bytes: &[u8], at: usize, end: bool) -> RowCut {
        let rest = &bytes[at..];
        if rest.len() > self.row_bytes_max {
            self.long = Some((rest[..rest.len().min(BAD_ROW_BYTES_MAX)].to_vec(), 0));
            let used = self.skip_long(rest, end);
            return RowCut {
                used: at + used,
                full: false,
            };
        }
        if end && !rest.is_empty() && self.dialect.is_some() {
            let used = self
                .slow_row(rest, true)
                .expect("at the end of a stream an open row is whole");
            return RowCut {
                used: at + used,
                full: false,
            };
        }
        RowCut {
            used: if end { bytes.len() } else { at },
            full: false,
        }
    }

    /// Goes on through a row beyond the limit, to its line's end. (A quote that opened it is not believed any more: it
    /// may well be the reason.)
    fn skip_long(&mut self, bytes: &[u8], end: bool) -> usize {
        let Some((head, length)) = &mut self.long else {
            return 0;
        };
        // The first `row_bytes_max` bytes are the row's own, whatever stands in them.
        let own = self
            .row_bytes_max
            .saturating_sub(*length as usize)
            .min(bytes.len());
        let (used, ended) = match memchr::memchr(b'\n', &bytes[own..]) {
            Some(newline) => (own + newline + 1, true),
            None => (bytes.len(), end),
        };
        *length += used as u64;
        let lines = memchr::memchr_iter(b'\n', &bytes[..used]).count() as u64;
        let place = self.next;
        self.next.line += lines;
        self.offset += used as u64;
        if ended {
            let message = format!(
                "the row has {length} bytes, the limit is {}",
                self.row_bytes_max
            );
            let raw = std::mem::take(head);
            self.long = None;
            self.push_bad(raw, place, message);
        }
        used
    }

    fn push_bad(&mut self, raw: Vec<u8>, place: RowPlace, message: String) {
        self.bad.push(BadRow {
            raw,
            place,
            message,
        });
        self.next.record += 1;
    }

    /// Reads one row byte by byte; none: its end is not there. The batch's data ends with whole rows before.
    fn slow_row(&mut self, bytes: &[u8], end: bool) -> Option<usize> {
        let width = self.dialect.as_ref().map_or(0, |d| d.header.len());
        let (data_before, ends_before) = (self.data.len(), self.ends.len());
        let (data, ends) = (&mut self.data, &mut self.ends);
        let row = quoted::read(bytes, self.spec.delimiter, end, |cell| {
            data.extend_from_slice(cell);
            ends.push(data.len() as u32);
            data.push(b'\n');
        });
        let cells = self.ends.len() - ends_before;
        let Row::Whole { used, lines } = row else {
            self.data.truncate(data_before);
            self.ends.truncate(ends_before);
            return None;
        };
        let blank = matches!(&bytes[..used], b"\n" | b"\r\n" | b"\r");
        if cells != width || used > self.row_bytes_max || blank {
            self.data.truncate(data_before);
            self.ends.truncate(ends_before);
        }
        let raw = bytes[..used].strip_suffix(b"\n").unwrap_or(&bytes[..used]);
        let place = self.next;
        if blank {
        } else if used > self.row_bytes_max {
            let message = format!(
                "the row has {used} bytes, the limit is {}",
                self.row_bytes_max
            );
            self.push_bad(
                raw[..raw.len().min(BAD_ROW_BYTES_MAX)].to_vec(),
                place,
                message,
            );
        } else if cells != width {
            self.push_bad(
                raw[..raw.len().min(BAD_ROW_BYTES_MAX)].to_vec(),
                place,
                wrong_width(cells, width),
            );
        } else {
            self.places.push(place);
            self.next.record += 1;
        }
        self.next.line += lines;
        self.offset += used as u64;
        Some(used)
    }

    /// The batch so far; none if neither row nor bad row is in it.
    pub fn take(&mut self) -> Option<CutRows> {
        if !self.has_any() {
            return None;
        }
        let dialect = self.dialect.clone().unwrap_or_else(|| {
            Arc::new(CsvDialect {
                header: Vec::new(),
                nulls: self.spec.nulls.clone(),
                strings: self.spec.strings,
            })
        });
        let (rows, bytes) = (self.places.len(), self.data.len());
        let ends = std::mem::replace(
            &mut self.ends,
            Vec::with_capacity(rows * dialect.header.len()),
        );
        // A little room, so that batches of nearly one size don't grow their buffer each.
        let data = std::mem::replace(&mut self.data, Vec::with_capacity(bytes + bytes / 8));
        let places = std::mem::replace(&mut self.places, Vec::with_capacity(rows));
        let utf8 = simdutf8::basic::from_utf8(&data).is_ok();
        let rows = CsvRows {
            dialect,
            ends: ends.into(),
            data: Buffer::from_vec(data),
            start: 0,
        };
        let mut taken = CutRows {
            rows,
            places,
            bad: std::mem::take(&mut self.bad),
        };
        if !utf8 {
            taken.refuse_not_utf8();
        }
        Some(taken)
    }
}

fn wrong_width(cells: usize, width: usize) -> String {
    format!("the row has {cells} cells, the header {width}")
}

impl CutRows {
    /// Moves rows that are not UTF-8 to the bad ones.
    #[cold]
    fn refuse_not_utf8(&mut self) {
        let width = self.rows.width();
        let (mut good, mut data, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..self.places.len() {
            let cells = || (0..width).map(|column| self.rows.cell(row, column));
            if cells().any(|cell| std::str::from_utf8(cell).is_err()) {
                let raw = cells().collect::<Vec<_>>().join(&b","[..]);
                let place = self.places[row];
                self.bad.push(BadRow {
                    raw,
                    place,
                    message: "the row is not UTF-8".into(),
                });
                continue;
            }
            good.push(self.places[row]);
            for cell in cells() {
                data.extend_from_slice(cell);
                ends.push(data.len() as u32);
                data.push(b'\n');
            }
        }
        self.bad.sort_by_key(|bad| bad.place.record);
        self.rows.ends = ends.into();
        self.rows.data = Buffer::from_vec(data);
        self.places = good;
    }
}

/// One call of `cut`: goes through the bytes, row by row, and copies stretches of good rows at once.
struct Cutting<'c, 'b> {
    to: &'c mut RowCutter,
    width: usize,
    bytes: &'b [u8],
    /// Rows from here to `row_start` are good, and not copied yet.
    copy_from: usize,
    /// The row in work.
    row_start: usize,
    /// Cells before it.
    row_ends: usize,
}

impl<'c, 'b> Cutting<'c, 'b> {
    fn new(to: &'c mut RowCutter, width: usize, bytes: &'b [u8], at: usize) -> Cutting<'c, 'b> {
        let row_ends = to.ends.len();
        Cutting {
            to,
            width,
            bytes,
            copy_from: at,
            row_start: at,
            row_ends,
        }
    }

    /// Whether the batch is full. What is behind `row_start` then is not cut.
    fn run(&mut self, rows_max: usize, bytes_max: usize) -> bool {
        let delimiter = self.to.spec.delimiter;
        let mut at = self.row_start;
        let full = 'rows: loop {
            let Some(block) = self.block(at) else {
                break false;
            };
            let mut mask = mask::any_of(&block, [delimiter, b'\n', b'"']);
            if at + BLOCK > self.bytes.len() {
                mask &= (1u64 << (self.bytes.len() - at)) - 1;
            }
            // How far what is copied later shifts against the bytes.
            let mut shift = (self.to.data.len() as u32).wrapping_sub(self.copy_from as u32);
            while mask != 0 {
                let hit = at + mask.trailing_zeros() as usize;
                mask &= mask - 1;
                let byte = self.bytes[hit];
                if byte == delimiter {
                    self.to.ends.push((hit as u32).wrapping_add(shift));
                    continue;
                }
                let resume = if byte == b'\n' {
                    if self.newline(hit, shift) {
                        None
                    } else {
                        Some(hit + 1)
                    }
                } else {
                    match self.quote() {
                        Some(resume) => Some(resume),
                        None => break 'rows false,
                    }
                };
                let pending = self.row_start - self.copy_from;
                if self.to.places.len() >= rows_max
                    || self.to.data.len() + pending >= bytes_max
                    || self.to.bad.len() >= BAD_ROWS_MAX
                {
                    break 'rows true;
                }
                if let Some(resume) = resume {
                    shift = (self.to.data.len() as u32).wrapping_sub(self.copy_from as u32);
                    if resume >= at + BLOCK {
                        at = resume;
                        continue 'rows;
                    }
                    mask &= u64::MAX.checked_shl((resume - at) as u32).unwrap_or(0);
                }
            }
            at += BLOCK;
        };
        self.to.ends.truncate(self.row_ends);
        self.flush(self.row_start);
        full
    }

    fn block(&self, at: usize) -> Option<[u8; BLOCK]> {
        if let Some(block) = self.bytes.get(at..at + BLOCK) {
            return Some(block.try_into().expect("64 bytes"));
        }
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        Some(block)
    }

    /// A row without quotes ends here. True: it goes with its neighbours; false: copying starts anew behind it.
    #[inline]
    fn newline(&mut self, hit: usize, shift: u32) -> bool {
        let length = hit + 1 - self.row_start;
        let cells = self.to.ends.len() - self.row_ends + 1;
        let carriage = hit > self.row_start && self.bytes[hit - 1] == b'\r';
        if cells != self.width || length > self.to.row_bytes_max || carriage || length == 1 {
            self.other_row(hit, shift);
            return false;
        }
        self.to.ends.push((hit as u32).wrapping_add(shift));
        self.good_row(hit);
        true
    }

    #[inline]
    fn good_row(&mut self, hit: usize) {
        let to = &mut *self.to;
        to.places.push(to.next);
        to.next.record += 1;
        to.next.line += 1;
        to.offset += (hit + 1 - self.row_start) as u64;
        self.row_start = hit + 1;
        self.row_ends = to.ends.len();
    }

    /// A row that ends in CRLF, is blank, too long or of the wrong width.
    fn other_row(&mut self, hit: usize, shift: u32) {
        let raw = &self.bytes[self.row_start..hit];
        let text = raw.strip_suffix(b"\r").unwrap_or(raw);
        let cells = self.to.ends.len() - self.row_ends + 1;
        if !text.is_empty() && cells == self.width && raw.len() < self.to.row_bytes_max {
            // The carriage return takes the place of the separator, the line feed is left out.
            self.to
                .ends
                .push(((self.row_start + text.len()) as u32).wrapping_add(shift));
            self.flush(self.row_start + raw.len());
            self.good_row(hit);
        } else {
            self.to.ends.truncate(self.row_ends);
            self.flush(self.row_start);
            self.to
                .slow_row(&self.bytes[self.row_start..=hit], false)
                .expect("the row's end is there");
            self.row_start = hit + 1;
        }
        self.copy_from = self.row_start;
    }

    /// A row with a quote: where it ends, none if that is not among the bytes.
    fn quote(&mut self) -> Option<usize> {
        self.to.ends.truncate(self.row_ends);
        self.flush(self.row_start);
        let used = self.to.slow_row(&self.bytes[self.row_start..], false)?;
        self.row_start += used;
        self.copy_from = self.row_start;
        self.row_ends = self.to.ends.len();
        Some(self.row_start)
    }

    /// Copies what is good up to `end`.
    fn flush(&mut self, end: usize) {
        self.to
            .data
            .extend_from_slice(&self.bytes[self.copy_from..end]);
        self.copy_from = end;
    }
}
