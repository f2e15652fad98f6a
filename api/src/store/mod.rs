//! Files by their content.
//!
//! `{first two digits}/{SHA-256}`, in a folder or in a bucket of an S3-compatible store: the name says what
//! must be inside, so that a file is written once however many tickets show it, is never changed, and is
//! checked when it is handed out. A file that is checked on its way, because it is too large to be looked
//! at first, ends with an error before its last part when it is not what its name says.

use std::io;

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

mod folder;
mod s3;
mod sigv4;

pub use folder::Folder;
pub use s3::S3;

use crate::config::Attachments;

/// Files up to this size are checked before the answer begins.
const WHOLE: u64 = 1 << 20;

/// Where files are kept.
pub struct Store {
    folder: Folder,
    bucket: Option<S3>,
}

/// A file before it is checked.
struct Found {
    length: u64,
    /// For messages.
    place: String,
    parts: BoxStream<'static, io::Result<Bytes>>,
}

/// A file on its way out.
pub struct Content {
    pub length: u64,
    parts: BoxStream<'static, io::Result<Bytes>>,
}

impl Content {
    pub fn into_body(self) -> Body {
        Body::from_stream(self.parts)
    }

    /// # Errors
    /// When it can't be read to its end, or is not what its name says.
    pub async fn bytes(self) -> io::Result<Vec<u8>> {
        let parts: Vec<Bytes> = self.parts.try_collect().await?;
        Ok(parts.concat())
    }
}

impl From<Folder> for Store {
    fn from(folder: Folder) -> Self {
        Self { folder, bucket: None }
    }
}

impl Store {
    /// # Errors
    /// Names the key of the configuration that is wrong.
    pub fn new(config: &Attachments) -> anyhow::Result<Self> {
        let bucket = if config.s3.endpoint.is_empty() {
            None
        } else {
            Some(S3::new(&config.s3)?)
        };
        Ok(Self {
            folder: Folder::new(&config.dir),
            bucket,
        })
    }

    /// Whether a content is there, by its hash in hexadecimal.
    ///
    /// # Errors
    /// When the place doesn't answer.
    pub async fn has(&self, sha256: &str) -> anyhow::Result<bool> {
        match &self.bucket {
            Some(bucket) => bucket.has(sha256).await,
            None => Ok(self.folder.has(sha256).await),
        }
    }

    /// Keeps a content and gives its SHA-256.
    ///
    /// # Errors
    /// When the place can't be written.
    pub async fn put(&self, bytes: Bytes) -> anyhow::Result<[u8; 32]> {
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let sha256 = hex(&hash);
        match &self.bucket {
            Some(bucket) => bucket.put(&sha256, bytes).await?,
            None => self.folder.put(&sha256, &bytes).await?,
        }
        Ok(hash)
    }

    /// The content of a hash in hexadecimal. `None` = it is not here, or not what its name says. What was
    /// kept in the folder before there was a bucket is still found there.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn get(&self, sha256: &str) -> anyhow::Result<Option<Content>> {
        let mut found = match &self.bucket {
            Some(bucket) => bucket.get(sha256).await?,
            None => None,
        };
        if found.is_none() {
            found = self.folder.get(sha256).await?;
        }
        let Some(Found { length, place, parts }) = found else {
            return Ok(None);
        };
        let parts = checked(parts, sha256.to_owned(), place.clone()).boxed();
        if length > WHOLE {
            return Ok(Some(Content { length, parts }));
        }
        match (Content { length, parts }).bytes().await {
            Ok(bytes) => Ok(Some(Content {
                length,
                parts: futures::stream::iter([Ok(Bytes::from(bytes))]).boxed(),
            })),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {place}")),
        }
    }
}

/// The same parts, the last of them only if all are what the name says.
fn checked(
    parts: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    wanted: String,
    place: String,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    async_stream::try_stream! {
        let (mut hash, mut held) = (Sha256::new(), None);
        futures::pin_mut!(parts);
        while let Some(part) = parts.next().await {
            let part = part?;
            hash.update(&part);
            if let Some(before) = held.replace(part) {
                yield before;
            }
        }
        if hex(&hash.finalize()) != wanted {
            tracing::error!(place, "a stored file is not what its name says: restore it from a backup");
            Err::<(), _>(io::Error::new(io::ErrorKind::InvalidData, "not what its name says"))?;
        }
        if let Some(last) = held {
            yield last;
        }
    }
}

/// Where a content stands in a folder or bucket.
fn place(sha256: &str) -> String {
    format!("{}/{sha256}", sha256.get(..2).unwrap_or("00"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a content begins as its type says it does. Types without a mark of their own are texts.
pub fn looks_like(media_type: &str, bytes: &[u8]) -> bool {
    let at = |offset: usize, mark: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    match media_type {
        "image/jpeg" => at(0, &[0xff, 0xd8, 0xff]),
        "image/png" => at(0, b"\x89PNG\r\n\x1a\n"),
        "image/webp" => at(0, b"RIFF") && at(8, b"WEBP"),
        "image/heic" | "video/mp4" => at(4, b"ftyp"),
        "application/pdf" => at(0, b"%PDF-"),
        kind if kind.starts_with("text/") => std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn content(store: &Store, sha256: &str) -> Option<io::Result<Vec<u8>>> {
        Some(store.get(sha256).await.unwrap()?.bytes().await)
    }

    #[tokio::test]
    async fn a_content_is_kept_once_and_checked() {
        let dir = std::env::temp_dir().join(format!("fw-store-{}", uuid::Uuid::now_v7().simple()));
        let folder = Folder::new(&dir);
        let store = Store::from(folder.clone());
        // One that is looked at before it is handed out, and one that is checked on its way.
        for bytes in [Bytes::from("oil on the floor"), Bytes::from(vec![7; 3 << 20])] {
            let hash = hex(&store.put(bytes.clone()).await.unwrap());
            assert_eq!(hash, hex(&store.put(bytes.clone()).await.unwrap()));
            assert!(store.has(&hash).await.unwrap());
            assert_eq!(content(&store, &hash).await.unwrap().unwrap(), bytes);
            let path = folder.path(&hash);
            assert_eq!(
                std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
                1,
                "no left-overs"
            );
            let mut damaged = bytes.to_vec();
            damaged[1] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let handed_out = content(&store, &hash).await;
            assert!(
                !matches!(handed_out, Some(Ok(_))),
                "a damaged file is not handed out"
            );
        }
        let unknown = "0".repeat(64);
        assert!(content(&store, &unknown).await.is_none() && !store.has(&unknown).await.unwrap());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_type_is_not_believed() {
        assert!(looks_like("image/png", b"\x89PNG\r\n\x1a\n...."));
        assert!(!looks_like("image/png", b"<html>"));
        assert!(looks_like("text/plain", "größer".as_bytes()));
        assert!(!looks_like("text/csv", b"a\0b"));
        assert!(!looks_like("application/pdf", b""));
        assert!(looks_like("image/webp", b"RIFF....WEBPVP8 "));
    }
}
