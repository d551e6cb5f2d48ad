//! What goes through the pipes between host and compile child. Both are the same program, so there are no
//! versions; integers are little-endian.
//!
//! Request: `"wmcompil"`, flags u8 (1 interruptible, 2 on several threads), length u64, file.
//! Answer: `"wmcompld"`, status u8, engine hash u64, length u64, then what does not hold the child (`gaps`); length u64,
//! then machine code (status 0), or words.

use std::io::{self, Read, Write};

use super::gaps::WORDS_BYTES_MAX;

const REQUEST: &[u8; 8] = b"wmcompil";
const ANSWER: &[u8; 8] = b"wmcompld";

pub const INTERRUPTIBLE: u8 = 1;
pub const PARALLEL: u8 = 2;

/// What the child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Here is the code.
    Code = 0,
    /// The module cannot be made a component.
    Wrap = 1,
    /// The compiler refused it.
    Refused = 2,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Gaps of its sandbox, as words.
    pub gaps: String,
    pub status: Status,
    pub engine_hash: u64,
    pub payload: Vec<u8>,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

pub fn write_request(to: &mut impl Write, flags: u8, file: &[u8]) -> io::Result<()> {
    to.write_all(REQUEST)?;
    to.write_all(&[flags])?;
    to.write_all(&(file.len() as u64).to_le_bytes())?;
    to.write_all(file)?;
    to.flush()
}

pub fn read_request(from: &mut impl Read, bytes_max: u64) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 17];
    from.read_exact(&mut head)?;
    if head[..8] != *REQUEST {
        return Err(invalid("not a request"));
    }
    Ok((head[8], read_payload(from, &head[9..], bytes_max)?))
}

pub fn write_answer(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    to.write_all(ANSWER)?;
    to.write_all(&[answer.status as u8])?;
    to.write_all(&answer.engine_hash.to_le_bytes())?;
    to.write_all(&(answer.gaps.len() as u64).to_le_bytes())?;
    to.write_all(answer.gaps.as_bytes())?;
    to.write_all(&(answer.payload.len() as u64).to_le_bytes())?;
    to.write_all(&answer.payload)?;
    to.flush()
}

/// None of a length past `bytes_max` is read.
pub fn read_answer(from: &mut impl Read, bytes_max: u64) -> io::Result<Answer> {
    let mut head = [0; 25];
    from.read_exact(&mut head)?;
    if head[..8] != *ANSWER {
        return Err(invalid("not an answer"));
    }
    let status = match head[8] {
        0 => Status::Code,
        1 => Status::Wrap,
        2 => Status::Refused,
        _ => return Err(invalid("unknown status")),
    };
    let engine_hash = u64::from_le_bytes(head[9..17].try_into().expect("eight bytes"));
    let gaps = read_payload(from, &head[17..], WORDS_BYTES_MAX as u64)?;
    let gaps = String::from_utf8(gaps).map_err(|_| invalid("words that are no text"))?;
    let mut len = [0; 8];
    from.read_exact(&mut len)?;
    Ok(Answer {
        gaps,
        status,
        engine_hash,
        payload: read_payload(from, &len, bytes_max)?,
    })
}

fn read_payload(from: &mut impl Read, len: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let len = u64::from_le_bytes(len.try_into().expect("eight bytes"));
    if len > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{len} bytes, more than {bytes_max}"),
        ));
    }
    let mut payload = Vec::new();
    from.take(len).read_to_end(&mut payload)?;
    if payload.len() as u64 != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_requests_come_back_whole_and_torn_ones_do_not() {
        let answer = || Answer {
            gaps: "seccomp: none\n".into(),
            status: Status::Wrap,
            engine_hash: 77,
            payload: b"words".to_vec(),
        };
        let mut bytes = Vec::new();
        write_answer(&mut bytes, &answer()).unwrap();
        assert_eq!(read_answer(&mut &bytes[..], 5).unwrap(), answer());
        assert_eq!(
            read_answer(&mut &bytes[..], 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        for cut in 0..bytes.len() {
            assert!(read_answer(&mut &bytes[..cut], 5).is_err(), "{cut}");
        }
        bytes[8] = 9;
        assert!(read_answer(&mut &bytes[..], 5).is_err());
        let mut bytes = Vec::new();
        write_request(&mut bytes, PARALLEL, b"file").unwrap();
        assert_eq!(
            read_request(&mut &bytes[..], 4).unwrap(),
            (PARALLEL, b"file".to_vec())
        );
        assert!(read_request(&mut &bytes[..], 3).is_err());
        bytes[0] = 0;
        assert!(read_request(&mut &bytes[..], 4).is_err());
    }
}
