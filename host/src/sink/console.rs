//! Standard output: a table for people, envelopes or bare values for programs.
//!
//! All writers of a process share one locked, buffered output, and hand over whole lines: lines of two
//! tasks never mix. When the reader goes away (`| head`), the job ends without complaint.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::plan::ConsoleFormat;
use crate::printable::Terminal;
use crate::record::Batch;

use super::encode::{LineFormat, Lines};
use super::table::{Shown, TABLE_ROWS_MAX, Table};
use super::{Sink, SinkError, SinkWriter};

/// Lines waiting in a writer before they go to the shared output: keeps the lock rare.
const LINES_BYTES_MAX: usize = 64 << 10;

/// Width of a table where there is no terminal: nothing needs to be cut.
const WIDTH_UNBOUNDED: usize = usize::MAX;

/// Columns for people: below this, a table is unreadable and the terminal may break lines.
const WIDTH_MIN: usize = 80;

/// The shared output; clones are handles of the same one.
#[derive(Clone)]
pub struct Console {
    output: Arc<Mutex<Shared>>,
    width: usize,
}

struct Shared {
    output: BufWriter<Box<dyn Write + Send>>,
    /// Sink whose table was printed last, its columns, and how many rows ago its header was.
    header_of: Option<(usize, Vec<Shown>, usize)>,
    sinks: usize,
}

impl Console {
    /// Standard output of the process.
    pub fn stdout() -> Console {
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let width = columns.or_else(|| {
            ::console::Term::stdout()
                .size_checked()
                .map(|(_, width)| usize::from(width))
        });
        let stdout = io::stdout();
        let output: Box<dyn Write + Send> = match stdout.is_terminal() {
            // A terminal obeys what records say; a pipe or a file gets their bytes as they are.
            true => Box::new(Terminal(stdout)),
            false => Box::new(stdout),
        };
        Console::new(output, width.unwrap_or(WIDTH_UNBOUNDED))
    }

    /// Any output, for tests and embedding; `width` is for tables.
    pub fn new(output: Box<dyn Write + Send>, width: usize) -> Console {
        let shared = Shared {
            output: BufWriter::with_capacity(LINES_BYTES_MAX, output),
            header_of: None,
            sinks: 0,
        };
        Console {
            output: Arc::new(Mutex::new(shared)),
            width: width.max(WIDTH_MIN),
        }
    }

    fn print(&self, sink: &str, bytes: &[u8]) -> Result<(), SinkError> {
        self.output
            .lock()
            .output
            .write_all(bytes)
            .map_err(|e| error(sink, &e))
    }
}

fn error(sink: &str, e: &io::Error) -> SinkError {
    SinkError {
        sink: sink.to_string(),
        message: format!("cannot write to standard output: {e}"),
        again: false,
        reader_gone: e.kind() == io::ErrorKind::BrokenPipe,
    }
}

/// Standard output as a sink.
pub struct ConsoleSink {
    name: String,
    format: ConsoleFormat,
    console: Console,
    /// Tells tables of one sink, whose writers share a header, from those of others.
    id: usize,
}

impl ConsoleSink {
    /// Writes to a console.
    pub fn new(name: &str, format: ConsoleFormat, console: Console) -> ConsoleSink {
        let id = {
            let mut shared = console.output.lock();
            shared.sinks += 1;
            shared.sinks
        };
        ConsoleSink {
            name: name.to_string(),
            format,
            console,
            id,
        }
    }
}

impl Sink for ConsoleSink {
    fn writer(&self, _task: usize) -> Result<Box<dyn SinkWriter>, SinkError> {
        let (sink, console) = (self.name.clone(), self.console.clone());
        let lines = |format| Lines::new(format);
        Ok(match self.format {
            ConsoleFormat::Json => Box::new(LineWriter {
                sink,
                console,
                lines: lines(LineFormat::Envelope),
            }),
            ConsoleFormat::Value => Box::new(LineWriter {
                sink,
                console,
                lines: lines(LineFormat::Value),
            }),
            ConsoleFormat::Table => Box::new(TableWriter {
                sink,
                console,
                id: self.id,
                table: Table::default(),
            }),
        })
    }
}

fn flush(sink: &str, console: &Console) -> Result<(), SinkError> {
    console
        .output
        .lock()
        .output
        .flush()
        .map_err(|e| error(sink, &e))
}

struct LineWriter {
    sink: String,
    console: Console,
    lines: Lines,
}

impl LineWriter {
    fn hand_over(&mut self) -> Result<(), SinkError> {
        self.console.print(&self.sink, self.lines.bytes())?;
        self.lines.consume(self.lines.bytes().len());
        Ok(())
    }
}

impl SinkWriter for LineWriter {
    fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.lines.push(batch);
        if self.lines.bytes().len() >= LINES_BYTES_MAX {
            self.hand_over()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.hand_over()?;
        flush(&self.sink, &self.console)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<serde_json::Value, SinkError> {
        self.flush()?;
        Ok(serde_json::Value::Null)
    }

    fn commit(&mut self, _epoch: u64, _prepared: &serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }
}

struct TableWriter {
    sink: String,
    console: Console,
    id: usize,
    table: Table,
}

impl TableWriter {
    /// Prints the rows that wait; the header where the columns changed, another table came between, or it has
    /// scrolled away.
    fn print(&mut self) -> Result<(), SinkError> {
        if self.table.is_empty() {
            return Ok(());
        }
        let mut shared = self.console.output.lock();
        let last = match shared.header_of.take() {
            Some((id, columns, rows)) if id == self.id && rows < TABLE_ROWS_MAX => {
                Some((columns, rows))
            }
            _ => None,
        };
        let rows = self.table.len();
        let (text, columns, repeated) = self
            .table
            .render(last.as_ref().map(|(c, _)| c.as_slice()), self.console.width);
        let before = if repeated {
            0
        } else {
            last.map_or(0, |(_, rows)| rows)
        };
        shared.header_of = Some((self.id, columns, before + rows));
        self.table.clear();
        shared
            .output
            .write_all(text.as_bytes())
            .map_err(|e| error(&self.sink, &e))
    }
}

impl SinkWriter for TableWriter {
    fn write(&mut self, mut batch: Batch) -> Result<(), SinkError> {
        let mut from = 0;
        while from < batch.len {
            from = self.table.push(&mut batch, from);
            if self.table.len() >= TABLE_ROWS_MAX {
                self.print()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.print()?;
        flush(&self.sink, &self.console)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<serde_json::Value, SinkError> {
        self.flush()?;
        Ok(serde_json::Value::Null)
    }

    fn commit(&mut self, _epoch: u64, _prepared: &serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }
}
