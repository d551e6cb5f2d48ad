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
use crate::config::{Redactor, Secret, conceal};
use crate::state::Bytes;

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
    redactor: Redactor,
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
        let redactor = redactor(&builder);
        if let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint) {
            check_endpoint(&endpoint).map_err(|why| StorageError::Failed(why.into()))?;
        }
        let store = builder.build().map_err(|e| failed(&redactor, &e))?;
        let prefix = Path::parse(prefix).map_err(|e| StorageError::Failed(e.to_string()))?;
        Ok(ObjectStorage {
            store,
            prefix,
            runtime,
            redactor,
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

/// The next piece of something that is to go up.
fn piece(content: &dyn Bytes, at: u64) -> Result<Vec<u8>, Error> {
    let mut piece = vec![0; (content.len() - at).min(PIECE_BYTES as u64) as usize];
    content.read(at, &mut piece).map_err(|e| Error::Generic {
        store: "state",
        source: e.into(),
    })?;
    Ok(piece)
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
            Err(e) => Err(failed(&self.redactor, &e)),
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
            Err(e) => Err(failed(&self.redactor, &e)),
        }
    }

    fn put_from(&self, name: &str, content: &dyn Bytes) -> Result<(), StorageError> {
        let at = self.at(name);
        let put = async {
            if content.len() <= PIECE_BYTES as u64 {
                let all = piece(content, 0)?;
                let put = self.store.put(&at, all.into()).await;
                return put.map(|_| ());
            }
            let upload = self.store.put_multipart(&at).await?;
            let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE_BYTES);
            let mut sent = 0;
            while sent < content.len() {
                upload.wait_for_capacity(PIECES_AT_ONCE).await?;
                let next = piece(content, sent)?;
                sent += next.len() as u64;
                upload.put(next.into());
            }
            upload.finish().await.map(|_| ())
        };
        let put = self.runtime.block_on(put);
        put.map_err(|e| failed(&self.redactor, &e))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StorageError> {
        match self.runtime.block_on(self.store.head(&self.at(name))) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(failed(&self.redactor, &e)),
        }
    }

    fn read(&self, name: &str, from: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let range = from..from + into.len() as u64;
        let at = self.at(name);
        let get = self.store.get_range(&at, range);
        let bytes = self.runtime.block_on(get);
        let bytes = bytes.map_err(|e| failed(&self.redactor, &e))?;
        if bytes.len() != into.len() {
            return Err(StorageError::Failed(
                "fewer bytes came than were asked for".into(),
            ));
        }
        into.copy_from_slice(&bytes);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix));
        let listed = self
            .runtime
            .block_on(listed)
            .map_err(|e| failed(&self.redactor, &e))?;
        let names = listed.objects.iter();
        Ok(names
            .filter_map(|meta| meta.location.filename().map(str::to_owned))
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StorageError> {
        let at = self.at(name);
        match self.runtime.block_on(self.store.delete(&at)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(failed(&self.redactor, &e)),
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

/// The address that `AWS_ENDPOINT` and its kin name, in one spelling; none: it is Amazon's.
pub(super) fn endpoint() -> Option<String> {
    let typed = AmazonS3Builder::from_env().get_config_value(&AmazonS3ConfigKey::Endpoint)?;
    Some(typed.trim_end_matches('/').to_ascii_lowercase())
}

/// Whether the client can go there: it panics where an address is none. The words show nothing of it.
fn check_endpoint(endpoint: &str) -> Result<(), &'static str> {
    let rest = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"))
        .ok_or("AWS_ENDPOINT is no address: write https://host, or http://host:port")?;
    if rest.contains('@') {
        return Err(
            "AWS_ENDPOINT has a user in it: keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        );
    }
    let wrong = "AWS_ENDPOINT is no address: write https://host, or http://host:port";
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/".contains(&c);
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let named = !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok();
    let numbered = |v6: &str| v6.parse::<std::net::Ipv6Addr>().is_ok();
    let bare = authority
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'));
    let with_port = authority.parse::<std::net::SocketAddrV6>().is_ok();
    if !(named || with_port || bare.is_some_and(numbered)) || !path.bytes().all(plain) {
        return Err(wrong);
    }
    Ok(())
}

/// Takes out what opens the store: its answers name keys and what was signed, its settings may hold a password.
fn redactor(builder: &AmazonS3Builder) -> Redactor {
    let mut redactor = Redactor::default();
    for key in [
        AmazonS3ConfigKey::SecretAccessKey,
        AmazonS3ConfigKey::Token,
        AmazonS3ConfigKey::AccessKeyId,
    ] {
        if let Some(value) = builder.get_config_value(&key) {
            redactor.add(&Secret::new(value));
        }
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let user = endpoint.as_deref().and_then(|url| {
        let (_, rest) = url.split_once("://")?;
        Some(rest.rsplit_once('@')?.0)
    });
    // As typed, and each part by itself: a client takes them apart.
    for part in user
        .iter()
        .flat_map(|u| [*u].into_iter().chain(u.split(':')))
    {
        redactor.add(&Secret::new(part));
    }
    redactor
}

/// The store's words, with what lies behind them, and without secrets.
fn failed(redactor: &Redactor, error: &Error) -> StorageError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    StorageError::Failed(conceal(&redactor.redact(&text)))
}

#[cfg(test)]
mod tests {
    use super::check_endpoint;

    #[test]
    fn an_endpoint_is_an_address_without_user() {
        for good in [
            "https://s3.eu-1.example.com",
            "http://127.0.0.1:9000",
            "http://localhost:9000/",
            "http://[::1]:9000",
            "https://[::1]",
            "https://account.example.com/a/b",
        ] {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "localhost:9000",
            "ftp://host",
            "http://",
            "http://:80",
            "http://host:x",
            "http://host:70000",
            "http://a b",
            "http://a\nb",
            "http://[::1",
            "http://[x]:1",
            "http://host/?a=b",
            "user:password@host",
            "https://user:password@host",
        ] {
            let words = check_endpoint(bad).unwrap_err();
            assert!(words.starts_with("AWS_ENDPOINT "), "{bad}");
        }
    }
}
