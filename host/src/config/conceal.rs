//! Takes secrets out of text that people typed, where it is shown to them again: excerpts of a job file,
//! overrides, URLs in messages.
//!
//! `secret` knows the secrets that a job refers to; here are those that were typed in clear where none
//! belongs: credentials and signatures in URLs, and values of settings whose names say that they are secret.

use std::ops::Range;

use super::secret::REDACTED;

/// Parts of a setting's name after which its value is nobody's business.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "jaas",
    "key.pem",
    "private",
    "access-key",
    "access_key",
    "api-key",
    "api_key",
    "apikey",
];

/// Whether the setting of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The text with `***` for each secret.
pub fn conceal(text: &str) -> String {
    replace(text, |_| REDACTED.to_string())
}

/// The same with as many characters as before: what is marked beneath stays beneath.
pub fn conceal_in_place(text: &str) -> String {
    replace(text, |secret| "*".repeat(secret.chars().count()))
}

fn replace(text: &str, with: impl Fn(&str) -> String) -> String {
    let mut ranges = in_urls(text);
    ranges.extend(in_settings(text));
    if ranges.is_empty() {
        return text.to_owned();
    }
    ranges.sort_by_key(|r| (r.start, r.end));
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    for range in ranges {
        let start = range.start.max(at);
        if range.end > start {
            shown.push_str(&text[at..start]);
            shown.push_str(&with(&text[start..range.end]));
            at = range.end;
        }
    }
    shown.push_str(&text[at..]);
    shown
}

/// `user:password` of `scheme://user:password@host`, and what stands behind its `?`.
fn in_urls(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, colon) in text.match_indices("://") {
        let start = at + colon.len();
        let ends = |c: char| c.is_whitespace() || "\"'`,<>()[]{}".contains(c);
        let len = text[start..].find(ends).unwrap_or(text.len() - start);
        let url = &text[start..start + len];
        let authority = url.find(['/', '?', '#']).unwrap_or(len);
        // A slash in a password should be written %2F, and is not always.
        let user = match url[..authority].rfind('@') {
            None if url[..authority].contains(':') => url.rfind('@'),
            found => found,
        };
        if let Some(user) = user {
            found.push(start..start + user);
        }
        if let Some(query) = url.find('?') {
            found.push(start + query + 1..start + len);
        }
    }
    found
}

/// The values of `name = value` whose name says that they are secret; references in them stay.
fn in_settings(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('=') {
        let before = text[..at].trim_end();
        let part = |c: char| c.is_alphanumeric() || "._-\"'".contains(c);
        let name = before.trim_end_matches(part).len();
        if !is_secret_name(&before[name..]) {
            continue;
        }
        let behind = &text[at + 1..];
        let mut start = at + 1 + (behind.len() - behind.trim_start().len());
        let quote = text[start..].chars().next().filter(|c| "\"'".contains(*c));
        let end = match quote {
            Some(quote) => {
                start += text[start..].len() - text[start..].trim_start_matches(quote).len();
                text[start..].find(quote)
            }
            None => text[start..].find(|c: char| c.is_whitespace() || ",}".contains(c)),
        };
        let end = end.map_or(text.len(), |len| start + len);
        // Around references, which say where a secret is and not what.
        while let Some(reference) = text[start..end].find("${") {
            found.push(start..start + reference);
            let len = text[start + reference..end].find('}');
            start = len.map_or(end, |len| start + reference + len + 1);
        }
        found.push(start..end);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_queries_of_urls_are_taken_out() {
        for (text, shown) in [
            ("s3://KEY:hunter2@bucket/a", "s3://***@bucket/a"),
            (
                "see \"https://u:p@h:1/x?sig=hunter2\" and http://h/a",
                "see \"https://***@h:1/x?***\" and http://h/a",
            ),
            ("s3://KEY:hun/ter2@bucket/a", "s3://***@bucket/a"),
            ("s3://bucket/a@b", "s3://bucket/a@b"),
            ("a://b://c:d@e", "a://***@e"),
            ("://", "://"),
            ("x://ü:ö@ä", "x://***@ä"),
        ] {
            assert_eq!(conceal(text), shown);
        }
    }

    #[test]
    fn values_of_secret_settings_are_taken_out_and_references_stay() {
        for (text, shown) in [
            (
                "client = { \"sasl.password\" = \"hunter2\", linger = 5 }",
                "client = { \"sasl.password\" = \"***\", linger = 5 }",
            ),
            (
                "source.in.client.\"sasl.password\"=hunter2",
                "source.in.client.\"sasl.password\"=***",
            ),
            ("ssl.key.password = 'a b'", "ssl.key.password = '***'"),
            (
                "secret-access-key = \"\"\"x",
                "secret-access-key = \"\"\"***",
            ),
            (
                "password = \"a${env:X}b${file:y}\"",
                "password = \"***${env:X}***${file:y}\"",
            ),
            ("password = \"${env:X", "password = \"${env:X"),
            ("password =", "password ="),
            ("key = \"/k\"", "key = \"/k\""),
        ] {
            assert_eq!(conceal(text), shown);
        }
    }

    #[test]
    fn in_place_every_character_keeps_its_column() {
        let text = "path = \"s3://u:pö@b/c\" # é";
        let shown = conceal_in_place(text);
        assert_eq!(shown, "path = \"s3://****@b/c\" # é");
        assert_eq!(shown.chars().count(), text.chars().count());
    }
}
