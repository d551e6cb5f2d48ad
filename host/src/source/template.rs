//! Templates of made-up records: text with placeholders, compiled once.
//!
//! | placeholder | becomes |
//! |---|---|
//! | `{{index}}` | the record's number, from 0, over all partitions |
//! | `{{partition}}` | its partition |
//! | `{{int LOW HIGH}}` | a whole number, LOW <= n < HIGH |
//! | `{{float LOW HIGH}}`, `{{float LOW HIGH DECIMALS}}` | a number with 2 (or so many) decimals, LOW <= x < HIGH |
//! | `{{time START STEP}}` | START + index * STEP, milliseconds; STEP may have up to three decimals |
//! | `{{time START STEP DISORDER}}` | the same, less up to DISORDER milliseconds at random |
//! | `{{pick A B "C D"}}` | one of the words |
//! | `{{hex N}}`, `{{letters N}}` | N random hexadecimal digits, lower-case letters |
//!
//! A record is a function of (seed, index) alone: the same whatever the number of partitions, and any record can be
//! made without those before it. Must stay stable: positions of a generator are indexes.

/// The template where a job names none.
pub const DEFAULT_TEMPLATE: &str = r#"{"id":{{index}},"user":"u{{int 0 10000}}","amount":{{float 0 100}},"ts":{{time 1700000000000 10}}}"#;

/// Longest text, and longest `hex` or `letters`.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;
const DIGITS_MAX: u64 = 65_536;

const KNOWN: &str = "index, partition, int LOW HIGH, float LOW HIGH [DECIMALS], time START STEP [DISORDER], pick WORD..., \
                     hex N, letters N";

/// A compiled template.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorTemplate {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Text(Vec<u8>),
    Index,
    Partition,
    Int {
        low: i64,
        span: u64,
    },
    /// In units of 10^-decimals.
    Float {
        low: i64,
        span: u64,
        decimals: u32,
    },
    Time {
        start: i64,
        step_micros: i64,
        disorder: u64,
    },
    Pick(Vec<Vec<u8>>),
    Hex(u64),
    Letters(u64),
}

impl GeneratorTemplate {
    /// Compiles a template; the error says where (byte, first = 1), what, and what is allowed.
    pub fn parse(text: &str) -> Result<GeneratorTemplate, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!(
                "template: {} bytes, the limit is {TEMPLATE_BYTES_MAX}",
                text.len()
            ));
        }
        let mut segments = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find("{{").map(|i| at + i) {
            // `{"a":{{{int 0 9}}}` : the innermost two braces are the placeholder's.
            let open = open + text[open..].bytes().take_while(|b| *b == b'{').count() - 2;
            let Some(close) = text[open..].find("}}").map(|i| open + i) else {
                return Err(format!(
                    "template, byte {}: `{{{{` without `}}}}`",
                    open + 1
                ));
            };
            if open > at {
                segments.push(Segment::Text(text.as_bytes()[at..open].to_vec()));
            }
            let inner = &text[open + 2..close];
            let segment = placeholder(inner)
                .map_err(|e| format!("template, byte {}: `{{{{{inner}}}}}`: {e}", open + 1))?;
            segments.push(segment);
            at = close + 2;
        }
        if at < text.len() {
            segments.push(Segment::Text(text.as_bytes()[at..].to_vec()));
        }
        Ok(GeneratorTemplate { segments })
    }

    /// Appends record `index`.
    pub fn render(&self, seed: u64, partition: u32, index: u64, out: &mut Vec<u8>) {
        let mut random = SplitMix64::of(seed, index);
        let mut digits = itoa::Buffer::new();
        for segment in &self.segments {
            match segment {
                Segment::Text(text) => out.extend_from_slice(text),
                Segment::Index => out.extend_from_slice(digits.format(index).as_bytes()),
                Segment::Partition => out.extend_from_slice(digits.format(partition).as_bytes()),
                Segment::Int { low, span } => {
                    let n = low.wrapping_add_unsigned(random.below(*span));
                    out.extend_from_slice(digits.format(n).as_bytes());
                }
                Segment::Float {
                    low,
                    span,
                    decimals,
                } => {
                    write_decimal(
                        low.wrapping_add_unsigned(random.below(*span)),
                        *decimals,
                        out,
                    );
                }
                Segment::Time {
                    start,
                    step_micros,
                    disorder,
                } => {
                    let late = if *disorder > 0 {
                        random.below(*disorder + 1)
                    } else {
                        0
                    };
                    let time = time_of(*start, *step_micros, index, late);
                    out.extend_from_slice(digits.format(time).as_bytes());
                }
                Segment::Pick(words) => {
                    out.extend_from_slice(&words[random.below(words.len() as u64) as usize])
                }
                Segment::Hex(n) => push_digits(*n, b"0123456789abcdef", &mut random, out),
                Segment::Letters(n) => {
                    push_digits(*n, b"abcdefghijklmnopqrstuvwxyz", &mut random, out)
                }
            }
        }
    }
}

