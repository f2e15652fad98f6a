//! A folder: `{dir}/{first two digits}/{SHA-256}`.
//!
//! A file is written beside its place and renamed into it: a crash leaves no half file under a whole name.
//! Several processes may share the folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
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

    pub(super) async fn put(&self, sha256: &str, bytes: &[u8]) -> anyhow::Result<()> {
        if self.has(sha256).await {
            return Ok(());
        }
        let path = self.path(sha256);
        write(path.parent().unwrap_or(&self.dir), &path, bytes)
            .await
            .with_context(|| {
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

async fn write(place: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    tokio::fs::create_dir_all(place).await?;
    let beside = place.join(format!(".{}", uuid::Uuid::now_v7().simple()));
    let written = async {
        let mut file = tokio::fs::File::create(&beside).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&beside, path).await
    }
    .await;
    if written.is_err() {
        // The error itself is what counts; a left-over is only untidy.
        let _ = tokio::fs::remove_file(&beside).await;
    }
    written
}
