//! Text from outside (guests, records, job files, servers) as a terminal may get it.
//!
//! A terminal obeys what is written to it: escape sequences move the cursor, rename the window, answer in the user's
//! place; marks of direction make a name read as another. Here such characters become words for themselves. What goes
//! to files, pipes and topics is not looked at: there, bytes are data.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Whether a terminal might obey it, or show what follows in another order.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line: such characters as `\u{1b}`, line ends too; tabs stay.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\t', |c, out| out.extend(c.escape_default()))
}

/// Lines of text, or of JSON: such characters as `\u001b`, which is what they are in a JSON string; line ends and tabs
/// stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| matches!(c, '\n' | '\t'),
        |c, out| {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        },
    )
}

fn escaped(
    text: &str,
    stays: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    let hidden = |c: char| is_obeyed(c) && !stays(c);
    let Some(first) = text.find(hidden) else {
        return text.into();
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        match hidden(c) {
            true => escape(c, &mut out),
            false => out.push(c),
        }
    }
    out.into()
}

/// Standard output or error of a terminal. Each piece is of whole characters: writers here hand over whole lines.
pub struct Terminal<W>(pub W);

impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_all_else_stays() {
        for text in ["", "plain", "größer 日本 🦀", "a\tb"] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(line("a\x1b[2Jb\r\nc"), "a\\u{1b}[2Jb\\r\\nc");
        // The C1 set, which some terminals take for the same sequences in one character; marks of direction.
        assert_eq!(
            line("\u{9b}31m\u{7f}\u{202e}x"),
            "\\u{9b}31m\\u{7f}\\u{202e}x"
        );
        assert_eq!(
            lines("{\"a\":\"\u{9b}\u{2066}\"}\n\tb\x07\r\n"),
            "{\"a\":\"\\u009b\\u2066\"}\n\tb\\u0007\\u000d\n"
        );
    }

    #[test]
    fn json_for_a_terminal_is_the_same_json() {
        let text = serde_json::json!({ "k\u{85}": "\x1b]0;x\x07\u{9d}\u{202e}" }).to_string();
        let again: serde_json::Value = serde_json::from_str(&lines(&text)).unwrap();
        assert_eq!(again["k\u{85}"], "\x1b]0;x\x07\u{9d}\u{202e}");
    }

    #[test]
    fn bytes_that_are_no_text_reach_a_terminal_as_marks() {
        let mut out = Terminal(Vec::new());
        out.write_all(b"ok \x9b2J \xff\x1b\n").unwrap();
        assert_eq!(out.0, "ok \u{fffd}2J \u{fffd}\\u001b\n".as_bytes());
    }
}