/// START + index * STEP - late, held within the range of time.
fn time_of(start: i64, step_micros: i64, index: u64, late: u64) -> i64 {
    let near = i64::try_from(index)
        .ok()
        .and_then(|i| i.checked_mul(step_micros))
        .and_then(|micros| start.checked_add(micros / 1000))
        .and_then(|time| time.checked_sub_unsigned(late));
    // The division of 128-bit numbers costs more than all the rest of a record.
    near.unwrap_or_else(|| {
        let passed = i128::from(index) * i128::from(step_micros) / 1000;
        let time = i128::from(start) + passed - i128::from(late);
        time.clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX - 1)) as i64
    })
}

fn push_digits(n: u64, alphabet: &[u8], random: &mut SplitMix64, out: &mut Vec<u8>) {
    for _ in 0..n {
        out.push(alphabet[random.below(alphabet.len() as u64) as usize]);
    }
}

/// `units` * 10^-decimals, always with so many decimals.
fn write_decimal(units: i64, decimals: u32, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(units.unsigned_abs()).as_bytes();
    let decimals = decimals as usize;
    if units < 0 {
        out.push(b'-');
    }
    if decimals == 0 {
        out.extend_from_slice(digits);
    } else if digits.len() > decimals {
        let (whole, part) = digits.split_at(digits.len() - decimals);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(part);
    } else {
        out.extend_from_slice(b"0.");
        out.extend_from_slice(&[b'0'; DECIMALS_MAX as usize][..decimals - digits.len()]);
        out.extend_from_slice(digits);
    }
}

const DECIMALS_MAX: u32 = 9;

fn placeholder(inner: &str) -> Result<Segment, String> {
    let words = words(inner)?;
    let Some((name, arguments)) = words.split_first() else {
        return Err(format!("empty; one of: {KNOWN}"));
    };
    let count = |allowed: std::ops::RangeInclusive<usize>| {
        if allowed.contains(&arguments.len()) {
            return Ok(());
        }
        let wanted = if allowed.start() == allowed.end() {
            allowed.start().to_string()
        } else {
            format!("{} to {}", allowed.start(), allowed.end())
        };
        Err(format!(
            "{name} takes {wanted} arguments, not {}",
            arguments.len()
        ))
    };
    match name.as_str() {
        "index" => count(0..=0).map(|()| Segment::Index),
        "partition" => count(0..=0).map(|()| Segment::Partition),
        "int" => {
            count(2..=2)?;
            let (low, high) = (int(&arguments[0])?, int(&arguments[1])?);
            Ok(Segment::Int {
                low,
                span: span(low, high)?,
            })
        }
        "float" => {
            count(2..=3)?;
            let decimals = arguments
                .get(2)
                .map_or(Ok(2), |a| natural(a, u64::from(DECIMALS_MAX)))?
                as u32;
            let scaled = |a: &String| {
                let x: f64 = a.parse().map_err(|_| format!("`{a}` is not a number"))?;
                let units = (x * 10f64.powi(decimals as i32)).round();
                if units.abs() < 9e18 {
                    Ok(units as i64)
                } else {
                    Err(format!("`{a}` is too large"))
                }
            };
            let (low, high) = (scaled(&arguments[0])?, scaled(&arguments[1])?);
            Ok(Segment::Float {
                low,
                span: span(low, high)?,
                decimals,
            })
        }
        "time" => {
            count(2..=3)?;
            let step: f64 = arguments[1]
                .parse()
                .map_err(|_| format!("`{}` is not a number", arguments[1]))?;
            if step.is_nan() || step.abs() > 1e12 {
                return Err(format!("`{}` is no step of milliseconds", arguments[1]));
            }
            let disorder = arguments.get(2).map_or(Ok(0), |a| natural(a, 1 << 50))?;
            Ok(Segment::Time {
                start: int(&arguments[0])?,
                step_micros: (step * 1000.0).round() as i64,
                disorder,
            })
        }
        "pick" => {
            if arguments.is_empty() {
                return Err("pick takes at least one word".to_string());
            }
            Ok(Segment::Pick(
                arguments.iter().map(|w| w.clone().into_bytes()).collect(),
            ))
        }
        "hex" => count(1..=1)
            .and_then(|()| natural(&arguments[0], DIGITS_MAX))
            .map(Segment::Hex),
        "letters" => count(1..=1)
            .and_then(|()| natural(&arguments[0], DIGITS_MAX))
            .map(Segment::Letters),
        other => Err(format!("`{other}` is none of: {KNOWN}")),
    }
}

/// Words apart by white space; one in double quotes may hold some.
fn words(inner: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = inner.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_string());
        rest = after.trim_start();
    }
    Ok(words)
}

