//! CSV rows off a stream: the cutter of `format`, as a reader wants it.

use crate::config::plan::{BatchLimits, CsvSpec};
use crate::format::csv::{RowCutter, RowPlace};
use crate::record::{Batch, Form, Value};

use super::BadRecord;
use super::cut::{Cut, Cutter, Mark, OriginRun, OriginUnit, Place, RECORD_BYTES_MAX};

/// Cuts rows.
pub struct CsvCutter {
    place: Place,
    unit: OriginUnit,
    rows: RowCutter,
    /// Records of the partition before those that `rows` counts.
    before: u64,
    /// Where the rows of the batch taken last stand.
    taken: Vec<RowPlace>,
    /// What the stream left half done.
    broken: Option<BadRecord>,
}

impl CsvCutter {
    /// A cutter at the start of a stream.
    pub fn new(spec: &CsvSpec, place: Place, unit: OriginUnit) -> CsvCutter {
        CsvCutter {
            place,
            unit,
            rows: RowCutter::new(spec, RECORD_BYTES_MAX),
            before: 0,
            taken: Vec::new(),
            broken: None,
        }
    }

    fn origin(&self, place: RowPlace) -> u64 {
        match self.unit {
            OriginUnit::Line => place.line,
            OriginUnit::Record => self.before + place.record,
        }
    }
}

impl Cutter for CsvCutter {
    fn cut(&mut self, bytes: &[u8], end: bool, limits: &BatchLimits) -> Cut {
        let cut = self.rows.cut(bytes, end, limits.records, limits.bytes);
        Cut {
            used: cut.used,
            full: cut.full,
        }
    }

    fn take(&mut self) -> Option<(Batch, Vec<BadRecord>)> {
        let broken = self.broken.take();
        let Some(cut) = self.rows.take() else {
            return broken.map(|bad| (Batch::of(0, Value::new(Form::Null)), vec![bad]));
        };
        let mut origins = OriginRun::default();
        for place in &cut.places {
            origins.push(self.origin(*place));
        }
        let mut batch = Batch::of(cut.places.len(), Value::new(Form::Csv(cut.rows)));
        batch.origins = origins.take(&self.place);
        self.taken = cut.places;
        let bad = cut.bad.iter().map(|bad| {
            self.place.bad(
                bad.place.line,
                self.origin(bad.place),
                &bad.raw,
                &bad.message,
            )
        });
        Some((batch, bad.chain(broken).collect()))
    }

    fn has_any(&self) -> bool {
        self.rows.has_any() || self.broken.is_some()
    }

    fn line_of(&self, row: usize) -> u64 {
        self.taken
            .get(row)
            .map_or_else(|| self.mark().line, |place| place.line)
    }

    fn mark(&self) -> Mark {
        let (place, offset) = self.rows.position();
        Mark {
            offset,
            line: place.line,
            record: self.before + place.record,
        }
    }

    fn set_mark(&mut self, mark: Mark) {
        // The cutter looks for a header at the start of a stream only, where its count begins too.
        self.before = if mark.offset == 0 { mark.record - 1 } else { 0 };
        let place = RowPlace {
            line: mark.line,
            record: mark.record - self.before,
        };
        self.rows.set_position(place, mark.offset);
        self.broken = None;
    }

    fn needs_head(&self) -> bool {
        self.rows.needs_header()
    }

    fn learn_head(&mut self, bytes: &[u8], end: bool) -> bool {
        self.rows.learn_header(bytes, end)
    }

    fn broken(&mut self, rest: &[u8], message: &str) {
        let (place, _) = self.rows.position();
        self.broken = Some(
            self.place
                .bad(place.line, self.origin(place), rest, message),
        );
    }
}
