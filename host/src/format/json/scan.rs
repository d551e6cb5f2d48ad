//! The fast reader: one pass over a document that checks all of it and finds what is asked for.
//!
//! It knows the whole grammar, but leaves to `Document` (serde_json) what is rare: names with escapes, and
//! everything that is wrong, so that messages are serde_json's. Where it answers, both agree.

use super::DEPTH_MAX;
use super::shape::{NOBODY, Shape};
use crate::format::found::Found;
use crate::format::mask;
use crate::format::pointer::{Tree, index};

/// This document is not for the fast reader.
#[derive(Debug)]
pub(super) struct GiveUp;

type Scanned<T> = Result<T, GiveUp>;

/// Bytes that are looked at beyond a document's end, at most.
pub(super) const ROOM: usize = 16;

/// A byte in each of eight places.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Reads documents that lie one behind the other in one text.
pub(super) struct Scanner<'t, 'a> {
    tree: &'t Tree,
    /// The whole text: UTF-8. Reading a few bytes past a document's end is harmless; the scan fails if it does not end
    /// where the document does.
    data: &'a [u8],
    shapes: Vec<Shape>,
}

impl<'t, 'a> Scanner<'t, 'a> {
    pub fn new(tree: &'t Tree, text: &'a str) -> Scanner<'t, 'a> {
        Scanner {
            tree,
            data: text.as_bytes(),
            shapes: vec![Shape::default(); tree.nodes.len()],
        }
    }

    /// Finds what the tree asks for in the document at `start..end`. Slots hold `Found::Missing` before; after
    /// a failure they hold anything.
    #[inline]
    pub fn scan(&mut self, start: usize, end: usize, found: &mut [Found<'a>]) -> Scanned<()> {
        let first = self.white(start);
        let mut at = if self.tree.slots == 0 && self.byte(first) == b'{' {
            // Nobody asks for anything: the shape still makes it faster.
            self.object(0, first, end, 1, found)?
        } else if let b'-' | b'0'..=b'9' = self.byte(first) {
            let (behind, what) = self.lone_number(first, end)?;
            self.put(0, what, found);
            behind
        } else {
            self.value(0, first, end, 0, found)?
        };
        while at < end && is_white(self.data[at]) {
            at += 1;
        }
        if at == end { Ok(()) } else { Err(GiveUp) }
    }

    /// Checks the document at `start..end`, finding nothing. There are `ROOM` spaces behind it; then the scanner gives up
    /// at what is no document only.
    pub fn check(&self, start: usize, end: usize) -> Scanned<()> {
        let behind = self.white(self.skip(self.white(start), 0)?);
        if behind >= end { Ok(()) } else { Err(GiveUp) }
    }

    /// The byte at a place; 0, which is never right, behind the end.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.data.get(at).copied().unwrap_or(0)
    }