fn int(word: &str) -> Result<i64, String> {
    word.parse()
        .map_err(|_| format!("`{word}` is not a whole number"))
}

fn natural(word: &str, max: u64) -> Result<u64, String> {
    match word.parse::<u64>() {
        Ok(n) if n <= max => Ok(n),
        _ => Err(format!("`{word}` is not a whole number from 0 to {max}")),
    }
}

fn span(low: i64, high: i64) -> Result<u64, String> {
    if low < high {
        Ok(high.abs_diff(low))
    } else {
        Err("LOW must be less than HIGH".to_string())
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators". One state per record.
struct SplitMix64(u64);

impl SplitMix64 {
    fn of(seed: u64, index: u64) -> SplitMix64 {
        // Mixed, so that neighbouring records are not shifted copies of one sequence.
        SplitMix64(mix(seed ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * u128::from(n)) >> 64) as u64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, index: u64) -> String {
        let mut out = Vec::new();
        GeneratorTemplate::parse(template)
            .expect(template)
            .render(7, 3, index, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn placeholders_become_what_the_table_says() {
        assert_eq!(
            render("{{index}}/{{partition}}/{{time 1000 2.5}}", 3),
            "3/3/1007"
        );
        assert_eq!(render("{{pick x}}{{pick \"a b\"}}", 0), "xa b");
        assert_eq!(render("{{hex 4}}{{letters 3}}", 0).len(), 7);
        for i in 0..1000 {
            let n: i64 = render("{{int -5 5}}", i).parse().expect("a number");
            assert!((-5..5).contains(&n));
            let text = render("{{float -1.5 1.5 3}}", i);
            let x: f64 = text.parse().expect("a number");
            assert!(
                (-1.5..1.5).contains(&x) && text.split_once('.').expect("a point").1.len() == 3,
                "{text}"
            );
            let t: i64 = render("{{time 100000 1 50}}", i).parse().expect("a number");
            assert!((100_000 + i as i64 - 50..=100_000 + i as i64).contains(&t));
        }
    }

    #[test]
    fn decimals_are_always_so_many() {
        let write = |units, decimals| {
            let mut out = Vec::new();
            write_decimal(units, decimals, &mut out);
            String::from_utf8(out).expect("text")
        };
        let cases = [
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-123, 2, "-1.23"),
            (123, 0, "123"),
            (100, 2, "1.00"),
            (7, 9, "0.000000007"),
        ];
        for (units, decimals, text) in cases {
            assert_eq!(write(units, decimals), text);
        }
    }

    #[test]
    fn times_stay_within_the_range_of_time() {
        assert_eq!(
            render("{{time 9223372036854775807 1000}}", u64::MAX),
            (i64::MAX - 1).to_string()
        );
        assert_eq!(
            render("{{time -9223372036854775808 0 50}}", 3),
            (i64::MIN + 1).to_string()
        );
        assert_eq!(
            render("{{time 0 1000000}}", 1 << 62),
            (i64::MAX - 1).to_string()
        );
    }

    #[test]
    fn default_template_makes_json() {
        for i in 0..100 {
            let text = render(DEFAULT_TEMPLATE, i);
            let json: serde_json::Value = serde_json::from_str(&text).expect(&text);
            assert_eq!(json["id"], i);
        }
    }

    #[test]
    fn placeholder_beside_braces_of_the_json_is_found() {
        assert_eq!(render(r#"{"a":{"b":{{index}}}}"#, 1), r#"{"a":{"b":1}}"#);
        assert_eq!(render("{{{index}}}", 1), "{1}");
    }

    #[test]
    fn bad_placeholder_is_named_with_its_place() {
        let error = |t: &str| GeneratorTemplate::parse(t).expect_err(t);
        assert_eq!(
            error("ab{{int 1}}"),
            "template, byte 3: `{{int 1}}`: int takes 2 arguments, not 1"
        );
        assert!(error("{{nope}}").contains("`nope` is none of: index, partition"));
        assert!(error("a{{index").contains("byte 2: `{{` without `}}`"));
        assert!(error("{{int 5 5}}").contains("LOW must be less than HIGH"));
        assert!(error("{{float a 5}}").contains("`a` is not a number"));
        assert!(error("{{pick \"a}}").contains("a quote is not closed"));
        assert!(error("{{}}").contains("empty"));
        assert!(error("{{hex 99999999}}").contains("0 to 65536"));
    }

    #[test]
    fn records_differ_by_seed_and_index_and_nothing_else() {
        let t = GeneratorTemplate::parse("{{int 0 1000000000}}").expect("right");
        let make = |seed, partition, index| {
            let mut out = Vec::new();
            t.render(seed, partition, index, &mut out);
            out
        };
        assert_eq!(make(1, 0, 5), make(1, 1, 5));
        assert_ne!(make(1, 0, 5), make(2, 0, 5));
        assert_ne!(make(1, 0, 5), make(1, 0, 6));
    }
}
