use super::*;
use crate::config::plan::CsvSpec;

fn spec(delimiter: u8) -> CsvSpec {
    CsvSpec {
        delimiter,
        header: true,
        columns: None,
        nulls: vec![String::new()],
        strings: false,
    }
}

/// All that comes out of a text given in pieces: rows with their lines, then bad rows.
struct Out {
    rows: Vec<(u64, Vec<String>)>,
    bad: Vec<(u64, u64, String)>,
}

fn cut(cutter: &mut RowCutter, text: &[u8], pieces: &[usize], rows_max: usize) -> Out {
    let mut out = Out {
        rows: Vec::new(),
        bad: Vec::new(),
    };
    let (mut start, mut given) = (0, 0);
    for piece in pieces.iter().copied().chain([usize::MAX]) {
        given = (given + piece.min(text.len())).min(text.len());
        let end = piece == usize::MAX;
        loop {
            let cut = cutter.cut(&text[start..given], end, rows_max, 1 << 20);
            start += cut.used;
            if let Some(taken) = cutter.take() {
                for (row, place) in taken.places.iter().enumerate() {
                    let cells = (0..taken.rows.width())
                        .map(|c| String::from_utf8(taken.rows.cell(row, c).to_vec()).unwrap());
                    out.rows.push((place.line, cells.collect()));
                }
                assert!(taken.rows.len() <= rows_max);
                out.bad.extend(
                    taken
                        .bad
                        .into_iter()
                        .map(|b| (b.place.line, b.place.record, b.message)),
                );
            }
            if !cut.full {
                break;
            }
        }
    }
    assert_eq!(start, text.len(), "all bytes are taken");
    assert_eq!(cutter.position().1, text.len() as u64);
    out
}

fn cells(row: &[&str]) -> Vec<String> {
    row.iter().map(|s| s.to_string()).collect()
}

#[test]
fn rows_have_the_line_that_they_start_on_and_bad_ones_do_not_stop_the_others() {
    let text = b"\xef\xbb\xbfa,b\n1,2\r\n\n\"x\ny\",\"say \"\"hi\"\"\"\n3\n4,5,6\n7,8";
    let out = cut(&mut RowCutter::new(&spec(b','), 1000), text, &[], 100);
    assert_eq!(
        out.rows,
        [
            (2, cells(&["1", "2"])),
            (4, cells(&["x\ny", "say \"hi\""])),
            (8, cells(&["7", "8"]))
        ]
    );
    let message = |n| format!("the row has {n} cells, the header 2");
    assert_eq!(out.bad, [(6, 3, message(1)), (7, 4, message(3))]);
}

#[test]
fn a_row_beyond_the_limit_is_bad_and_is_not_kept() {
    let long = "x".repeat(500);
    let text = format!("a,b\n{long},1\n1,2\n\"{long}\n{long}\n3,4\n");
    let mut cutter = RowCutter::new(&spec(b','), 100);
    let pieces = vec![7; text.len() / 7];
    let out = cut(&mut cutter, text.as_bytes(), &pieces, 100);
    assert_eq!(out.rows, [(3, cells(&["1", "2"])), (6, cells(&["3", "4"]))]);
    assert_eq!(
        out.bad.iter().map(|b| (b.0, b.1)).collect::<Vec<_>>()[..2],
        [(2, 1), (4, 3)]
    );
    assert!(
        out.bad[0].2.contains("the limit is 100"),
        "{}",
        out.bad[0].2
    );
}

#[test]
fn a_row_that_is_not_utf8_is_bad() {
    let mut cutter = RowCutter::new(&spec(b';'), 100);
    let out = cut(&mut cutter, b"a;b\n1;\xff\n2;\"\xc3\xa4\"\n3;4\n", &[], 100);
    assert_eq!(out.rows, [(3, cells(&["2", "ä"])), (4, cells(&["3", "4"]))]);
    assert_eq!(out.bad, [(2, 1, "the row is not UTF-8".into())]);
}

#[test]
fn cutting_goes_on_at_a_position_once_the_header_is_known() {
    let text = b"a,b\n1,2\n3,4\n5,6\n";
    let mut cutter = RowCutter::new(&spec(b','), 100);
    assert_eq!(
        cutter.cut(text, false, 2, 100),
        RowCut {
            used: 12,
            full: true
        }
    );
    let (next, offset) = cutter.position();
    assert_eq!((next, offset), (RowPlace { line: 4, record: 3 }, 12));
    let mut other = RowCutter::new(&spec(b','), 100);
    assert!(
        other.needs_header()
            && !other.learn_header(&text[..3], false)
            && other.learn_header(text, false)
    );
    other.set_position(next, offset);
    assert_eq!(
        other.cut(&text[12..], true, 100, 100),
        RowCut {
            used: 4,
            full: false
        }
    );
    let taken = other.take().unwrap();
    assert_eq!(
        (taken.rows.cell(0, 1), taken.places[0].line),
        (&b"6"[..], 4)
    );
}