    #[inline]
    fn eight(&self, at: usize) -> Scanned<u64> {
        match self.data.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => Ok(u64::from_le_bytes(*bytes)),
            None => Err(GiveUp),
        }
    }

    /// The bytes of a token as text.
    #[inline]
    fn text(&self, start: usize, end: usize) -> &'a str {
        let bytes = &self.data[start..end];
        debug_assert!(std::str::from_utf8(bytes).is_ok());
        // SAFETY: the data is UTF-8 (`new` takes a `str`), and a token, or the inside of a string, starts behind and ends
        // before an ASCII character (quote, bracket, digit, letter), so no character is cut. Measured: the two checks
        // of slicing a `str` cost 2-3 ns a field.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }

    /// The first place that is not white space.
    #[inline]
    fn white(&self, mut at: usize) -> usize {
        while is_white(self.byte(at)) {
            at += 1;
        }
        at
    }

    /// The value at `at`, which belongs to a node that someone asks for; the place behind it.
    #[inline]
    fn value(
        &mut self,
        node: usize,
        at: usize,
        end: usize,
        depth: usize,
        found: &mut [Found<'a>],
    ) -> Scanned<usize> {
        let (behind, what) = match self.byte(at) {
            b'"' => {
                let (close, escapes) = self.string(at + 1)?;
                if escapes {
                    (close + 1, Found::Escaped(self.text(at, close + 1)))
                } else {
                    (close + 1, Found::Text(self.text(at + 1, close)))
                }
            }
            b'-' | b'0'..=b'9' => self.number(at)?,
            b'{' | b'[' => return self.container(node, at, end, depth, found),
            b't' => (self.literal(at, b"true")?, Found::Bool(true)),
            b'f' => (self.literal(at, b"false")?, Found::Bool(false)),
            b'n' => (self.literal(at, b"null")?, Found::Null),
            _ => return Err(GiveUp),
        };
        self.put(node, what, found);
        Ok(behind)
    }

    /// What was found at a node that is no container: nothing is inside it.
    #[inline]
    fn put(&self, node: usize, what: Found<'a>, found: &mut [Found<'a>]) {
        let here = &self.tree.nodes[node];
        if !here.children.is_empty() {
            found[here.slots.clone()].fill(Found::Missing);
        }
        if let Some(slot) = here.slot {
            found[slot] = what;
        }
    }

    fn container(
        &mut self,
        node: usize,
        at: usize,
        end: usize,
        depth: usize,
        found: &mut [Found<'a>],
    ) -> Scanned<usize> {
        let tree = self.tree;
        let here = &tree.nodes[node];
        let behind = if here.children.is_empty() {
            self.skip(at, depth)?
        } else {
            found[here.slots.clone()].fill(Found::Missing);
            if depth >= DEPTH_MAX {
                return Err(GiveUp);
            }
            if self.byte(at) == b'{' {
                self.object(node, at, end, depth + 1, found)?
            } else {
                self.array(node, at, end, depth + 1, found)?
            }
        };
        if let Some(slot) = here.slot {
            found[slot] = Found::Json(self.text(at, behind));
        }
        Ok(behind)
    }

    /// The object at `at`, inside which someone asks for members. `depth` counts it.
    fn object(
        &mut self,
        node: usize,
        at: usize,
        end: usize,
        depth: usize,
        found: &mut [Found<'a>],
    ) -> Scanned<usize> {
        let mut shape = std::mem::take(&mut self.shapes[node]);
        let behind = self.members(node, &mut shape, at, end, depth, found);
        self.shapes[node] = shape;
        behind
    }

    #[inline]
    fn members(
        &mut self,
        node: usize,
        shape: &mut Shape,
        mut at: usize,
        end: usize,
        depth: usize,
        found: &mut [Found<'a>],
    ) -> Scanned<usize> {
        let mut next = 0;
        // `at` is at the brace, or at the comma before a member.
        loop {
            let child = match shape.expect(&mut next, self.data, at) {
                Some((len, child)) => {
                    at += len;
                    child
                }
                None => match self.new_member(node, shape, &mut next, at)? {
                    Ok((value, child)) => {
                        at = value;
                        child
                    }
                    Err(behind) => return Ok(behind),
                },
            };
            at = if child == NOBODY {
                self.skip(at, depth)?
            } else {
                self.value(child as usize, at, end, depth, found)?
            };
            at = self.white(at);
            match self.byte(at) {
                b',' if at < end => {}
                b'}' => return Ok(at + 1),
                _ => return Err(GiveUp),
            }
        }
    }

    /// A member that was not expected: the place of its value and the node it belongs to; or the place behind the
    /// object, if that is empty.
    #[inline(never)]
    fn new_member(
        &self,
        node: usize,
        shape: &mut Shape,
        next: &mut usize,
        at: usize,
    ) -> Scanned<Result<(usize, u32), usize>> {
        let first = self.byte(at) == b'{';
        let name = self.white(at + 1);
        if first && self.byte(name) == b'}' {
            return Ok(Err(name + 1));
        }
        if self.byte(name) != b'"' {
            return Err(GiveUp);
        }
        let (close, escapes) = self.string(name + 1)?;
        let colon = self.white(close + 1);
        if escapes || self.byte(colon) != b':' {
            return Err(GiveUp);
        }
        let value = self.white(colon + 1);
        let name = self.text(name + 1, close);
        let children = &self.tree.nodes[node].children;
        let child = children
            .iter()
            .find(|(wanted, _)| **wanted == *name)
            .map_or(NOBODY, |(_, child)| *child as u32);
        *next = shape.learn(*next, &self.data[at..value], child);
        Ok(Ok((value, child)))
    }

    /// The array at `at`, inside which someone asks for elements. `depth` counts it.
    fn array(
        &mut self,
        node: usize,
        at: usize,
        end: usize,
        depth: usize,
        found: &mut [Found<'a>],
    ) -> Scanned<usize> {
        let tree = self.tree;
        let mut at = self.white(at + 1);
        if self.byte(at) == b']' {
            return Ok(at + 1);
        }
        let mut element = 0;
        loop {
            let child = tree.nodes[node]
                .children
                .iter()
                .find(|(name, _)| index(name) == Some(element));
            at = match child {
                Some((_, child)) => self.value(*child, at, end, depth, found)?,
                None => self.skip(at, depth)?,
            };
            element += 1;
            at = self.white(at);
            match self.byte(at) {
                b',' if at < end => at = self.white(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(GiveUp),
            }
        }
    }

    /// Checks the value at `at`, for which nobody asks; the place behind it.
    #[inline]
    pub fn skip(&self, at: usize, depth: usize) -> Scanned<usize> {
        match self.byte(at) {
            b'{' | b'[' => self.skip_container(at, depth),
            _ => self.skip_scalar(at),
        }
    }

    #[inline]
    fn skip_scalar(&self, at: usize) -> Scanned<usize> {
        match self.byte(at) {
            b'"' => self.string(at + 1).map(|(close, _)| close + 1),
            b'-' | b'0'..=b'9' => self.skip_number(at),
            b't' => self.literal(at, b"true"),
            b'f' => self.literal(at, b"false"),
            b'n' => self.literal(at, b"null"),
            _ => Err(GiveUp),
        }
    }

    fn skip_container(&self, mut at: usize, outside: usize) -> Scanned<usize> {
        // One bit a level, the innermost lowest: 1 = object.
        let mut kinds: u128 = 0;
        let mut depth = outside;
        'value: loop {
            match self.byte(at) {
                open @ (b'{' | b'[') => {
                    if depth >= DEPTH_MAX {
                        return Err(GiveUp);
                    }
                    depth += 1;
                    kinds = (kinds << 1) | u128::from(open == b'{');
                    at = self.white(at + 1);
                    // The closing bracket is two behind the opening one, for both kinds.
                    if self.byte(at) != open + 2 {
                        if open == b'{' {
                            at = self.name(at)?;
                        }
                        continue 'value;
                    }
                    at += 1;
                    kinds >>= 1;
                    depth -= 1;
                }
                _ => at = self.skip_scalar(at)?,
            }
            while depth > outside {
                at = self.white(at);
                match (self.byte(at), kinds & 1) {
                    (b',', 1) => {
                        at = self.name(self.white(at + 1))?;
                        continue 'value;
                    }
                    (b',', _) => {
                        at = self.white(at + 1);
                        continue 'value;
                    }
                    (b'}', 1) | (b']', 0) => {
                        at += 1;
                        kinds >>= 1;
                        depth -= 1;
                    }
                    _ => return Err(GiveUp),
                }
            }
            return Ok(at);
        }
    }

    /// Checks a member's name and colon; the place of its value.
    #[inline]
    fn name(&self, at: usize) -> Scanned<usize> {
        if self.byte(at) != b'"' {
            return Err(GiveUp);
        }
        let (close, _) = self.string(at + 1)?;
        let colon = self.white(close + 1);
        if self.byte(colon) == b':' {
            Ok(self.white(colon + 1))
        } else {
            Err(GiveUp)
        }
    }

    /// The closing quote of the string whose inside starts at `at`, and whether it has escapes.
    #[inline]
    fn string(&self, mut at: usize) -> Scanned<(usize, bool)> {
        let mut escapes = false;
        loop {
            let Some(bytes) = self.data.get(at..).and_then(|rest| rest.first_chunk()) else {
                return Err(GiveUp);
            };
            let special = mask::special(bytes);
            if special == 0 {
                at += 16;
                continue;
            }
            at += special.trailing_zeros() as usize;
            match self.data[at] {
                b'"' => return Ok((at, escapes)),
                b'\\' => {
                    escapes = true;
                    at = self.escape(at)?;
                }
                _ => return Err(GiveUp),
            }
        }
    }

    fn escape(&self, at: usize) -> Scanned<usize> {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' if (2..6).all(|i| self.byte(at + i).is_ascii_hexdigit()) => Ok(at + 6),
            _ => Err(GiveUp),
        }
    }

    #[inline]
    fn literal(&self, at: usize, word: &[u8]) -> Scanned<usize> {
        if self.data.get(at..at + word.len()) == Some(word) {
            Ok(at + word.len())
        } else {
            Err(GiveUp)
        }
    }

    /// The number at `at`, and the place behind it.
    #[inline]
    fn number(&self, start: usize) -> Scanned<(usize, Found<'a>)> {
        let negative = self.byte(start) == b'-';
        let first = start + usize::from(negative);
        let (mut at, mut int) = (first, 0u64);
        loop {
            let digits = self.eight(at)? ^ each(b'0');
            let n = (not_digits(digits).trailing_zeros() / 8) as usize;
            if n > 0 {
                // More than 19 digits wrap around; they are not taken from here.
                int = int
                    .wrapping_mul(POWERS[n])
                    .wrapping_add(eight_digits(digits << (64 - 8 * n)));
                at += n;
            }
            if n < 8 {
                break;
            }
        }
        if at == first || (at > first + 1 && self.data[first] == b'0') {
            return Err(GiveUp);
        }
        if let b'.' | b'e' | b'E' = self.byte(at) {
            let behind = self.fraction(at)?;
            return Ok((behind, Found::Number(self.text(start, behind))));
        }
        let token = self.text(start, at);
        if at - first > 18 || (negative && int == 0) {
            return Ok((at, Found::number(token)));
        }
        Ok((
            at,
            Found::Int(if negative { -(int as i64) } else { int as i64 }, token),
        ))
    }

    /// A number that is a whole document. Nothing ends it in the text: the digits of the next document follow, and of
    /// all that come after, so it is read apart.
    fn lone_number(&self, start: usize, end: usize) -> Scanned<(usize, Found<'a>)> {
        const LEN_MAX: usize = 40;
        let mut behind = end;
        while behind > start && is_white(self.data[behind - 1]) {
            behind -= 1;
        }
        let len = behind - start;
        if len > LEN_MAX {
            return Err(GiveUp);
        }
        let mut alone = [b' '; LEN_MAX + ROOM];
        alone[..len].copy_from_slice(&self.data[start..behind]);
        let scanner = Scanner {
            tree: self.tree,
            data: &alone,
            shapes: Vec::new(),
        };
        let (read, what) = scanner.number(0)?;
        if read != len {
            return Err(GiveUp);
        }
        let token = self.text(start, behind);
        let what = match what {
            Found::Int(int, _) => Found::Int(int, token),
            _ => Found::Number(token),
        };
        Ok((behind, what))
    }

    /// Checks the number at `at`; the place behind it.
    #[inline]
    fn skip_number(&self, start: usize) -> Scanned<usize> {
        let first = start + usize::from(self.byte(start) == b'-');
        let at = self.digits(first)?;
        if at > first + 1 && self.data[first] == b'0' {
            return Err(GiveUp);
        }
        if let b'.' | b'e' | b'E' = self.byte(at) {
            self.fraction(at)
        } else {
            Ok(at)
        }
    }

    /// The place behind a number's fraction and exponent.
    fn fraction(&self, mut at: usize) -> Scanned<usize> {
        if self.byte(at) == b'.' {
            at = self.digits(at + 1)?;
        }
        if let b'e' | b'E' = self.byte(at) {
            let sign = matches!(self.byte(at + 1), b'+' | b'-');
            at = self.digits(at + 1 + usize::from(sign))?;
        }
        Ok(at)
    }

    /// The place behind at least one digit.
    #[inline]
    fn digits(&self, start: usize) -> Scanned<usize> {
        let mut at = start;
        loop {
            let n = (not_digits(self.eight(at)? ^ each(b'0')).trailing_zeros() / 8) as usize;
            at += n;
            if n < 8 {
                return if at > start { Ok(at) } else { Err(GiveUp) };
            }
        }
    }
}

#[inline]
fn is_white(byte: u8) -> bool {
    byte <= b' ' && matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The high bit of each byte that is above 9; above the first such byte there may be false ones.
#[inline]
fn not_digits(digits: u64) -> u64 {
    (digits.wrapping_add(each(0x76)) | digits) & each(0x80)
}

/// 10^n.
const POWERS: [u64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// The number that eight digits (0..=9 each, the most significant in the lowest byte) make.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_whole_documents_end_where_the_document_does() {
        // One behind the other, as a column of values has them: without a limit each is as long as all that follow.
        let documents = [
            "12",
            "345",
            " -6 ",
            "0",
            "7.5",
            "1e3",
            "12345678901234567890",
            "-0",
            "8",
        ];
        let text = documents.concat() + &" ".repeat(ROOM);
        let tree = Tree::of([""]).0;
        let mut scanner = Scanner::new(&tree, &text);
        let mut start = 0;
        for document in documents {
            let mut found = [Found::Missing];
            let end = start + document.len();
            scanner.scan(start, end, &mut found).expect("a number");
            let token = document.trim();
            match found[0] {
                Found::Int(int, text) => {
                    assert_eq!((int.to_string().as_str(), text), (token, token))
                }
                Found::Number(text) => assert_eq!(text, token),
                ref other => panic!("{document:?}: {}", other.describe()),
            }
            start = end;
        }
        // No number, whatever follows.
        for wrong in ["1-", "01", "1 2", "1.", "-", "1e"] {
            let text = format!("{wrong}34                ");
            let mut found = [Found::Missing];
            let scanned = Scanner::new(&tree, &text).scan(0, wrong.len(), &mut found);
            assert!(scanned.is_err(), "{wrong:?}");
        }
    }
}
