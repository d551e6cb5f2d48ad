//! Small values as they are written in a job file: durations, sizes, names, pointers. Pure parsing
//! and printing; ranges are the caller's.

/// No duration in a job is longer: 200 years of milliseconds leave every sum of a few of them, and of
/// a timestamp, far inside 64 bits.
pub const DURATION_MAX_MS: i64 = 73_000 * DAY;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const UNITS: [(&str, i64); 5] = [
    ("ms", 1),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
    ("d", DAY),
];

/// `250ms`, `10s`, `1h30m`, `7d`, `-1h`: milliseconds.
pub fn duration_ms(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a duration: write a number with ms, s, m, h or d, such as \"250ms\" or \"1h30m\""
        )
    };
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total: i64 = 0;
    let mut last_unit = i64::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..]
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, ms)| *ms)
            .ok_or_else(wrong)?;
        if digits == 0 || unit >= last_unit {
            return Err(wrong());
        }
        last_unit = unit;
        let part = number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit));
        total = part
            .and_then(|p| total.checked_add(p))
            .filter(|t| *t <= DURATION_MAX_MS)
            .ok_or_else(|| {
                format!(
                    "{text:?} is too long: at most {}",
                    show_duration(DURATION_MAX_MS)
                )
            })?;
        rest = &rest[digits + letters..];
    }
    Ok(if negative { -total } else { total })
}

/// Shortest way to write a duration that `duration_ms` reads.
pub fn show_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_string();
    }
    let mut out = if ms < 0 {
        "-".to_string()
    } else {
        String::new()
    };
    let mut rest = ms.unsigned_abs();
    for (name, unit) in UNITS.iter().rev() {
        let unit = unit.unsigned_abs();
        if rest >= unit {
            out.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    out
}

const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `256KiB`, `1MiB`, `64MB`: bytes.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a size: write a number with B, KiB, MiB, GiB, TiB, KB, MB or GB, such as \"256KiB\""
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = SIZES
        .iter()
        .find(|(name, _)| *name == &text[digits..])
        .map(|(_, b)| *b)
        .ok_or_else(wrong)?;
    if digits == 0 {
        return Err(wrong());
    }
    let bytes = text[..digits]
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit));
    bytes
        .filter(|b| *b <= 1 << 60)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// A size for people, exact where a binary unit divides it.
pub fn show_size(bytes: u64) -> String {
    for (name, unit) in [
        ("TiB", 1u64 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ] {
        if bytes >= unit {
            let tenths = (bytes as f64 / unit as f64 * 10.0).round() / 10.0;
            return if bytes.is_multiple_of(unit) {
                format!("{}{name}", bytes / unit)
            } else {
                format!("{tenths}{name}")
            };
        }
    }
    format!("{bytes}B")
}

/// `[a-z][a-z0-9-]{0,62}`.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && text.len() <= 63
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// RFC 6901.
pub fn check_pointer(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    if !text.starts_with('/') {
        return Err(format!(
            "{text:?} is not a JSON pointer: it starts with \"/\", such as \"/{}\"",
            text.trim_start_matches(['.', '$'])
        ));
    }
    if text.len() > 1_024 {
        return Err("a JSON pointer has at most 1,024 bytes".to_string());
    }
    let mut rest = text;
    while let Some(at) = rest.find('~') {
        if !matches!(rest.as_bytes().get(at + 1), Some(b'0' | b'1')) {
            return Err(format!(
                "{text:?} is not a JSON pointer: \"~\" is written \"~0\", and \"/\" inside a name \"~1\""
            ));
        }
        rest = &rest[at + 2..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        let cases = [
            ("250ms", 250),
            ("10s", 10_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("-1h", -3_600_000),
            ("0s", 0),
        ];
        for (text, ms) in cases {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
            assert_eq!(show_duration(ms), text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in [
            "",
            "-",
            "10",
            "s",
            "10 s",
            "1.5h",
            "10sec",
            "1m1h",
            "1s1s",
            "--1s",
            "١s",
            "9999999999999999999s",
            "80000d",
        ] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
        assert!(duration_ms("10").unwrap_err().contains("250ms"));
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("1B", 1),
            ("256KiB", 262_144),
            ("1MiB", 1_048_576),
            ("64MB", 64_000_000),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(size_bytes(text), Ok(bytes));
        }
        for text in [
            "",
            "1",
            "MiB",
            "1 MiB",
            "1mib",
            "-1B",
            "99999999999999999TiB",
        ] {
            assert!(size_bytes(text).is_err(), "{text}");
        }
        assert_eq!(show_size(262_144), "256KiB");
        assert_eq!(show_size(1_500_000), "1.4MiB");
    }

    #[test]
    fn names_and_pointers() {
        assert!(is_name("a") && is_name("by-carrier-2") && is_name(&"a".repeat(63)));
        assert!(
            !is_name("")
                && !is_name("A")
                && !is_name("2a")
                && !is_name("a_b")
                && !is_name("a.b")
                && !is_name(&"a".repeat(64))
        );
        assert!(check_pointer("").is_ok() && check_pointer("/a/0/b~1c~0").is_ok());
        assert!(
            check_pointer("a").is_err()
                && check_pointer("/a~").is_err()
                && check_pointer("/a~2").is_err()
        );
        assert!(check_pointer("$.a").unwrap_err().contains("\"/a\""));
    }
}
