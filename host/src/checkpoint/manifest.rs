use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::JobIdentity;

/// A checkpoint as its manifest tells it. JSON; members are only ever added. Must stay readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `FORMAT_VERSION` of the host that wrote it.
    pub format: u32,
    /// Number of the checkpoint, from 1.
    pub epoch: u64,
    /// When it was taken: milliseconds since 1970 UTC.
    pub taken_at: i64,
    /// Whose it is.
    pub identity: JobIdentity,
    /// Number of the run that took it: parts of sinks carry it.
    pub run: String,
    /// The input was read to its end and everything is written: there is nothing to go on with.
    pub finished: bool,
    /// Files of state, in the same folder: of each step and task a base, then what changed after it, in order.
    pub files: Vec<StateFile>,
    /// Position of each partition read: source name, partition.
    pub positions: Vec<PartitionPosition>,
    /// Watermark trackers of stateful steps, by name.
    pub times: BTreeMap<String, serde_json::Value>,
    /// What sinks prepared, to be published once this manifest is there: sink name, task.
    pub prepared: Vec<PreparedSink>,
    /// The epoch counts only once this transaction is committed; none: once the manifest is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionNote>,
}

/// A manifest whose commit is a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionNote {
    /// The transactional id.
    pub id: String,
    /// The epoch that was committed before, as far as its writer knew.
    pub after: Option<u64>,
}

/// A partition of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionPosition {
    /// Source.
    pub source: String,
    /// Partition.
    pub partition: u32,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub position: serde_json::Value,
    /// It was read to its end.
    pub ended: bool,
    /// Its watermarks.
    pub times: serde_json::Value,
}

/// Output that waits for the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedSink {
    /// Sink of the graph.
    pub sink: String,
    /// The task whose writer prepared it.
    pub task: usize,
    /// The sink's own words.
    pub parts: serde_json::Value,
}

/// A file of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Its name in the folder.
    pub name: String,
    /// Step whose state it holds.
    pub step: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// xxh3-64 of all its bytes, hex.
    pub checksum: String,
    /// Entries that it sets.
    pub entries: u64,
    /// The task that wrote it.
    #[serde(default)]
    pub task: u32,
    /// The epoch at whose end it was taken; 0: a file of format 1, which says nothing of these.
    #[serde(default)]
    pub epoch: u64,
    /// Least and greatest key group of what it speaks of: who wants others need not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<(u16, u16)>,
    /// The file whose state it changes, which stands before it in the list; none: it holds everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builds_on: Option<String>,
}

impl StateFile {
    /// Its name, which comes from a file on disk: no way out of the folder. The error says what is wrong with it.
    pub fn file_name(&self) -> Result<&str, String> {
        let name = &self.name;
        match name.starts_with("state-") && !name.contains(['/', '\\']) {
            true => Ok(name),
            false => Err(format!("{name:?} is no name of a state file")),
        }
    }

    /// Its checksum, as a number.
    pub fn sum(&self) -> u64 {
        u64::from_str_radix(&self.checksum, 16).unwrap_or_default()
    }
}

/// xxh3-64 as it is written in manifests.
pub fn checksum(bytes: &[u8]) -> String {
    hex(xxhash_rust::xxh3::xxh3_64(bytes))
}

/// A checksum as it is written in manifests.
pub fn hex(sum: u64) -> String {
    format!("{sum:016x}")
}

impl Manifest {
    /// Files of state by chain: a base, and what builds on it. The error says what does not fit.
    pub fn chains(&self) -> Result<Vec<Vec<&StateFile>>, String> {
        let mut chains: Vec<Vec<&StateFile>> = Vec::new();
        for file in &self.files {
            let Some(base) = &file.builds_on else {
                chains.push(vec![file]);
                continue;
            };
            let chain = chains
                .iter_mut()
                .find(|chain| chain.last().is_some_and(|last| last.name == *base))
                .ok_or_else(|| format!("{} builds on {base}, which is not before it", file.name))?;
            chain.push(file);
        }
        Ok(chains)
    }

    /// The file's bytes: a line of checksum, then JSON.
    pub fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        let mut bytes = format!("wasmill-manifest {}\n", checksum(&json)).into_bytes();
        bytes.extend(json);
        bytes
    }

    /// Reads a manifest. The error says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, String> {
        let end = bytes
            .iter()
            .position(|&b| b == b'\n')
            .ok_or("it has no first line")?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "its first line is not text")?;
        let sum = head
            .strip_prefix("wasmill-manifest ")
            .ok_or("it does not begin like a manifest")?;
        let json = &bytes[end + 1..];
        if checksum(json) != sum {
            return Err("its checksum does not match: it is torn or was changed".into());
        }
        let version: Version =
            serde_json::from_slice(json).map_err(|e| format!("it does not read: {e}"))?;
        if version.format > super::FORMAT_VERSION {
            return Err(format!(
                "a newer wasmill wrote it (format {}, this one reads up to {})",
                version.format,
                super::FORMAT_VERSION
            ));
        }
        if version.format == 0 {
            return Err("no wasmill wrote it (format 0; they begin with 1)".into());
        }
        serde_json::from_slice(json).map_err(|e| format!("it does not read: {e}"))
    }
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}
