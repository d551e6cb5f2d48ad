//! Names of part files: `part-EPOCH-TASK-SEQ.jsonl`, in the making `.part-EPOCH-TASK-SEQ.jsonl.START.tmp`.
//!
//! `START` is the process's own: one that was taken for dead and goes on writing writes nothing of another's.
//! Names sort by epoch, and are unique: a task writes one part at a time. Must stay stable: a restored run
//! looks at the parts of the one before.

/// A part by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartName {
    /// In which it was, or is to be, published.
    pub epoch: u64,
    /// Who wrote it.
    pub task: usize,
    /// Counts the task's parts of the epoch.
    pub seq: u64,
}

impl PartName {
    /// The name that readers see.
    pub fn published(&self) -> String {
        format!(
            "part-{:010}-{:04}-{:06}.jsonl",
            self.epoch, self.task, self.seq
        )
    }

    /// The hidden name in the making; `start` is empty in what earlier versions wrote.
    pub fn hidden(&self, start: &str) -> String {
        match start {
            "" => format!(".{}.tmp", self.published()),
            _ => format!(".{}.{start}.tmp", self.published()),
        }
    }

    /// Reads a name that readers see.
    pub fn parse(name: &str) -> Option<PartName> {
        let mut numbers = name
            .strip_prefix("part-")?
            .strip_suffix(".jsonl")?
            .split('-');
        let part = PartName {
            epoch: numbers.next()?.parse().ok()?,
            task: numbers.next()?.parse().ok()?,
            seq: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(part)
    }

    /// Whether it is the name of a part in the making.
    pub fn is_hidden(name: &str) -> bool {
        let Some(name) = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp")) else {
            return false;
        };
        let without_start = name.rsplit_once('.').map_or(name, |(name, _)| name);
        PartName::parse(name).is_some() || PartName::parse(without_start).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_epoch_and_are_read_back() {
        let a = PartName {
            epoch: 9,
            task: 1,
            seq: 0,
        };
        let b = PartName {
            epoch: 10,
            task: 0,
            seq: 3,
        };
        assert!(a.published() < b.published());
        assert_eq!(PartName::parse(&b.published()), Some(b));
        for start in ["", "0a1b"] {
            assert!(PartName::is_hidden(&b.hidden(start)));
        }
        assert!(!PartName::is_hidden(&b.published()));
        for other in [
            "part-1.jsonl",
            "part-a-b-c.jsonl",
            "part-1-2-3-4.jsonl",
            "part-1-2-3.csv",
            "x",
        ] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
