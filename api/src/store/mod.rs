//! Files by their content.
//!
//! `{first two digits}/{SHA-256}`, in a folder or in a bucket of an S3-compatible store: the name says what
//! must be inside, so that a file is written once however many tickets show it, is never changed, and is
//! checked when it is handed out. A file that is checked on its way, because it is too large to be looked
//! at first, ends with an error before its last part when it is not what its name says.
//!
//! A file on its way in is written down part by part, hashed and looked at as it comes: no file is ever in
//! memory as a whole, and what is too large ends where it becomes so.

use std::io;

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

mod folder;
mod incoming;
mod s3;
mod sigv4;
mod sniff;

pub use folder::Folder;
pub use incoming::{NotTaken, Received};
pub use s3::S3;
pub use sniff::looks_like;

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
        let folder = Folder::new(&config.dir);
        incoming::sweep(&folder.incoming());
        Ok(Self { folder, bucket })
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

    /// Takes a file in, `most` bytes at most, without keeping it yet. `media_type`: what it must begin like;
    /// `None` = whatever it is.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing of it is left then.
    pub async fn receive<E: std::fmt::Display>(
        &self,
        parts: impl Stream<Item = Result<Bytes, E>>,
        media_type: Option<&str>,
        most: u64,
    ) -> Result<Received, NotTaken> {
        incoming::receive(&self.folder.incoming(), parts, media_type, most).await
    }

    /// Keeps what was received and gives its SHA-256.
    ///
    /// # Errors
    /// When the place can't be written.
    pub async fn keep(&self, received: Received) -> anyhow::Result<[u8; 32]> {
        let hash = received.sha256;
        let sha256 = hex(&hash);
        match &self.bucket {
            Some(bucket) => bucket.put(&sha256, received.path(), received.length).await?,
            None => self.folder.put(&sha256, received.path()).await?,
        }
        Ok(hash)
    }

    /// [`Self::receive`] and [`Self::keep`] of a content that is in memory already.
    ///
    /// # Errors
    /// When the place can't be written.
    pub async fn put(&self, bytes: Bytes) -> anyhow::Result<[u8; 32]> {
        let parts = futures::stream::iter([Ok::<_, io::Error>(bytes)]);
        let received = self.receive(parts, None, u64::MAX).await?;
        self.keep(received).await
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Parts of which it is known how many are alive.
    struct Part(Arc<AtomicUsize>);

    const PART: usize = 64 << 10;

    impl AsRef<[u8]> for Part {
        fn as_ref(&self) -> &[u8] {
            &[7; PART]
        }
    }

    impl Drop for Part {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives the file in parts; counts those given, and the most that were alive at once.
    fn parts(
        count: usize,
        given: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    ) -> impl Stream<Item = io::Result<Bytes>> {
        let alive = Arc::new(AtomicUsize::new(0));
        futures::stream::iter(0..count).map(move |_| {
            given.fetch_add(1, Ordering::Relaxed);
            let now = alive.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
            Ok(Bytes::from_owner(Part(alive.clone())))
        })
    }

    #[tokio::test]
    async fn a_file_is_taken_in_part_by_part_and_no_further_than_allowed() {
        let dir = std::env::temp_dir().join(format!("fw-store-{}", uuid::Uuid::now_v7().simple()));
        let store = Store::from(Folder::new(&dir));
        let (given, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let received = store
            .receive(
                parts(1000, given.clone(), most.clone()),
                Some("application/x-any"),
                u64::MAX,
            )
            .await
            .unwrap();
        assert_eq!(received.length, 1000 * PART as u64);
        assert!(
            most.load(Ordering::Relaxed) <= 2,
            "{most:?} parts of 1000 were in memory at once"
        );
        let hash = hex(&store.keep(received).await.unwrap());
        let expect = Sha256::digest(vec![7; 1000 * PART]);
        assert_eq!(hash, hex(&expect));
        assert!(store.has(&hash).await.unwrap());

        let (given, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let limit = 10 * PART as u64;
        let error = store
            .receive(parts(1000, given.clone(), most), None, limit)
            .await
            .unwrap_err();
        assert!(
            matches!(error, NotTaken::TooLarge { most } if most == limit),
            "{error}"
        );
        assert_eq!(
            given.load(Ordering::Relaxed),
            11,
            "it ends with the part that is too much"
        );

        let broken = futures::stream::iter([Ok(Bytes::from("oil")), Err(io::Error::other("reset"))]);
        let error = store.receive(broken, None, limit).await.unwrap_err();
        assert!(matches!(error, NotTaken::BrokeOff(_)), "{error}");
        let nothing = futures::stream::iter(Vec::<io::Result<Bytes>>::new());
        assert!(matches!(
            store.receive(nothing, None, limit).await,
            Err(NotTaken::Empty)
        ));
        let page = futures::stream::iter([Ok::<_, io::Error>(Bytes::from("<html>"))]);
        let error = store.receive(page, Some("image/png"), limit).await.unwrap_err();
        assert!(matches!(error, NotTaken::OtherType { .. }), "{error}");
        let unused = store
            .receive(parts(3, given, Arc::default()), None, limit)
            .await
            .unwrap();
        drop(unused);
        assert_eq!(
            std::fs::read_dir(dir.join(".incoming")).unwrap().count(),
            0,
            "nothing is left of them"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}
