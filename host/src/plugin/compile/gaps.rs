//! What does not hold a compile child, and why: the words, the pipe's form of them, and what an answer of the kernel means.
//! Asks nobody itself.

use std::fmt;
use std::io;

/// Layers of the sandbox, as they are called in messages and JSON.
const LAYERS: [&str; 6] = [
    LIMITS,
    NO_NEW_PRIVS,
    LANDLOCK,
    SECCOMP,
    PARENT_DEATH,
    IN_PROCESS,
];

pub(super) const LIMITS: &str = "limits";
pub(super) const NO_NEW_PRIVS: &str = "no-new-privs";
pub(super) const LANDLOCK: &str = "landlock";
pub(super) const SECCOMP: &str = "seccomp";
pub(super) const PARENT_DEATH: &str = "parent-death-signal";
pub(super) const IN_PROCESS: &str = "in-process";

/// Bytes that a child may say about its gaps.
pub(super) const WORDS_BYTES_MAX: usize = 4_096;

/// Characters of one that are told; a child has ten gaps at most, and what a kernel answers is in ASCII.
const WHY_CHARS_MAX: usize = 300;

/// The newest landlock that the sandbox has rules for.
pub(super) const LANDLOCK_ABI: i32 = 5;

/// A layer that does not hold, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which.
    pub layer: &'static str,
    /// Why, for people: one line.
    pub why: String,
}

impl Gap {
    pub(super) fn new(layer: &'static str, why: impl Into<String>) -> Gap {
        let why = why.into();
        Gap { layer, why }
    }
}

/// `landlock: this kernel has none`.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.why)
    }
}

/// For the pipe: a line for each.
pub(super) fn to_words(gaps: &[Gap]) -> String {
    let line = |gap: &Gap| {
        let why: String = gap.why.chars().take(WHY_CHARS_MAX).collect();
        format!("{}: {}\n", gap.layer, why.replace('\n', " "))
    };
    gaps.iter().map(line).collect()
}

/// What a child said, which may say anything. The error: these are no gaps.
pub(super) fn from_words(words: &str) -> Result<Vec<Gap>, String> {
    let gap = |line: &str| {
        let (layer, why) = line.split_once(": ")?;
        let layer = LAYERS.into_iter().find(|known| *known == layer)?;
        Some(Gap::new(layer, crate::printable::line(why)))
    };
    let read = |line| gap(line).ok_or_else(|| format!("{line:?} is no gap of a sandbox"));
    words.lines().map(read).collect()
}

/// What landlock lacks of our rules. `asked`: its version, or the error that the kernel answered instead.
pub(super) fn of_landlock(asked: io::Result<i32>) -> Option<Gap> {
    let why = match asked {
        Ok(LANDLOCK_ABI..) => return None,
        Ok(abi) => {
            let since = [
                (2, "links and moves between folders"),
                (3, "truncation"),
                (4, "TCP"),
                (5, "ioctl on devices"),
            ];
            let lacks = since.iter().filter(|(since, _)| abi < *since);
            let lacks: Vec<&str> = lacks.map(|(_, what)| *what).collect();
            format!(
                "version {abi} of this kernel holds, but has no rules on {}",
                lacks.join(", ")
            )
        }
        Err(e) => match e.raw_os_error() {
            Some(libc::ENOSYS) => {
                "this kernel has none (Linux has it since 5.13), or a filter around this process hides it".into()
            }
            Some(libc::EOPNOTSUPP) => {
                "it is switched off in this kernel (`lsm=` on its command line)".into()
            }
            Some(libc::EPERM) => format!("{e}: a filter around this process (a container's?) forbids it"),
            _ => e.to_string(),
        },
    };
    Some(Gap::new(LANDLOCK, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_come_through_the_pipe_and_other_words_do_not() {
        let gaps = vec![
            Gap::new(LIMITS, "RLIMIT_AS: Operation not permitted (os error 1)"),
            Gap::new(SECCOMP, "with: a colon"),
        ];
        assert_eq!(from_words(&to_words(&gaps)), Ok(gaps));
        assert_eq!(from_words(""), Ok(vec![]));
        assert!(from_words("something: else").is_err());
        assert!(from_words("landlock").is_err());
        // A child that was taken over speaks to no terminal.
        let painted = from_words("landlock: \u{1b}[2Jgone").expect("a layer");
        assert_eq!(painted[0].why, "\\u{1b}[2Jgone");
    }

    #[test]
    fn each_answer_about_landlock_has_its_words() {
        let of = |error| of_landlock(Err(io::Error::from_raw_os_error(error))).expect("a gap");
        assert!(of(libc::ENOSYS).why.starts_with("this kernel has none"));
        assert!(of(libc::EOPNOTSUPP).why.contains("switched off"));
        assert!(of(libc::EPERM).why.contains("a filter around this process"));
        assert!(of(libc::EINVAL).why.contains("os error 22"));
        assert_eq!(of_landlock(Ok(5)), None);
        assert_eq!(of_landlock(Ok(9)), None);
        let partly = of_landlock(Ok(3)).expect("a gap").why;
        assert!(
            partly.ends_with("holds, but has no rules on TCP, ioctl on devices"),
            "{partly}"
        );
        let first = of_landlock(Ok(1)).expect("a gap").why;
        assert!(
            first.contains("links and moves between folders, truncation, TCP, ioctl"),
            "{first}"
        );
    }
}
