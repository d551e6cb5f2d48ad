//! Records as a table for people: key, window, and the members of the value side by side.
//!
//! Text only, no I/O. Columns keep their width from one piece to the next as long as cells fit, so that a
//! stream of small pieces reads as one table.

use arrow_array::Array;
use chrono::DateTime;
use serde_json::Value as Json;

use crate::printable;
use crate::record::Batch;

/// Rows printed at once, and rows after which the header is repeated: about a screen or two.
pub const TABLE_ROWS_MAX: usize = 64;

/// Members shown as columns; what a value has beyond is shown as one cell of JSON.
const COLUMNS_MAX: usize = 24;

/// Narrower than this, a column's cells cannot be told apart.
const CELL_WIDTH_MIN: usize = 8;

/// Wider than this, a cell is cut even where there is room: it would push the others off the page.
const CELL_WIDTH_MAX: usize = 120;

/// Rows that wait to be printed.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug)]
struct Column {
    name: String,
    cells: Vec<Cell>,
}

#[derive(Clone, Debug, Default)]
struct Cell {
    text: String,
    number: bool,
}

impl Cell {
    fn text(text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            number: false,
        }
    }

    fn of(json: Json) -> Cell {
        match json {
            Json::Null => Cell::default(),
            Json::String(text) => Cell::text(printable(&text)),
            Json::Number(n) => Cell {
                text: number(&n),
                number: true,
            },
            other => Cell::text(printable(&other.to_string())),
        }
    }
}

/// Long fractions are cut: nobody reads seventeen digits.
fn number(n: &serde_json::Number) -> String {
    let text = n.to_string();
    match (n.as_f64(), text.split_once('.')) {
        (Some(f), Some((_, fraction))) if fraction.len() > 3 && f.abs() < 1e15 => format!("{f:.3}"),
        _ => text,
    }
}

/// Line ends and other control characters would break the table.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if printable::is_obeyed(c) { '␣' } else { c })
        .collect()
}

/// Milliseconds since 1970 as ISO time, UTC; what no calendar holds, as a number.
fn iso(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(t) if ms.rem_euclid(1000) == 0 => t.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Some(t) => t.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => ms.to_string(),
    }
}

fn bytes_cell(bytes: &[u8]) -> Cell {
    Cell::text(printable(&String::from_utf8_lossy(bytes)))
}

impl Table {
    /// How many rows wait.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Forgets the rows.
    pub fn clear(&mut self) {
        *self = Table::default();
    }

    /// Takes rows from `from` on, until the table is full; answers the first that was not taken.
    pub fn push(&mut self, batch: &mut Batch, from: usize) -> usize {
        let to = batch.len.min(from + TABLE_ROWS_MAX - self.rows);
        let values = crate::format::value_bytes(batch);
        for row in from..to {
            if let Some(keys) = &batch.keys {
                let cell = if keys.is_valid(row) {
                    bytes_cell(keys.value(row))
                } else {
                    Cell::default()
                };
                self.set("key", cell);
            }
            match (&batch.windows, &batch.timestamps) {
                (Some(windows), _) => {
                    self.set("window start", Cell::text(iso(windows.starts.value(row))));
                    self.set("window end", Cell::text(iso(windows.ends.value(row))));
                }
                (None, Some(times)) if times.is_valid(row) => {
                    self.set("timestamp", Cell::text(iso(times.value(row))))
                }
                (None, _) => {}
            }
            if values.is_valid(row) {
                self.set_value(values.value(row));
            }
            if let Some(errors) = &batch.errors {
                self.set("error", Cell::text(printable(&errors[row].message)));
            }
            self.rows += 1;
        }
        to
    }

    fn set_value(&mut self, value: &[u8]) {
        match serde_json::from_slice(value) {
            Ok(Json::Object(members)) => {
                let mut rest = serde_json::Map::new();
                for (name, member) in members {
                    if self.columns.len() < COLUMNS_MAX
                        || self.columns.iter().any(|c| c.name == name)
                    {
                        self.set(&name, Cell::of(member));
                    } else {
                        rest.insert(name, member);
                    }
                }
                if !rest.is_empty() {
                    self.set("…", Cell::of(Json::Object(rest)));
                }
            }
            Ok(other) => self.set("value", Cell::of(other)),
            Err(_) => self.set("value", bytes_cell(value)),
        }
    }

