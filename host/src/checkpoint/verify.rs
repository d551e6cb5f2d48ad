//! Reads all of a checkpoint, one file after the other, and says what is damaged. Keeps nothing of what it reads, and
//! changes nothing.

use super::CheckpointStore;
use super::load::look_through;
use super::manifest::{Manifest, StateFile};
use super::store::{StoreError, Unread};

/// What is wrong with a checkpoint: names of files and reasons, a line each; none: it is whole.
pub fn damage(store: &CheckpointStore, manifest: &Manifest) -> Result<Vec<String>, StoreError> {
    let chains = match manifest.chains() {
        Ok(chains) => chains,
        Err(why) => return Ok(vec![why]),
    };
    let mut damaged = Vec::new();
    for chain in chains {
        let mut before: Option<&StateFile> = None;
        for file in chain {
            match look_through(store, manifest, file, before) {
                Ok(()) => {}
                Err(Unread::Damaged(why)) => damaged.push(why),
                Err(Unread::Failed(e)) => return Err(e),
            }
            before = Some(file);
        }
    }
    Ok(damaged)
}
