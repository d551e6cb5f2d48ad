//! CSV: rows cut into cells, cells read as typed fields or turned into JSON.

/// How a source's cells become JSON.
#[derive(Debug)]
pub struct CsvDialect {
    /// Column names.
    pub header: Vec<String>,
}
