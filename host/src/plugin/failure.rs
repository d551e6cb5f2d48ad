//! Why a call failed, in words, and who is to blame.

use wasmtime::Trap;

use super::limits::HANDLES_MAX;
use super::{Fault, RejectKind, Rejected};

/// A call that did not return ok.
#[derive(Clone, Debug)]
pub(super) struct CallFailure {
    /// What happened.
    pub kind: RejectKind,
    /// In words.
    pub message: String,
    /// The guest's last log lines in the call.
    pub log: Vec<String>,
    /// The row of the call that the guest blames.
    pub row: Option<u32>,
    /// No record can be blamed, whatever the search would say: the machine was slow, or an instance
    /// cannot be made.
    pub fatal: bool,
}

impl CallFailure {
    /// As the reason of one row.
    pub fn reject(self, row: u32) -> Rejected {
        Rejected {
            row,
            kind: self.kind,
            message: self.message,
            log: self.log,
        }
    }

    /// As the end of the job.
    pub fn fault(self, doing: &str) -> Fault {
        Fault {
            message: format!("{doing}: {}", self.message),
            kind: self.kind,
            log: self.log,
        }
    }
}

/// Why the host itself stopped a call. Set by imports, limits and the ticks before they make the guest trap.
#[derive(Clone, Debug)]
pub(super) struct Abort {
    pub kind: RejectKind,
    pub message: String,
    pub fatal: bool,
}

impl From<Wrong> for Abort {
    fn from(wrong: Wrong) -> Abort {
        Abort {
            kind: wrong.kind,
            message: wrong.message,
            fatal: false,
        }
    }
}

/// What is wrong with something that a guest handed out: mostly it breaks the contract, sometimes it is
/// more than it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub kind: RejectKind,
    pub message: String,
}

impl Wrong {
    /// Past a limit, with a kind of its own.
    pub fn limit(kind: RejectKind, message: String) -> Wrong {
        Wrong { kind, message }
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Wrong {
        Wrong {
            kind: RejectKind::BadOutput,
            message,
        }
    }
}

/// What wasmtime says of a call, as kind and words. `refused_memory` is the growth that the limit
/// refused during the call: a trap after that is the allocator giving up.
pub(super) fn describe(
    error: &wasmtime::Error,
    refused_memory: Option<(u64, u64)>,
) -> (RejectKind, String) {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        if let (Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds, Some((wanted, max))) =
            (trap, refused_memory)
        {
            return (RejectKind::Memory, memory_words(wanted, max));
        }
        return match trap {
            Trap::StackOverflow => (
                RejectKind::Stack,
                "the guest's stack overflowed (endless recursion?)".into(),
            ),
            Trap::UnreachableCodeReached => (
                RejectKind::Trap,
                "the guest gave up (unreachable instruction)".into(),
            ),
            Trap::MemoryOutOfBounds => (
                RejectKind::Trap,
                "the guest reached outside of its memory".into(),
            ),
            Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => (
                RejectKind::Trap,
                "the guest called a function that is not there".into(),
            ),
            Trap::IntegerDivisionByZero => (RejectKind::Trap, "the guest divided by zero".into()),
            Trap::IntegerOverflow => (
                RejectKind::Trap,
                "an integer overflowed in the guest".into(),
            ),
            Trap::BadConversionToInteger => (
                RejectKind::Trap,
                "the guest converted a float that is no integer".into(),
            ),
            Trap::ListOutOfBounds | Trap::StringOutOfBounds => (
                RejectKind::BadOutput,
                "a list lies outside of the guest's memory".into(),
            ),
            other => (RejectKind::Trap, other.to_string()),
        };
    }
    // What is left comes from reading the guest's answer: pointers, alignment, discriminants, UTF-8; or from
    // an import that stands for WASI.
    let text = format!("{:#}", error);
    if let Some(name) = text
        .split_once("unknown import: `")
        .and_then(|(_, t)| t.split_once('`'))
        .map(|(n, _)| n)
    {
        return (
            RejectKind::Trap,
            format!(
                "the guest called {name}, which no plugin may: build it without WASI, or see whether wasi = \"inert\" is enough"
            ),
        );
    }
    if text.contains("handle limit exceeded") {
        let words = format!("the guest wanted more than {HANDLES_MAX} handles at once");
        return (RejectKind::Trap, words);
    }
    (
        RejectKind::BadOutput,
        format!("the answer cannot be read: {text}"),
    )
}

pub(super) fn memory_words(wanted: u64, max: u64) -> String {
    format!("the guest wanted {wanted} bytes of memory, the limit is {max}")
}
