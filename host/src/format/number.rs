//! The grammar of JSON numbers, and reading floats.

/// Whether these bytes are exactly one JSON number.
pub(crate) fn is_json_number(bytes: &[u8]) -> bool {
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return false;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return false;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        let exponent = digits(at);
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == bytes.len()
}

/// The float that a JSON number means, correctly rounded; none if it is beyond a float's range.
#[inline]
pub(crate) fn float(token: &str) -> Option<f64> {
    short_float(token.as_bytes())
        .or_else(|| token.parse().ok().filter(|float: &f64| float.is_finite()))
}

/// Numbers with few digits and no exponent: their digits and the power of ten are both exact as floats, so that one
/// division rounds correctly.
#[inline]
fn short_float(token: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    if token.len() > 16 {
        return None;
    }
    let negative = token.first() == Some(&b'-');
    let digits = &token[usize::from(negative)..];
    let (mut int, mut point) = (0u64, None);
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => int = int * 10 + u64::from(byte - b'0'),
            b'.' => point = Some(at),
            _ => return None,
        }
    }
    // At most 15 digits, as the point takes one place.
    let float = int as f64 / POWERS[point.map(|at| digits.len() - 1 - at)?];
    Some(if negative { -float } else { float })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_the_standard_library_reads_them() {
        for token in [
            "0.0",
            "-0.0",
            "0.1",
            "1.5",
            "-123.456",
            "99999999999999.9",
            "0.00000000000001",
            "1e5",
            "1.5e-3",
            "2.2250738585072011e-308",
            "1234567890.123456",
        ] {
            assert_eq!(
                float(token).map(f64::to_bits),
                token.parse::<f64>().ok().map(f64::to_bits),
                "{token}"
            );
        }
        assert_eq!(float("1e400"), None);
    }

    #[test]
    fn only_json_numbers_are_numbers() {
        for good in ["0", "-0", "10", "1.5", "1e5", "1E+5", "-1.25e-7"] {
            assert!(is_json_number(good.as_bytes()), "{good}");
        }
        for bad in [
            "", "-", "01", "1.", ".5", "+1", "1e", "1e+", " 1", "1 ", "0x1", "NaN", "1_000", "--1",
        ] {
            assert!(!is_json_number(bad.as_bytes()), "{bad}");
        }
    }
}
