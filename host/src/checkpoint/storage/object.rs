//! Objects of an S3-compatible store, through `object_store`.
//!
//! Credentials, endpoint and region come from the usual `AWS_*` variables, or from the machine's role. The store must
//! honour conditional puts (`If-None-Match`, `If-Match`): AWS, MinIO, R2, Ceph and others do; one that says it cannot
//! is refused when it is opened, by `checkpoint::store`. A request is tried a few times within seconds; patience beyond
//! that is the caller's. Calls block; the runtime behind them is driven by the callers' threads.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    ClientConfigKey, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    PutPayloadMut, RetryConfig, UpdateVersion, WriteMultipart,
};

use super::memory::too_large;
use super::{Condition, Object, Storage, StorageError, Version};

/// Objects larger than this go up in pieces of it: a failed piece is sent again, not all of it.
const PIECE_BYTES: usize = 16 << 20;

/// Pieces that are under way at a time.
const PIECES_AT_ONCE: usize = 4;

/// How long a request may take that sends at most a piece.
const REQUEST_TIMEOUT: &str = "30s";

/// A bucket, with a prefix.
#[derive(Debug)]
pub struct ObjectStorage {
    store: AmazonS3,
    prefix: Path,
    runtime: tokio::runtime::Runtime,
}

impl ObjectStorage {
    /// Makes the client; nothing is asked of the store yet.
    pub fn open(bucket: &str, prefix: &str) -> Result<ObjectStorage, StorageError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| StorageError::Failed(format!("cannot start a runtime: {e}")))?;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(RetryConfig {
                max_retries: 3,
                retry_timeout: Duration::from_secs(15),
                ..RetryConfig::default()
            });
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        if builder.get_config_value(&timeout).is_none() {
            builder = builder.with_config(timeout, REQUEST_TIMEOUT);
        }
        let store = builder.build().map_err(|e| failed(&e))?;
        let prefix = Path::parse(prefix).map_err(|e| StorageError::Failed(e.to_string()))?;
        Ok(ObjectStorage {
            store,
            prefix,
            runtime,
        })
    }

    fn at(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    async fn put_large(&self, at: &Path, pieces: &[&[u8]]) -> Result<Version, Error> {
        let upload = self.store.put_multipart(at).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE_BYTES);
        for chunk in pieces.iter().flat_map(|piece| piece.chunks(PIECE_BYTES)) {
            upload.wait_for_capacity(PIECES_AT_ONCE).await?;
            upload.write(chunk);
        }
        let put = upload.finish().await?;
        Ok(Version(put.e_tag.unwrap_or_default()))
    }
}

impl Storage for ObjectStorage {
    fn put(
        &self,
        name: &str,
        pieces: &[&[u8]],
        condition: &Condition,
    ) -> Result<Version, StorageError> {
        let at = self.at(name);
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let put = async {
            // Small things only have conditions.
            if bytes > PIECE_BYTES && *condition == Condition::None {
                return self.put_large(&at, pieces).await;
            }
            let mode = match condition {
                Condition::None => PutMode::Overwrite,
                Condition::Absent => PutMode::Create,
                Condition::Is(version) => PutMode::Update(UpdateVersion {
                    e_tag: Some(version.0.clone()),
                    version: None,
                }),
            };
            let put = self
                .store
                .put_opts(&at, payload(pieces), PutOptions::from(mode))
                .await?;
            Ok(Version(put.e_tag.unwrap_or_default()))
        };
        match self.runtime.block_on(put) {
            Ok(version) => Ok(version),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                Err(StorageError::Conflict)
            }
            // The object that a version was known of is gone.
            Err(Error::NotFound { .. }) if matches!(condition, Condition::Is(_)) => {
                Err(StorageError::Conflict)
            }
            Err(e) => Err(failed(&e)),
        }
    }

    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Object>, StorageError> {
        let at = self.at(name);
        let get = async {
            let found = self.store.get(&at).await?;
            if found.meta.size > bytes_max {
                return Ok(Err(too_large(found.meta.size, bytes_max)));
            }
            let version = Version(found.meta.e_tag.clone().unwrap_or_default());
            let bytes = found.bytes().await?.into();
            Ok(Ok(Object { bytes, version }))
        };
        match self.runtime.block_on(get) {
            Ok(object) => object.map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(failed(&e)),
        }
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix));
        let listed = self.runtime.block_on(listed).map_err(|e| failed(&e))?;
        let names = listed.objects.iter();
        Ok(names
            .filter_map(|meta| meta.location.filename().map(str::to_owned))
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StorageError> {
        let at = self.at(name);
        match self.runtime.block_on(self.store.delete(&at)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(failed(&e)),
        }
    }
}

fn payload(pieces: &[&[u8]]) -> PutPayload {
    let mut payload = PutPayloadMut::new();
    pieces
        .iter()
        .for_each(|piece| payload.extend_from_slice(piece));
    payload.freeze()
}

/// The store's words, with what lies behind them.
fn failed(error: &Error) -> StorageError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    StorageError::Failed(text)
}