#[test]
fn without_header_columns_are_named_by_the_job_or_numbered() {
    let named = CsvSpec {
        header: false,
        columns: Some(vec!["x".into(), "y".into()]),
        ..spec(b',')
    };
    let mut cutter = RowCutter::new(&named, 100);
    assert_eq!(
        cut(&mut cutter, b"1,2\n", &[], 9).rows,
        [(1, cells(&["1", "2"]))]
    );
    let mut cutter = RowCutter::new(
        &CsvSpec {
            columns: None,
            ..named
        },
        100,
    );
    assert_eq!(
        cut(&mut cutter, b"1,2\n", &[1], 9).rows,
        [(1, cells(&["1", "2"]))]
    );
    let empty = cut(&mut RowCutter::new(&spec(b','), 100), b"", &[], 9);
    assert!(empty.rows.is_empty() && empty.bad.is_empty());
}

/// A small generator of numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
}

/// What `csv-core` makes of a text: rows with lines, and lines of rows of the wrong width.
fn reference(text: &[u8]) -> (Vec<(u64, Vec<String>)>, Vec<u64>) {
    use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};
    let mut reader = ReaderBuilder::new()
        .terminator(Terminator::Any(b'\n'))
        .build();
    let (mut cells, mut ends) = (vec![0; text.len() + 1], vec![0; text.len() + 1]);
    let (mut at, mut rows, mut bad, mut width) = (0, Vec::new(), Vec::new(), None);
    loop {
        // The reader skips empty lines before a row: the row starts behind them.
        let blank = text[at..].iter().take_while(|&&b| b == b'\n').count() as u64;
        let line = reader.line() + blank;
        let (mut out, mut out_ends) = (0, 0);
        let last = loop {
            let (result, used, written, ended) =
                reader.read_record(&text[at..], &mut cells[out..], &mut ends[out_ends..]);
            at += used;
            out += written;
            out_ends += ended;
            match result {
                ReadRecordResult::Record => break false,
                ReadRecordResult::End => break true,
                _ => {}
            }
        };
        if last {
            return (rows, bad);
        }
        let start = |i: usize| if i == 0 { 0 } else { ends[i - 1] };
        let row: Vec<String> = (0..out_ends)
            .map(|i| String::from_utf8(cells[start(i)..ends[i]].to_vec()).unwrap())
            .collect();
        match width {
            None => width = Some(row.len()),
            Some(width) if width == row.len() => rows.push((line, row)),
            Some(_) => bad.push(line),
        }
    }
}

#[test]
fn rows_are_those_of_csv_core_however_the_bytes_are_cut() {
    let seed = 20250711;
    let mut random = Random(seed);
    for round in 0..20_000 {
        // The header is plain; the rest is a soup of what matters. (LF only: the reference takes a lone CR for a line end.)
        let mut text = b"a,b,c\n".to_vec();
        for _ in 0..random.below(60) {
            let piece: &[u8] = match random.below(12) {
                0 | 1 => b",",
                2 => b"\n",
                3 => b"\"",
                4 => b"\"\"",
                5 => b"x,y,z\n",
                6 => b"1,\"two, \"\"2\"\"\",\"3\n3\"\n",
                7 => b"a long cell without anything in it, and another one,3\n",
                8 => "ä".as_bytes(),
                _ => b"ab",
            };
            text.extend_from_slice(piece);
        }
        let pieces: Vec<usize> = (0..random.below(5)).map(|_| random.below(80)).collect();
        let rows_max = 1 + random.below(5);
        let (rows, bad) = reference(&text);
        let out = cut(
            &mut RowCutter::new(&spec(b','), 10_000),
            &text,
            &pieces,
            rows_max,
        );
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(
            out.rows, rows,
            "seed {seed} round {round}: {shown:?} in {pieces:?}"
        );
        assert_eq!(
            out.bad.iter().map(|b| b.0).collect::<Vec<_>>(),
            bad,
            "seed {seed} round {round}: {shown:?} in {pieces:?}"
        );
    }
}
