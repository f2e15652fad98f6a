//! A folder: `{dir}/{first two digits}/{SHA-256}`.
//!
//! A file is written down elsewhere and renamed into its place: a crash leaves no half file under a whole name.
//! Several processes may share the folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::StreamExt;
use tokio_util::io::ReaderStream;

use super::{Found, place};

#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    pub(super) fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(place(sha256))
    }

    pub(super) async fn has(&self, sha256: &str) -> bool {
        tokio::fs::try_exists(self.path(sha256)).await.unwrap_or(false)
    }

    /// Files on their way in: on the same disk, so that one becomes a kept one by its name alone.
    pub(super) fn incoming(&self) -> PathBuf {
        self.dir.join(".incoming")
    }

    /// Keeps a file that was written down whole, unless its content is there.
    pub(super) async fn put(&self, sha256: &str, from: &Path) -> anyhow::Result<()> {
        if self.has(sha256).await {
            return Ok(());
        }
        let path = self.path(sha256);
        let moved = async {
            tokio::fs::create_dir_all(path.parent().unwrap_or(&self.dir)).await?;
            tokio::fs::rename(from, &path).await
        };
        moved.await.with_context(|| {
            format!(
                "can't keep a file in {} (api.attachments.dir)",
                self.dir.display()
            )
        })
    }

    pub(super) async fn get(&self, sha256: &str) -> anyhow::Result<Option<Found>> {
        let path = self.path(sha256);
        let opened = async {
            let file = tokio::fs::File::open(&path).await?;
            let length = file.metadata().await?.len();
            Ok::<_, std::io::Error>((file, length))
        };
        match opened.await {
            Ok((file, length)) => Ok(Some(Found {
                length,
                place: path.display().to_string(),
                parts: ReaderStream::with_capacity(file, 64 * 1024).boxed(),
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }
}