    /// Sets a cell of the row in the making.
    fn set(&mut self, name: &str, cell: Cell) {
        let column = match self.columns.iter().position(|c| c.name == name) {
            Some(at) => &mut self.columns[at],
            None => {
                self.columns.push(Column {
                    name: name.to_string(),
                    cells: Vec::new(),
                });
                self.columns.last_mut().expect("pushed just now")
            }
        };
        column.cells.resize(self.rows, Cell::default());
        column.cells.push(cell);
    }

    /// The rows as text; with the header, unless the columns are those of `last` and all cells fit that are not
    /// cut anyway. Answers the text, the columns, and whether the header is in it.
    pub fn render(&self, last: Option<&[Shown]>, width: usize) -> (String, Vec<Shown>, bool) {
        let wanted: Vec<Shown> = self.columns.iter().map(Shown::wanted).collect();
        let fits = last.filter(|last| {
            let fit = |(l, w): (&Shown, &Shown)| l.name == w.name && (w.width <= l.width || l.cut);
            last.len() == wanted.len() && last.iter().zip(&wanted).all(fit)
        });
        let (columns, header) = match fits {
            Some(last) => (last.to_vec(), false),
            None => (fit(wanted, width), true),
        };
        let mut text = String::new();
        if header {
            line(
                &mut text,
                columns
                    .iter()
                    .zip(&self.columns)
                    .map(|(shown, c)| (shown.name.as_str(), shown.width, c.is_number())),
            );
            let rules: Vec<String> = columns
                .iter()
                .map(|shown| "-".repeat(shown.width))
                .collect();
            line(
                &mut text,
                columns
                    .iter()
                    .zip(&rules)
                    .map(|(shown, rule)| (rule.as_str(), shown.width, false)),
            );
        }
        let empty = Cell::default();
        for row in 0..self.rows {
            line(
                &mut text,
                columns.iter().zip(&self.columns).map(|(shown, column)| {
                    let cell = column.cells.get(row).unwrap_or(&empty);
                    (cell.text.as_str(), shown.width, cell.number)
                }),
            );
        }
        (text, columns, header)
    }
}

impl Column {
    fn width(&self) -> usize {
        let cells = self
            .cells
            .iter()
            .map(|c| ::console::measure_text_width(&c.text))
            .max()
            .unwrap_or(0);
        cells.max(::console::measure_text_width(&self.name))
    }

    fn is_number(&self) -> bool {
        self.cells.iter().any(|c| c.number)
            && self.cells.iter().all(|c| c.number || c.text.is_empty())
    }
}

/// A column as it was printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    name: String,
    /// In characters of a terminal.
    width: usize,
    /// There was no room for all of its cells.
    cut: bool,
}

impl Shown {
    fn wanted(column: &Column) -> Shown {
        let width = column.width();
        Shown {
            name: printable(&column.name),
            width: width.min(CELL_WIDTH_MAX),
            cut: width > CELL_WIDTH_MAX,
        }
    }
}

/// Shrinks the widest columns until all fit into the width, as far as that goes.
fn fit(mut columns: Vec<Shown>, width: usize) -> Vec<Shown> {
    let gaps = 2 * columns.len().saturating_sub(1);
    loop {
        let total: usize = columns.iter().map(|c| c.width).sum::<usize>() + gaps;
        let Some(widest) = columns.iter_mut().max_by_key(|c| c.width) else {
            return columns;
        };
        if total <= width || widest.width <= CELL_WIDTH_MIN {
            return columns;
        }
        let half = widest.width / 2;
        widest.width = widest
            .width
            .saturating_sub(total - width)
            .max(half)
            .max(CELL_WIDTH_MIN);
        widest.cut = true;
    }
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = (&'a str, usize, bool)>) {
    let start = out.len();
    for (i, (text, width, right)) in cells.enumerate() {
        if i > 0 {
            out.push_str("  ");
        }
        let text = ::console::truncate_str(text, width, "…");
        let pad = width.saturating_sub(::console::measure_text_width(&text));
        if right {
            out.extend(std::iter::repeat_n(' ', pad));
        }
        out.push_str(&text);
        if !right {
            out.extend(std::iter::repeat_n(' ', pad));
        }
    }
    out.truncate(out[start..].trim_end().len() + start);
    out.push('\n');
}
